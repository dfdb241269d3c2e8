#include "common/security/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::security {
namespace {

std::string Octal(unsigned mode) {
  std::string text = "0";
  for (int shift = 6; shift >= 0; shift -= 3) text.push_back(static_cast<char>('0' + ((mode >> shift) & 7)));
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& path, int64_t max_bytes) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return FromErrno(errno, StrCat("open ", path));
  if (S_ISREG(info.st_mode) && (info.st_mode & 0077) != 0) {
    return absl::PermissionDeniedError(StrCat(path, " holds secrets but has mode ", Octal(info.st_mode & 0777),
                                              ", so that others can reach it; chmod 600 ", path));
  }
  if (S_ISREG(info.st_mode) && info.st_uid != geteuid() && info.st_uid != 0) {
    return absl::PermissionDeniedError(
        StrCat(path, " holds secrets but belongs to user ", info.st_uid, "; chown it to the user who runs this"));
  }
  return ReadFile(path, max_bytes);
}

absl::Status WriteSecretFile(const std::string& path, std::string_view bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FromErrno(errno, StrCat("create ", path));
  absl::Status status;
  while (!bytes.empty() && status.ok()) {
    const ssize_t wrote = write(fd, bytes.data(), bytes.size());
    if (wrote >= 0) {
      bytes.remove_prefix(static_cast<size_t>(wrote));
    } else if (errno != EINTR) {
      status = FromErrno(errno, StrCat("write ", path));
    }
  }
  if (status.ok() && fsync(fd) != 0) status = FromErrno(errno, StrCat("fsync ", path));
  close(fd);
  if (!status.ok()) unlink(path.c_str());
  return status;
}

}  // namespace capsweep::security
