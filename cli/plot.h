// The capacity plot, drawn by gnuplot.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ecm/capacity.h"
#include "ecm/report.h"

namespace capsweep::cli {

enum class PlotFormat { kSvg, kPng };
// From the ending of the file's name.
absl::StatusOr<PlotFormat> PlotFormatFor(const std::string& path);

// gnuplot commands, data included, for capacity over width: a panel per group and sequence length, a colour per number
// of heads, points with ± SD and the curve of the best form of `report`. Nothing in the data can become a command:
// names stand in single quotes (where gnuplot knows one escape, the doubled quote) and control characters are dropped.
// `out` is an absolute path. Pure.
std::string CapacityPlotScript(const std::string& title, const std::vector<ecm::Group>& groups,
                               const ecm::FitReport& report, PlotFormat format, const std::string& out);

// Draws it through a temporary file beside `path`, so that `path` is never half a picture. Unavailable is never used;
// FailedPrecondition says how to install gnuplot.
absl::Status DrawCapacityPlot(const std::string& title, const std::vector<ecm::Group>& groups,
                              const ecm::FitReport& report, const std::string& path);

}  // namespace capsweep::cli
