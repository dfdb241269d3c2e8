// A file system under SQLite that remembers what was not synced. At any operation it can hand out the disk as it might
// be found after a loss of power there: synced bytes for sure, every later write there, missing or torn. It can also
// run out of space, fail to read, write or sync, and be slow.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace capsweep::fault {

class PowerLossDisk {
 public:
  // Becomes SQLite's default file system for the whole process; one at a time, never taken off.
  static PowerLossDisk& Get();

  enum class Operation { kRead, kWrite, kSync, kTruncate, kDelete };

  // Forgets all files and faults.
  void Reset();

  // Called before each operation that changes a file or syncs one, with no lock held; may call SaveAfterPowerLoss.
  std::function<void(int64_t number, Operation)> before;

  // The result code that an operation shall fail with, SQLITE_OK to let it pass.
  std::function<int(int64_t number, Operation, const std::string& name)> fault;

  // The files under `folder` as they may be after power was lost now, written to `target`. What is lost is drawn from
  // `random`. Files that were never synced may be missing. Shared memory is never there.
  void SaveAfterPowerLoss(const std::string& folder, const std::string& target, std::mt19937_64& random);

  // Operations so far that change or sync.
  int64_t operations() const { return number_; }

  // For the functions SQLite calls.
  struct Write {
    int64_t at = 0;
    std::string bytes;      // "" and truncate
    bool truncate = false;  // to `at` bytes
  };
  struct File {
    std::string synced;
    std::vector<Write> unsynced;
    bool ever_synced = false;
    bool deleted = false;  // without a sync of the folder: may come back
  };
  int Begin(Operation operation, const std::string& path);
  void NoteOpen(const std::string& path);
  void Note(const std::string& path, Write write);
  void NoteSync(const std::string& path);
  void NoteDelete(const std::string& path, bool sync_folder);

 private:
  PowerLossDisk();
  static void Apply(std::string& content, const Write& write, size_t bytes);

  std::mutex mutex_;
  std::map<std::string, File> files_;  // by path
  int64_t number_ = 0;
};

}  // namespace capsweep::fault
