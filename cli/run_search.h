// What a search has found, as people read it: a row per architecture, and how MAC and MLS go together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/source.h"

namespace capsweep::cli {

// "searching: 7 of 12 architectures settled, 85 probes". Probes are the points asked for so far.
std::string SearchProgressText(int64_t architectures, int64_t settled, int64_t probes);

// Correlation coefficient of Pearson; NaN below three pairs or where one side does not vary.
double PearsonCorrelation(const std::vector<double>& a, const std::vector<double>& b);

// The table of v_searches for a sweep: for mac and mls MAC, MLS, their ratio and their correlation over architectures,
// for minnet the smallest network and its parameters; a line for every search that stopped without settling. "" for a
// sweep that does not search.
absl::StatusOr<std::string> SearchText(Source& source, const std::string& sweep);

}  // namespace capsweep::cli
