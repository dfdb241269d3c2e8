#include "coordinator/store/reader.h"

#include <sys/stat.h>

#include <cctype>
#include <chrono>
#include <utility>

#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/guard.h"
#include "coordinator/store/inspect.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/sweeps.h"

namespace capsweep::store {
namespace {

// Virtual machine steps between two looks at the clock: about 20 µs.
constexpr int kStepsPerCheck = 2000;
constexpr int64_t kMaxValueBytes = 256 << 20;

using SteadyClock = std::chrono::steady_clock;

std::string ToHex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char c : bytes) {
    hex.push_back(kDigits[(c >> 4) & 15]);
    hex.push_back(kDigits[c & 15]);
  }
  return hex;
}

Cell ReadCell(Statement& row, int column) {
  switch (sqlite3_column_type(row.handle(), column)) {
    case SQLITE_INTEGER:
      return row.Int(column);
    case SQLITE_FLOAT:
      return row.Real(column);
    case SQLITE_TEXT:
      return std::string(row.Text(column));
    case SQLITE_BLOB:
      return ToHex(row.Text(column));
    default:
      return std::monostate();
  }
}

int64_t CellBytes(const Cell& cell) {
  const std::string* text = std::get_if<std::string>(&cell);
  return static_cast<int64_t>(sizeof(Cell)) + (text == nullptr ? 0 : static_cast<int64_t>(text->size()));
}

// Interrupts the running statement at a deadline, for as long as it lives.
class TimeLimit {
 public:
  TimeLimit(sqlite3* db, Duration limit) : db_(db), deadline_(SteadyClock::now() + limit) {
    sqlite3_progress_handler(db_, kStepsPerCheck, &Expired, this);
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;
  ~TimeLimit() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }

 private:
  static int Expired(void* self) { return SteadyClock::now() >= static_cast<TimeLimit*>(self)->deadline_ ? 1 : 0; }
  sqlite3* db_;
  SteadyClock::time_point deadline_;
};

absl::StatusOr<Table> Collect(Database& db, Statement& rows, const QueryLimits& limits) {
  const TimeLimit time_limit(db.handle(), limits.max_time);
  Table table;
  const int columns = sqlite3_column_count(rows.handle());
  for (int i = 0; i < columns; ++i) {
    table.columns.emplace_back(sqlite3_column_name(rows.handle(), i));
  }
  int64_t bytes = 0;
  while (true) {
    absl::StatusOr<bool> row = rows.Step();
    if (row.status().code() == absl::StatusCode::kDeadlineExceeded) {
      return absl::DeadlineExceededError(
          StrCat("the query took longer than ", ToSeconds(limits.max_time), " s and was stopped; make it smaller"));
    }
    if (!row.ok()) {
      return row.status();
    }
    if (!*row) {
      return table;
    }
    if (static_cast<int64_t>(table.rows.size()) >= limits.max_rows || bytes >= limits.max_bytes) {
      table.truncated = true;
      return table;
    }
    std::vector<Cell> cells;
    cells.reserve(static_cast<size_t>(columns));
    for (int i = 0; i < columns; ++i) {
      cells.push_back(ReadCell(rows, i));
      bytes += CellBytes(cells.back());
    }
    table.rows.push_back(std::move(cells));
  }
}

// Compiling fails for the user's reasons: bad SQL, or something the authorizer forbids.
absl::Status CompileError(sqlite3* db, int code) {
  const std::string message = sqlite3_errmsg(db);
  // A forbidden function is reported as a plain error.
  if ((code & 0xff) == SQLITE_AUTH || message.starts_with("not authorized")) {
    return absl::PermissionDeniedError(
        StrCat("only statements that read are allowed here (", message, "); use SELECT"));
  }
  switch (code & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
      return absl::InvalidArgumentError(StrCat("SQL: ", message));
    default:
      return StatusFromSqlite(db, code, "SQL");
  }
}

