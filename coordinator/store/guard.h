// What user SQL may do. Internal to coordinator/store.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

// From here on the connection only compiles statements that read: an allow-list of actions, no extensions, no
// attached files, bounded lengths.
absl::Status GuardConnection(Database& db, int64_t max_value_bytes);

// Whether `where` is one complete SQL expression that stays inside the parentheses put around it: quotes closed,
// parentheses paired, no comment, no semicolon, no parameter.
absl::Status CheckExpression(std::string_view where);

}  // namespace capsweep::store
