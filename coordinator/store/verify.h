// Rows that contradict themselves: what doctor reports and salvage leaves behind. Internal to coordinator/store.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

using VisitBroken = std::function<void(int64_t point, const std::string& why)>;

// Points whose key is not the hash of their fields, or that hold a word no version knows. The newest schema version.
absl::Status VisitBrokenPoints(Database& db, const VisitBroken& visit);

// Results that belong to another point than they say, or whose numbers cannot belong together (ValidateResult).
absl::Status VisitBrokenResults(Database& db, const VisitBroken& visit);

}  // namespace capsweep::store