// What is left after the first statement, without blanks, comments and semicolons.
bool IsBlankSql(std::string_view rest) {
  while (!rest.empty()) {
    if (std::isspace(static_cast<unsigned char>(rest.front())) != 0 || rest.front() == ';') {
      rest.remove_prefix(1);
    } else if (rest.substr(0, 2) == "--") {
      const size_t end = rest.find('\n');
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
    } else if (rest.substr(0, 2) == "/*") {
      const size_t end = rest.find("*/", 2);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 2);
    } else {
      return false;
    }
  }
  return true;
}

absl::StatusOr<Statement> PrepareUser(Database& db, std::string_view sql, std::string_view& rest) {
  sqlite3_stmt* raw = nullptr;
  const char* tail = nullptr;
  const int code = sqlite3_prepare_v3(db.handle(), sql.data(), static_cast<int>(sql.size()), 0, &raw, &tail);
  Statement statement = Statement::Adopt(raw);
  if (code != SQLITE_OK) {
    return CompileError(db.handle(), code);
  }
  rest = tail == nullptr ? std::string_view() : sql.substr(static_cast<size_t>(tail - sql.data()));
  return statement;
}

bool HasBytes(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && info.st_size > 0;
}

bool Probe(Database& db, absl::Status& why) {
  absl::StatusOr<int64_t> objects = db.QueryInt("SELECT COUNT(*) FROM sqlite_schema");
  why = objects.status();
  return objects.ok();
}

// A database in WAL mode needs its side files. Where they cannot be made (a read-only folder) and nothing waits in a
// log, the file is complete by itself.
absl::StatusOr<Database> OpenForReading(const std::string& path) {
  absl::Status why;
  absl::StatusOr<Database> db = Database::Open(path, Database::Access::kRead);
  if (db.ok() && Probe(*db, why)) {
    return db;
  }
  why.Update(db.status());
  const std::string folder = FolderOf(path);
  if (!IsTransient(why) || CanWrite(folder)) {
    return why;
  }
  if (HasBytes(StrCat(path, "-wal"))) {
    return absl::FailedPreconditionError(StrCat("the database ", path, " has a log beside it (", path,
                                                "-wal) that cannot be "
                                                "read in the read-only folder ",
                                                folder, "; copy both files to a writable folder"));
  }
  ASSIGN_OR_RETURN(Database alone, Database::Open(path, Database::Access::kImmutable));
  if (!Probe(alone, why)) {
    return why;
  }
  return alone;
}

}  // namespace

struct Reader::Impl {
  explicit Impl(Database d) : db(std::move(d)) {}
  Database db;

  absl::Status CheckSweep(const std::string& sweep) {
    ASSIGN_OR_RETURN(Statement find, db.Prepare("SELECT 1 FROM sweeps WHERE name = ?1"));
    find.Bind(1, sweep);
    ASSIGN_OR_RETURN(const bool found, find.Step());
    if (found) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const std::string names, NameSweeps(db));
    return absl::NotFoundError(StrCat("there is no sweep named ", sweep, names));
  }
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::~Reader() = default;

absl::StatusOr<std::unique_ptr<Reader>> Reader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const FileKind kind, InspectFile(path));
  if (kind == FileKind::kMissing) {
    return absl::NotFoundError(
        StrCat("there is no database ", path, "; `capsweep run SPEC --db ", path, "` makes one"));
  }
  absl::StatusOr<Database> db = OpenForReading(path);
  if (!db.ok()) {
    return Annotate(db.status(), StrCat("cannot read the database ", path));
  }
  ASSIGN_OR_RETURN(const int64_t objects, db->QueryInt("SELECT COUNT(*) FROM sqlite_schema"));
  if (kind == FileKind::kNew && objects == 0) {
    return absl::NotFoundError(
        StrCat("the database ", path, " is empty; `capsweep run SPEC --db ", path, "` fills it"));
  }
  RETURN_IF_ERROR(CheckIdentity(*db, path));
  ASSIGN_OR_RETURN(const int64_t version, db->QueryInt("PRAGMA user_version"));
  if (version < NewestVersion()) {
    return absl::FailedPreconditionError(StrCat(path, " has the older schema version ", version,
                                                "; open it once with "
                                                "`capsweep coordinator --db ",
                                                path, "`, which makes a backup and migrates it"));
  }
  RETURN_IF_ERROR(GuardConnection(*db, kMaxValueBytes));
  return std::unique_ptr<Reader>(new Reader(std::make_unique<Impl>(*std::move(db))));
}

