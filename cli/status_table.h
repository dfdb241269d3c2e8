// Progress of sweeps as text, rows and stable JSON.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/store/reader.h"

namespace capsweep::cli {

// For people: one line per sweep, reasons below. `adaptive`: what adaptive sweeps have come to, by name, in the words
// of AdaptiveProgressText.
std::string StatusText(const std::vector<store::SweepProgress>& sweeps,
                       const std::map<std::string, std::string>& adaptive = {});

// Columns sweep, state, points, done, failed, running, pending, rate_per_second, eta_seconds, reason.
store::Table StatusToTable(const std::vector<store::SweepProgress>& sweeps);

// docs/reference/status-json.md: one object per sweep; an unknown rate or time left is null.
std::vector<std::string> StatusToJson(const std::vector<store::SweepProgress>& sweeps);

}  // namespace capsweep::cli
