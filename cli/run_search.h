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

// What an adaptive sweep has come to, by sweep: "round 4, 35 points, 41 s of training; heads 5, width 64, seq_len 32:
// 2730 items (2480 to 2925)". The query, for one sweep or all (""), and the words of one of its rows, of which the
// first is the sweep's name.
std::string AdaptiveProgressSql(const std::string& sweep);
std::string AdaptiveProgressText(const std::vector<store::Cell>& row);

// Correlation coefficient of Pearson; NaN below three pairs or where one side does not vary.
double PearsonCorrelation(const std::vector<double>& a, const std::vector<double>& b);

// The table of v_searches for a sweep: for mac and mls MAC, MLS, their ratio and their correlation over architectures,
// for minnet the smallest network and its parameters, for adaptive the prediction, its interval and why it ended; a
// line for every search that stopped without settling. "" for a sweep that does not search.
absl::StatusOr<std::string> SearchText(Source& source, const std::string& sweep);

}  // namespace capsweep::cli
