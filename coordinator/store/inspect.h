// Telling what a file is before anything opens it for good, so that refusals change nothing. Internal.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/store/db.h"

namespace capsweep::store {

enum class FileKind {
  kMissing,
  kNew,  // empty, or left behind by a kill while it was being made
  kCapsweep,
};

// Looks at the folder entry and the first bytes; opens nothing with SQLite, creates nothing. Errors: a folder in place
// of a file, not a database, another program's database, made by a newer version.
absl::StatusOr<FileKind> InspectFile(const std::string& path);

// Asked for the effective user.
bool CanWrite(const std::string& path);

// The folder a path lies in, "." if it names none.
std::string FolderOf(const std::string& path);

// FailedPrecondition if file or folder cannot be written. Mode bits count even for root, who could write all the same:
// somebody made the file read-only on purpose.
absl::Status CheckWritable(const std::string& path, FileKind kind);

// The same questions asked of an open database: application id, then version.
absl::Status CheckIdentity(Database& db, const std::string& path);

absl::Status NotCapsweep(const std::string& path);
absl::Status NewerVersion(const std::string& path, int64_t version);

}  // namespace capsweep::store
