// Rows of v_results for the analyses.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "cli/analysis/analysis.h"
#include "coordinator/store/reader.h"

namespace capsweep::cli {

// InternalError for a column that v_results lacks.
absl::StatusOr<std::vector<ResultRow>> ReadResultRows(const store::Table& results);

}  // namespace capsweep::cli
