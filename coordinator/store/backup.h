// A copy of a database that is in use.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace capsweep::store {

struct BackupReport {
  int64_t bytes = 0;
  int64_t version = 0;  // of the schema; an older one is copied as it is
  int64_t points = 0, results = 0;
};

// Copies the database `path`, as it is at this moment, to the new file `target`; a coordinator may go on writing. The
// copy is read through once (PRAGMA integrity_check, foreign keys) and on disk before it gets its name: a kill leaves
// nothing, or "TARGET.PID.part". Errors: those of Reader::Open but for older versions; AlreadyExists if there is a
// `target`; DataLoss if the database is damaged, and then nothing is left.
absl::StatusOr<BackupReport> BackUp(const std::string& path, const std::string& target);

// Of a finished file: its content and its name in the folder are on disk. NAME is moved to `target`, AlreadyExists if
// there is one.
absl::Status MoveIntoPlace(const std::string& part, const std::string& target);

}  // namespace capsweep::store
