#include "coordinator/store/db.h"

#include <cerrno>

#include "absl/strings/cord.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::store {
namespace {

constexpr char kTransientPayload[] = "capsweep/store/transient";

bool IsOutOfSpace(int error) {
  return error == ENOSPC || error == EFBIG || error == EDQUOT;
}

// A file size limit or quota is reported as this and not as FULL. The system's own error is often gone by then.
bool IsRefusedWrite(int extended) {
  return extended == SQLITE_IOERR_WRITE || extended == SQLITE_IOERR_SHMSIZE || extended == SQLITE_IOERR_TRUNCATE;
}

// After these the content of the file can no longer be told from what SQLite reports.
bool LosesProof(int extended) {
  switch (extended) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_READ:
    case SQLITE_IOERR_SHORT_READ:
    case SQLITE_IOERR_CORRUPTFS:
      return true;
    default:
      return false;
  }
}

absl::StatusCode CodeFor(int extended, int system_error) {
  switch (extended & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return absl::StatusCode::kUnavailable;
    case SQLITE_IOERR:
      if (LosesProof(extended)) {
        return absl::StatusCode::kDataLoss;
      }
      return IsRefusedWrite(extended) || IsOutOfSpace(system_error) ? absl::StatusCode::kResourceExhausted
                                                                    : absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_INTERRUPT:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return absl::StatusCode::kInternal;
  }
}

bool CanPass(int extended) {
  switch (extended & 0xff) {
    case SQLITE_FULL:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_NOMEM:
      return true;
    case SQLITE_IOERR:
      return !LosesProof(extended);
    default:
      return false;
  }
}

}  // namespace

absl::Status StatusFromSqlite(sqlite3* db, int code, std::string_view what) {
  const int system_error = db == nullptr ? 0 : sqlite3_system_errno(db);
  std::string message = StrCat(what, ": ", db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db));
  if (IsRefusedWrite(code)) {
    StrAppend(&message, " on writing (no space, a quota or a file size limit)");
  } else if ((code & 0xff) == SQLITE_IOERR && system_error != 0) {
    StrAppend(&message, " (", FromErrno(system_error, "operating system").message(), ")");
  }
  absl::Status status(CodeFor(code, system_error), message);
  if (CanPass(code)) {
    status.SetPayload(kTransientPayload, absl::Cord());
  }
  return status;
}

bool IsTransient(const absl::Status& status) {
  return status.GetPayload(kTransientPayload).has_value();
}

void Statement::Note(int code) {
  if (code != SQLITE_OK && bind_error_ == SQLITE_OK) {
    bind_error_ = code;
  }
}

Statement& Statement::Bind(int index, int64_t value) {
  Note(sqlite3_bind_int64(statement_.get(), index, value));
  return *this;
}

Statement& Statement::Bind(int index, double value) {
  Note(sqlite3_bind_double(statement_.get(), index, value));
  return *this;
}

Statement& Statement::Bind(int index, std::string_view value) {
  // A null pointer would bind NULL instead of the empty text.
  const char* data = value.data() == nullptr ? "" : value.data();
  Note(sqlite3_bind_text64(statement_.get(), index, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
  return *this;
}

Statement& Statement::BindNull(int index) {
  Note(sqlite3_bind_null(statement_.get(), index));
  return *this;
}

Statement& Statement::BindBlob(int index, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();
  Note(sqlite3_bind_blob64(statement_.get(), index, data, value.size(), SQLITE_STATIC));
  return *this;
}

absl::StatusOr<bool> Statement::Step() {
  sqlite3* db = sqlite3_db_handle(statement_.get());
  if (bind_error_ != SQLITE_OK) {
    return StatusFromSqlite(nullptr, std::exchange(bind_error_, SQLITE_OK), sqlite3_sql(statement_.get()));
  }
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW || code == SQLITE_DONE) {
    return code == SQLITE_ROW;
  }
  absl::Status status = StatusFromSqlite(db, sqlite3_extended_errcode(db), "SQLite");
  Reset();
  return status;
}

absl::Status Statement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) {
      Reset();
      return absl::OkStatus();
    }
  }
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());
}

std::string_view Statement::Text(int column) {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(data), size);
}

namespace {

// file: URI of a path, so that '?', '#' and '%' in names stay part of the name.
std::string FileUri(const std::string& path, std::string_view query) {
  std::string uri = "file:";
  for (const char c : path) {
    if (c == '?' || c == '#' || c == '%') {
      constexpr char kDigits[] = "0123456789abcdef";
      StrAppend(&uri, '%', kDigits[(c >> 4) & 15], kDigits[c & 15]);
    } else {
      uri.push_back(c);
    }
  }
  return StrCat(uri, query);
}

}  // namespace

absl::StatusOr<Database> Database::Open(const std::string& path, Access access) {
  // Memory statistics nobody reads cost a lock per allocation. Too late if the process used SQLite before: no harm.
  [[maybe_unused]] static const int kConfigured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  const int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (access == Access::kWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
  sqlite3* raw = nullptr;
  const std::string uri = FileUri(path, access == Access::kImmutable ? "?immutable=1" : "");
  int code = SQLITE_OK;
  OpenFile file = OpenFile::Open(path, [&] { code = sqlite3_open_v2(uri.c_str(), &raw, flags, nullptr); });
  Database db(std::move(file), raw);
  if (code != SQLITE_OK) {
    return StatusFromSqlite(raw, code, StrCat("open ", path));
  }
  sqlite3_busy_timeout(raw, 5000);
  return db;
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : StatusFromSqlite(db_.get(), code, "SQLite");
}

absl::StatusOr<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  Statement statement(raw);
  if (code != SQLITE_OK) {
    return StatusFromSqlite(db_.get(), code, "SQLite");
  }
  return statement;
}

absl::StatusOr<int64_t> Database::QueryInt(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? statement.Int(0) : 0;
}

absl::StatusOr<std::string> Database::QueryText(const std::string& sql) {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? std::string(statement.Text(0)) : std::string();
}

absl::StatusOr<Transaction> Transaction::Begin(Database& db) {
  RETURN_IF_ERROR(db.Execute("BEGIN IMMEDIATE"));
  return Transaction(&db);
}

absl::StatusOr<Transaction> Transaction::BeginRead(Database& db) {
  RETURN_IF_ERROR(db.Execute("BEGIN"));
  return Transaction(&db);
}

absl::Status Transaction::Commit() {
  absl::Status status = db_->Execute("COMMIT");
  if (status.ok()) {
    db_ = nullptr;
  }
  return status;
}

Transaction::~Transaction() {
  // SQLite may have rolled back by itself already; a second ROLLBACK would only report that.
  if (db_ != nullptr && sqlite3_get_autocommit(db_->handle()) == 0) {
    sqlite3_exec(db_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

}  // namespace capsweep::store
