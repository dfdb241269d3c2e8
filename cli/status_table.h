// Progress of sweeps as text, rows and stable JSON.
#pragma once

#include <string>
#include <vector>

#include "coordinator/store/reader.h"

namespace capsweep::cli {

// For people: one line per sweep, reasons below.
std::string StatusText(const std::vector<store::SweepProgress>& sweeps);

// Columns sweep, state, points, done, failed, running, pending, rate_per_second, eta_seconds, reason.
store::Table StatusToTable(const std::vector<store::SweepProgress>& sweeps);

// docs/reference/status-json.md: one object per sweep; an unknown rate or time left is null.
std::vector<std::string> StatusToJson(const std::vector<store::SweepProgress>& sweeps);

}  // namespace capsweep::cli
