#include "coordinator/store/backup.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/db.h"
#include "coordinator/store/inspect.h"

namespace capsweep::store {
namespace {

constexpr int kPagesPerStep = 4096;

absl::Status CopyPages(Database& from, Database& to) {
  sqlite3_backup* copy = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  if (copy == nullptr) {
    return StatusFromSqlite(to.handle(), sqlite3_extended_errcode(to.handle()), "start the copy");
  }
  int code = SQLITE_OK;
  while (code == SQLITE_OK) {
    code = sqlite3_backup_step(copy, kPagesPerStep);
  }
  sqlite3_backup_finish(copy);
  return code == SQLITE_DONE ? absl::OkStatus() : StatusFromSqlite(to.handle(), code, "copy");
}

// One file without a log, so that it can be copied and moved by any tool.
absl::Status FinishCopy(Database& copy, BackupReport& report) {
  ASSIGN_OR_RETURN(const std::string mode, copy.QueryText("PRAGMA journal_mode = DELETE"));
  if (mode != "delete") {
    return absl::InternalError(StrCat("the copy's journal mode stayed '", mode, "'"));
  }
  ASSIGN_OR_RETURN(const std::string integrity, copy.QueryText("PRAGMA integrity_check(1)"));
  if (integrity != "ok") {
    return absl::DataLossError(StrCat("the database is damaged: ", integrity));
  }
  ASSIGN_OR_RETURN(Statement orphans, copy.Prepare("PRAGMA foreign_key_check"));
  ASSIGN_OR_RETURN(const bool found, orphans.Step());
  if (found) {
    return absl::DataLossError(
        StrCat("the database is damaged: rows of ", orphans.Text(0), " have lost their parents"));
  }
  ASSIGN_OR_RETURN(report.version, copy.QueryInt("PRAGMA user_version"));
  ASSIGN_OR_RETURN(report.points, copy.QueryInt("SELECT COUNT(*) FROM points"));
  ASSIGN_OR_RETURN(report.results, copy.QueryInt("SELECT COUNT(*) FROM results"));
  return absl::OkStatus();
}

absl::Status Exists(const std::string& target) {
  return absl::AlreadyExistsError(StrCat(target, " exists already and is not overwritten; give another name"));
}

absl::StatusOr<BackupReport> WriteCopy(Database& source, const std::string& part) {
  BackupReport report;
  {
    ASSIGN_OR_RETURN(Database copy, Database::Open(part, Database::Access::kWrite));
    RETURN_IF_ERROR(Reach(FailPoint::kBackupBegun));
    // The copy becomes durable at the end, at once.
    RETURN_IF_ERROR(copy.Execute("PRAGMA synchronous = OFF"));
    RETURN_IF_ERROR(CopyPages(source, copy));
    RETURN_IF_ERROR(Reach(FailPoint::kBackupCopied));
    RETURN_IF_ERROR(FinishCopy(copy, report));
  }
  struct stat info;
  report.bytes = ::stat(part.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_size) : 0;
  return report;
}

}  // namespace

absl::Status MoveIntoPlace(const std::string& part, const std::string& target) {
  RETURN_IF_ERROR(SyncPath(part));
  RETURN_IF_ERROR(Reach(FailPoint::kBackupSynced));
  int moved = ::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE);
  if (moved != 0 && (errno == EINVAL || errno == ENOSYS)) {  // a file system that cannot promise it
    if (::access(target.c_str(), F_OK) == 0) {
      return Exists(target);
    }
    moved = ::rename(part.c_str(), target.c_str());
  }
  if (moved != 0) {
    return errno == EEXIST ? Exists(target) : FromErrno(errno, StrCat("rename ", part, " to ", target));
  }
  RETURN_IF_ERROR(Reach(FailPoint::kBackupRenamed));
  return SyncPath(FolderOf(target));
}

absl::StatusOr<BackupReport> BackUp(const std::string& path, const std::string& target) {
  ASSIGN_OR_RETURN(const FileKind kind, InspectFile(path));
  if (kind == FileKind::kMissing) {
    return absl::NotFoundError(StrCat("there is no database ", path, "; check the path"));
  }
  if (::access(target.c_str(), F_OK) == 0) {
    return Exists(target);
  }
  ASSIGN_OR_RETURN(Database source, Database::Open(path, Database::Access::kRead));
  RETURN_IF_ERROR(Annotate(CheckIdentity(source, path), "back up"));
  // One snapshot: the copy never starts over, however much is written meanwhile.
  ASSIGN_OR_RETURN(const Transaction snapshot, Transaction::BeginRead(source));
  RETURN_IF_ERROR(source.QueryInt("SELECT COUNT(*) FROM sqlite_schema").status());

  const std::string part = StrCat(target, ".", ::getpid(), ".part");
  ::unlink(part.c_str());
  absl::StatusOr<BackupReport> report = WriteCopy(source, part);
  absl::Status status = report.ok() ? MoveIntoPlace(part, target) : report.status();
  if (!status.ok()) {
    ::unlink(part.c_str());
    ::unlink(StrCat(part, "-journal").c_str());
    if (status.code() == absl::StatusCode::kDataLoss) {
      return Annotate(status, StrCat(path, " was not backed up (see `capsweep doctor ", path, "`)"));
    }
    return absl::IsAlreadyExists(status) ? status : Annotate(status, StrCat("back up ", path, " to ", target));
  }
  return report;
}

}  // namespace capsweep::store
