// Reports that are not acknowledged yet, on disk and checksummed, so that a worker outlives its coordinator and itself.
// Reports that come together share a file and its sync; it goes when the last of them is acknowledged. Files are named
// by database and attempt; those of a database that is not met stay until it is.
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
  // The same for reports of one database, all of them or none, with one write and one sync.
  absl::Status AddGroup(const std::vector<std::shared_ptr<const Report>>& reports);
  // Forgets the report; no error if it was never added. After a crash one that shared a file with others that are still
  // owed may come back: the coordinator then calls it a duplicate.
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
  // Of one file: what can be read, and why the rest cannot.
  struct Content {
    std::vector<Report> reports;
    absl::Status damage;
  };
  static Content ReadReports(const std::string& path);
  absl::Status ReadFolder();
  absl::Status Write(const std::string& path, const std::string& bytes, const std::vector<Key>& keys);
  void Put(const Key& key, const std::string& path);
  bool Drop(const Key& key);  // false: other reports still need the file
  // What is whole goes into a file of its own, then the damaged one is moved aside.
  void Mend(const std::string& path, Content content);
  void MoveAside(const std::string& path, const std::string& subfolder, const std::string& why);

  std::string folder_;
  FileLock lock_;
  std::map<Key, std::string> files_;  // path
  std::map<std::string, int> owed_;   // of a path: how many of files_ are in it
};

}  // namespace capsweep::agent
