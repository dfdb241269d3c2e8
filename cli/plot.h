// Pictures of a sweep: the verb `plot`, and the one picture at the end of `run`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/figures/script.h"
#include "ecm/capacity.h"
#include "ecm/report.h"

namespace capsweep::cli {

// From the ending of the file's name.
absl::StatusOr<figures::Format> PlotFormatFor(const std::string& path);

// Draws capacity over width with the curves of `report`. FailedPrecondition if there is nothing to draw or no gnuplot.
absl::Status DrawCapacityPlot(const std::string& sweep, const std::vector<ecm::Group>& groups,
                              const ecm::FitReport& report, const std::string& path);

}  // namespace capsweep::cli
