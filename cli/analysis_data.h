// Reads what the analyses need, from a file or through a coordinator.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/analysis/analysis.h"
#include "cli/source.h"

namespace capsweep::cli {

// All results of a sweep, in the order of points. NotFound for an unknown sweep, FailedPrecondition if it has no
// result.
absl::StatusOr<std::vector<ResultRow>> ReadAnalysisRows(Source& source, const std::string& sweep);

// The word of `measure` in the sweep's file.
absl::StatusOr<std::string> ReadMeasure(Source& source, const std::string& sweep);

// Evaluations with a training and a held-out loss, by point id, in the order of steps.
struct PointLosses {
  std::vector<double> steps;
  std::vector<ecm::LossPair> losses;  // parallel to `steps`
};
// ResourceExhausted if there are too many for one answer.
absl::StatusOr<std::map<int64_t, PointLosses>> ReadLosses(Source& source, const std::string& sweep);

// What AnalyzeAssoc reads of them.
std::map<int64_t, std::vector<ecm::LossPair>> LossPairs(const std::map<int64_t, PointLosses>& losses);

}  // namespace capsweep::cli
