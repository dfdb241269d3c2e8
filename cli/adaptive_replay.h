// The rounds of an adaptive sweep, worked out again from its file and its results: a plan is a pure function of both,
// so that nothing but the results has to be kept.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/analysis/analysis.h"
#include "cli/source.h"

namespace capsweep::cli {

// NotFound for an unknown sweep; InvalidArgument if its measure is another. Fits once for every round: milliseconds
// each with the usual form, up to seconds with softmin.
absl::StatusOr<AdaptiveAnalysis> ReplayAdaptive(Source& source, const std::string& sweep);

}  // namespace capsweep::cli
