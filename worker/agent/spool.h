// Reports that are not acknowledged yet, on disk: one checksummed file each, so that a worker outlives its coordinator
// and itself. Files are named by database and attempt; those of a database that is not met stay until it is.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/file.h"
#include "worker/agent/report.h"

namespace capsweep::agent {

// Not thread-safe. The folder is locked while the object lives.
class Spool {
 public:
  // Makes the folder, takes its lock (waiting up to `lock_wait` for a dying predecessor; `give_up` ends the wait early)
  // and reads what is there. Files that cannot be read as reports are moved to `corrupt/` with a warning.
  // FailedPrecondition when another agent keeps the folder, with what to do about it.
  static absl::StatusOr<std::unique_ptr<Spool>> Open(const std::string& folder, Duration lock_wait,
                                                     const std::function<bool()>& give_up = nullptr);

  // Durable once OK; the report of that attempt that was there before is replaced. ResourceExhausted when the disk is
  // full: nothing is half written.
  absl::Status Add(const Report& report);
  // Forgets the report; no error if it was never added.
  void Remove(const std::string& database_id, const AttemptId& id);
  // Moves a report that the coordinator will never take to `refused/`, for people to look at.
  void SetAside(const Report& report);

  // A number larger than that of every earlier start from this folder, remembered in it: microseconds since 1970, or
  // one more than the last where the clock was set back. A folder that cannot remember is a warning only.
  int64_t NextStart(int64_t now_micros);

  // Reports of one database, in no particular order. Unreadable files are moved aside as by Open.
  std::vector<Report> Load(const std::string& database_id);
  std::set<std::string> Databases() const;
  size_t size() const { return files_.size(); }
  const std::string& folder() const { return folder_; }

 private:
  using Key = std::pair<std::string, AttemptId>;  // database, attempt
  Spool(std::string folder, FileLock lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}
  absl::Status ReadFolder();
  void MoveAside(const std::string& path, const std::string& subfolder, const std::string& why);

  std::string folder_;
  FileLock lock_;
  std::map<Key, std::string> files_;  // path
};

}  // namespace capsweep::agent
