// The end of `capsweep run`: capacities, fit, plot and where everything lies.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/console.h"

namespace capsweep::cli {

struct RunReportOptions {
  std::string database, sweep;
  bool capacities = true;  // the table of capacities; a sweep that searches has a table of what it found in its place
  bool fit = true;
  bool plot = true;
  std::string plot_path;
};

// Writes the report to console.out. A fit that was stored with these results before is read back instead of made anew,
// so that a finished sweep is answered at once. What cannot be had (too few rows for a fit, no gnuplot) is said in a
// sentence and is no error.
absl::Status WriteRunReport(const RunReportOptions& options, Console& console);

}  // namespace capsweep::cli