absl::StatusOr<Table> Reader::Query(const std::string& sql, const QueryLimits& limits) {
  if (sql.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("SQL: the text holds a zero byte");
  }
  std::string_view rest;
  ASSIGN_OR_RETURN(Statement statement, PrepareUser(impl_->db, sql, rest));
  if (statement.handle() == nullptr) {
    return absl::InvalidArgumentError("SQL: there is no statement; give a SELECT");
  }
  if (!IsBlankSql(rest)) {
    return absl::InvalidArgumentError(
        StrCat("SQL: only one statement at a time; this follows the first: ", rest.substr(0, 60)));
  }
  if (sqlite3_stmt_readonly(statement.handle()) == 0) {
    return absl::PermissionDeniedError("only statements that read are allowed here; use SELECT");
  }
  return Collect(impl_->db, statement, limits);
}

absl::StatusOr<Table> Reader::Results(const std::string& sweep, const std::string& where, int64_t after_point,
                                      const QueryLimits& limits) {
  RETURN_IF_ERROR(impl_->CheckSweep(sweep));
  std::string sql = "SELECT * FROM v_results WHERE sweep = ?1 AND point_id > ?2";
  if (!where.empty()) {
    RETURN_IF_ERROR(CheckExpression(where));
    StrAppend(&sql, " AND (\n", where, "\n)");
  }
  StrAppend(&sql, " ORDER BY point_id");
  std::string_view rest;
  absl::StatusOr<Statement> rows = PrepareUser(impl_->db, sql, rest);
  if (!rows.ok()) {
    return Annotate(rows.status(), StrCat("where '", where, "'"));
  }
  rows->Bind(1, sweep).Bind(2, after_point);
  return Collect(impl_->db, *rows, limits);
}

absl::StatusOr<std::vector<SweepProgress>> Reader::Progress(const std::string& sweep) {
  if (!sweep.empty()) {
    RETURN_IF_ERROR(impl_->CheckSweep(sweep));
  }
  ASSIGN_OR_RETURN(Statement rows,
                   impl_->db.Prepare("SELECT sweep, state, reason, points, done, failed, running, pending, "
                                     "rate_per_second, coalesce(eta_seconds, -1), architectures, "
                                     "architectures_settled FROM v_progress "
                                     "WHERE ?1 = '' OR sweep = ?1"));
  rows.Bind(1, sweep);
  std::vector<SweepProgress> out;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) {
      return out;
    }
    out.push_back({std::string(rows.Text(0)), std::string(rows.Text(1)), std::string(rows.Text(2)), rows.Int(3),
                   rows.Int(4), rows.Int(5), rows.Int(6), rows.Int(7), rows.Real(8), rows.Real(9), rows.Int(10),
                   rows.Int(11)});
  }
}

absl::StatusOr<Table> Reader::Cells(const std::string& sweep, const QueryLimits& limits) {
  RETURN_IF_ERROR(impl_->CheckSweep(sweep));
  ASSIGN_OR_RETURN(Statement rows, impl_->db.Prepare("SELECT * FROM v_cells WHERE sweep = ?1"));
  rows.Bind(1, sweep);
  return Collect(impl_->db, rows, limits);
}

absl::StatusOr<Table> Reader::Workers() {
  ASSIGN_OR_RETURN(Statement rows, impl_->db.Prepare("SELECT * FROM v_workers ORDER BY worker"));
  return Collect(impl_->db, rows, {});
}

absl::StatusOr<std::string> Reader::Fit(int64_t id) {
  ASSIGN_OR_RETURN(Statement find, impl_->db.Prepare("SELECT fit_json FROM fits WHERE fit_id = ?1"));
  find.Bind(1, id);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) {
    return absl::NotFoundError(StrCat("there is no fit ", id, "; SELECT fit_id, sweep FROM fits lists them"));
  }
  return std::string(find.Text(0));
}

}  // namespace capsweep::store
