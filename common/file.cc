#include "common/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "common/fail_point.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep {
namespace {

// Closes on every way out; no copies.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return FromErrno(errno, StrCat("write ", path));
    }
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return absl::OkStatus();
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return FromErrno(errno, StrCat("open ", path));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FromErrno(errno, StrCat("stat ", path));
  if (S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(StrCat(path, " is a folder, not a file"));
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(StrCat(path, " is not a regular file"));
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(StrCat(path, " has ", info.st_size, " bytes; at most ", max_bytes, " are read"));
  }
  std::string bytes;
  char buffer[1 << 16];
  while (true) {
    const ssize_t got = read(fd.get(), buffer, sizeof buffer);
    if (got < 0) {
      if (errno == EINTR) continue;
      return FromErrno(errno, StrCat("read ", path));
    }
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
    if (static_cast<int64_t>(bytes.size()) > max_bytes) {
      return absl::InvalidArgumentError(StrCat(path, " has more than ", max_bytes, " bytes"));
    }
  }
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view bytes) {
  const std::string temporary = StrCat(path, ".", getpid(), ".", RandomHexId().substr(0, 8), ".tmp");
  absl::Status status = [&]() -> absl::Status {
    Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (fd.get() < 0) return FromErrno(errno, StrCat("create ", temporary));
    RETURN_IF_ERROR(Reach(FailPoint::kFileCreated));
    RETURN_IF_ERROR(WriteAll(fd.get(), bytes, temporary));
    RETURN_IF_ERROR(Reach(FailPoint::kFileWritten));
    if (fsync(fd.get()) != 0) return FromErrno(errno, StrCat("fsync ", temporary));
    if (close(fd.Release()) != 0) return FromErrno(errno, StrCat("close ", temporary));
    RETURN_IF_ERROR(Reach(FailPoint::kFileSynced));
    if (rename(temporary.c_str(), path.c_str()) != 0) return FromErrno(errno, StrCat("rename to ", path));
    Reach(FailPoint::kFileRenamed).IgnoreError();
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  Fd folder(open(FolderOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) fsync(folder.get());  // some file systems refuse fsync on folders; the rename stands anyway
  return absl::OkStatus();
}

absl::Status SyncPath(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return FromErrno(errno, StrCat("open ", path));
  return fsync(fd.get()) == 0 ? absl::OkStatus() : FromErrno(errno, StrCat("sync ", path));
}

absl::Status MakeFolders(const std::string& path) {
  std::filesystem::path made;
  for (const auto& part : std::filesystem::path(path)) {
    made /= part;
    if (mkdir(made.c_str(), 0700) != 0 && errno != EEXIST && errno != EISDIR) {
      return FromErrno(errno, StrCat("create folder ", made.string()));
    }
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return FromErrno(errno, StrCat("stat ", path));
  if (!S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(StrCat(path, " is a file, not a folder"));
  return absl::OkStatus();
}

std::string ExecutableFolder() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "." : self.parent_path().string();
}

absl::StatusOr<FileLock> FileLock::TryAcquire(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (fd.get() < 0) return FromErrno(errno, StrCat("open ", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FromErrno(errno, StrCat("lock ", path));
    char holder[32] = {};
    const ssize_t got = pread(fd.get(), holder, sizeof holder - 1, 0);
    const int pid = got > 0 ? std::atoi(holder) : 0;
    return absl::FailedPreconditionError(pid > 0 ? StrCat(path, " is locked by process ", pid)
                                                 : StrCat(path, " is locked by another process"));
  }
  const std::string pid = StrCat(getpid(), "\n");
  // Only for the message above; a full disk must not keep anyone from the lock.
  if (ftruncate(fd.get(), 0) == 0) (void)!pwrite(fd.get(), pid.data(), pid.size(), 0);
  return FileLock(fd.Release());
}

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace capsweep
