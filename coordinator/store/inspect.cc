#include "coordinator/store/inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/open_files.h"
#include "coordinator/store/schema.h"

namespace capsweep::store {
namespace {

constexpr int kHeaderBytes = 100;

uint32_t BigEndian32(const unsigned char* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

absl::Status CheckFolder(const std::string& path) {
  struct stat info;
  const std::string folder = FolderOf(path);
  if (::stat(folder.c_str(), &info) != 0) {
    return errno == ENOENT || errno == ENOTDIR
               ? absl::NotFoundError(StrCat("cannot make the database ", path, ": there is no folder ", folder,
                                            "; create it or give another path"))
               : FromErrno(errno, StrCat("folder ", folder, " of the database ", path));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        StrCat("cannot make the database ", path, ": ", folder, " is not a folder; give another path"));
  }
  return absl::OkStatus();
}

// A transaction of a killed process in rollback mode (only creation uses it) leaves this beside the file; then the
// header may be half of one, and SQLite restores it on opening.
bool HasRollbackJournal(const std::string& path) {
  struct stat info;
  return ::stat(StrCat(path, "-journal").c_str(), &info) == 0 && info.st_size > 0;
}

absl::StatusOr<std::string> ReadHeader(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return FromErrno(errno, StrCat("open the database ", path));
  }
  std::string header(kHeaderBytes, '\0');
  const ssize_t got = ::pread(fd, header.data(), header.size(), 0);
  const int error = errno;
  ::close(fd);
  if (got < 0) {
    return FromErrno(error, StrCat("read the database ", path));
  }
  header.resize(static_cast<size_t>(got));
  return header;
}

absl::StatusOr<FileKind> JudgeHeader(const std::string& path, const std::string& header) {
  if (header.empty()) {
    return FileKind::kNew;
  }
  constexpr std::string_view kMagic("SQLite format 3\0", 16);
  if (header.size() < kHeaderBytes || std::string_view(header).substr(0, kMagic.size()) != kMagic) {
    return absl::FailedPreconditionError(StrCat(path,
                                                " is not a database (it does not start as an SQLite file); give "
                                                "another path, a missing file is created"));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(header.data());
  if (BigEndian32(bytes + 68) != static_cast<uint32_t>(kApplicationId)) {
    return NotCapsweep(path);
  }
  const int64_t version = BigEndian32(bytes + 60);
  return version > NewestVersion() ? absl::StatusOr<FileKind>(NewerVersion(path, version)) : FileKind::kCapsweep;
}

}  // namespace

bool CanWrite(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

absl::Status NotCapsweep(const std::string& path) {
  return absl::FailedPreconditionError(StrCat(path,
                                              " is an SQLite database, but not one of capsweep's; give another "
                                              "path, a missing file is created"));
}

absl::Status NewerVersion(const std::string& path, int64_t version) {
  return absl::FailedPreconditionError(StrCat(path, " was written by a newer capsweep (schema version ", version,
                                              "; this is capsweep ", kVersion, " with schema version ", NewestVersion(),
                                              "); use that capsweep, or give another path"));
}

absl::StatusOr<FileKind> InspectFile(const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError("the path of the database is empty; give a file name");
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) {
      return FromErrno(errno, StrCat("database ", path));
    }
    RETURN_IF_ERROR(CheckFolder(path));
    return FileKind::kMissing;
  }
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(StrCat(path, " is a folder; give the path of a database file"));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(StrCat(path, " is not a regular file; give the path of a database file"));
  }
  absl::StatusOr<std::string> header;
  if (!PeekUnlessOpen(path, [&] { header = ReadHeader(path); })) {
    return FileKind::kCapsweep;  // what this process has open it has judged
  }
  RETURN_IF_ERROR(header.status());
  if (HasRollbackJournal(path)) {
    return FileKind::kNew;
  }
  return JudgeHeader(path, *header);
}

absl::Status CheckWritable(const std::string& path, FileKind kind) {
  const auto writable = [](const std::string& p) {
    struct stat info;
    return ::stat(p.c_str(), &info) == 0 && (info.st_mode & 0222) != 0 && CanWrite(p);
  };
  if (kind != FileKind::kMissing && !writable(path)) {
    return absl::FailedPreconditionError(
        StrCat("the database ", path, " is read-only; make it writable (chmod u+w ", path, ") or copy it elsewhere"));
  }
  const std::string folder = FolderOf(path);
  if (!writable(folder)) {
    return absl::FailedPreconditionError(StrCat("the folder ", folder, " of the database ", path,
                                                " is read-only, and SQLite keeps its log beside the database; make it "
                                                "writable or use a database elsewhere"));
  }
  return absl::OkStatus();
}

absl::Status CheckIdentity(Database& db, const std::string& path) {
  absl::StatusOr<int64_t> application = db.QueryInt("PRAGMA application_id");
  if (!application.ok()) {
    return application.status();
  }
  if (*application != kApplicationId) {
    return NotCapsweep(path);
  }
  ASSIGN_OR_RETURN(const int64_t version, db.QueryInt("PRAGMA user_version"));
  return version > NewestVersion() ? NewerVersion(path, version) : absl::OkStatus();
}

}  // namespace capsweep::store
