// Workers between the row form of v_workers and the nested form of `workers --format json`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/core/core.h"
#include "coordinator/store/reader.h"

namespace capsweep::cli {

// An unknown word is kLost.
core::WorkerState WorkerStateFromWord(std::string_view word);

// From v_workers, one row per worker with its devices as a JSON array.
absl::StatusOr<std::vector<core::WorkerView>> WorkersFromTable(const store::Table& table);

// One row per worker and device, for tables and CSV.
store::Table WorkersToTable(const std::vector<core::WorkerView>& workers);

// docs/reference/workers-json.md: one object per worker; joined into an array or, for jsonl, a line each.
std::vector<std::string> WorkersToJson(const std::vector<core::WorkerView>& workers);

}  // namespace capsweep::cli
