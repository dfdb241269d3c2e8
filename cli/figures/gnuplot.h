// Charts drawn by gnuplot: the only place that runs it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "cli/figures/chart.h"
#include "cli/figures/script.h"

namespace capsweep::figures {

// FailedPrecondition, saying how to install it, where there is no gnuplot.
absl::Status CheckGnuplot();

// Draws to `path` through a temporary file beside it, so that `path` is never half a picture.
absl::Status DrawChart(const Chart& chart, Format format, const std::string& path);

// The text of an SVG, drawn in the system's folder for temporary files.
absl::StatusOr<std::string> DrawSvg(const Chart& chart);

}  // namespace capsweep::figures
