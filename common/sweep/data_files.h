// The libraries of their own that a sweep file names: read once, where the sweep is submitted, so that every point
// knows the hash of its file and wrong files are errors of the sweep.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/sweep/spec.h"

namespace capsweep::sweep {

// Fills spec.data_files for every value of the axis `file`, and those of its studies. Relative paths begin at
// spec.folder; without a folder they are errors. InvalidArgument, one line "FILE:LINE: file: ..." per file that is
// missing, too large or wrong inside.
absl::Status LoadDataFiles(SweepSpec& spec);

// OK if the point's file (a value of the axis `file`) has its items, length and vocabulary; in the words of
// CheckDataFits.
absl::Status CheckDataFile(const SweepDataFile& file, const PointSpec& point);

}  // namespace capsweep::sweep
