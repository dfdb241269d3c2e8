// Small file helpers with Status. All paths are UTF-8 strings.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capsweep {

// Whole file; refuses files above max_bytes and anything that is not a regular file.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = 64 << 20);

// Temp file in the same folder, write, fsync, rename, fsync of the folder: readers see the old or the new text.
absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes);

// fsync of a file or a folder.
absl::Status SyncPath(const std::string& path);

// Creates the folder and its parents, mode 0700 for those it makes.
absl::Status MakeFolders(const std::string& path);

// Folder of the running executable, for finding sibling binaries.
std::string ExecutableFolder();

// An exclusive advisory lock (flock) on `path`, created if missing; held until destruction or process death.
class FileLock {
 public:
  // FailedPrecondition, naming the holder's pid if known, when another process holds it.
  static absl::StatusOr<FileLock> TryAcquire(const std::string& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace capsweep
