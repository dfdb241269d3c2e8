#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "common/clock.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/backup.h"
#include "coordinator/store/db.h"
#include "coordinator/store/doctor.h"
#include "coordinator/store/inspect.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/verify.h"

namespace capsweep::store {
namespace {

// In the order in which rows may refer to each other. `key`: the first column of the primary key, a whole number along
// which damaged places are stepped over; "" for small tables with text keys, which are read from both ends.
struct SalvagedTable {
  const char* name;
  const char* key;
  const char* order;  // of a table without a whole number as key
};
constexpr SalvagedTable kSalvagedTables[] = {
    {"store_info", "id", ""},
    {"sweeps", "sweep_id", ""},
    {"points", "point_id", ""},
    {"sweep_points", "sweep_id", "point_id"},
    {"attempts", "point_id", ""},
    {"results", "point_id", ""},
    {"curves", "point_id", ""},
    {"checkpoints", "point_id", ""},
    {"workers", "", "worker"},
    {"devices", "", "worker"},
    {"allocations", "allocation_id", ""},
    {"fits", "fit_id", ""},
    {"events", "event_id", ""},
    {"searches", "sweep_id", ""},
};

// Copies the rows of one table around what cannot be read.
class TableCopier {
 public:
  TableCopier(Database& from, Database& to, const SalvagedTable& table, int64_t most_rows)
      : from_(from), to_(to), table_(table), rows_left_(most_rows) {
    report_.name = table.name;
  }

  absl::StatusOr<Salvaged::Table> Copy() {
    RETURN_IF_ERROR(Prepare());
    if (table_.key[0] == '\0') {
      if (!Scan(StrCat("ORDER BY ", table_.order), nullptr)) {
        ++report_.gaps;
        Scan(StrCat("ORDER BY ", table_.order, " DESC"), nullptr);
      }
    } else {
      CopyByKey();
    }
    return report_;
  }

 private:
  static constexpr int64_t kLast = std::numeric_limits<int64_t>::max();

  absl::Status Prepare() {
    ASSIGN_OR_RETURN(Statement columns, to_.Prepare(StrCat("SELECT * FROM ", table_.name)));
    const int count = sqlite3_column_count(columns.handle());
    std::string parameters;
    for (int i = 0; i < count; ++i) {
      StrAppend(&columns_, i == 0 ? "" : ", ", sqlite3_column_name(columns.handle(), i));
      StrAppend(&parameters, i == 0 ? "?" : ", ?");
      if (std::string_view(sqlite3_column_name(columns.handle(), i)) == table_.key) {
        key_column_ = i;
      }
    }
    ASSIGN_OR_RETURN(Statement insert, to_.Prepare(StrCat("INSERT OR IGNORE INTO ", table_.name, " (", columns_,
                                                          ") VALUES (", parameters, ")")));
    insert_.push_back(std::move(insert));
    return absl::OkStatus();
  }

  // Copies the rows that `rest` selects, in its order; `last` follows the key. False: it broke off at damage.
  bool Scan(const std::string& rest, int64_t* last) {
    absl::StatusOr<Statement> rows = from_.Prepare(StrCat("SELECT ", columns_, " FROM ", table_.name, " ", rest));
    if (!rows.ok()) {
      return false;
    }
    const bool falls = rest.ends_with(" DESC");
    bool first = true;
    while (rows_left_-- > 0) {
      const absl::StatusOr<bool> row = rows->Step();
      if (!row.ok()) {
        return false;
      }
      if (!*row) {
        return true;
      }
      if (last != nullptr) {
        const int64_t key = rows->Int(key_column_);
        // Keys out of order: a damaged page leads somewhere else.
        if (!first && (falls ? key > *last : key < *last)) {
          return false;
        }
        *last = key;
        first = false;
      }
      CopyRow(*rows);
    }
    return true;
  }

  void CopyRow(Statement& row) {
    for (int i = 0; i < sqlite3_column_count(row.handle()); ++i) {
      sqlite3_bind_value(insert_[0].handle(), i + 1, sqlite3_column_value(row.handle(), i));
    }
    if (!insert_[0].Run().ok()) {
      ++report_.dropped;  // of a type or with a word that the column cannot have
    } else {
      report_.copied += to_.Changes();
    }
  }

  void CopyByKey() {
    int64_t last = std::numeric_limits<int64_t>::min();
    while (!Scan(StrCat("WHERE ", table_.key, " > ", last, " ORDER BY ", table_.key), &last)) {
      ++report_.gaps;
      const int64_t beyond = FindBeyond(last);
      // What lies between is read from its far end.
      int64_t down = beyond;
      Scan(StrCat("WHERE ", table_.key, " >= ", last, " AND ", table_.key, beyond == kLast ? " <= " : " < ", beyond,
                  " ORDER BY ", table_.key, " DESC"),
           &down);
      if (beyond == kLast) {
        return;
      }
      last = beyond - 1;
    }
  }

  // The key of a row after the damage, kLast if none can be found: ever larger steps.
  int64_t FindBeyond(int64_t last) {
    for (int64_t step = 1; step < (int64_t{1} << 40); step *= 2) {
      if (last > kLast - step) {
        break;
      }
      absl::StatusOr<Statement> find =
          from_.Prepare(StrCat("SELECT ", table_.key, " FROM ", table_.name, " WHERE ", table_.key, " > ",
                               std::max<int64_t>(last, -1) + step, " ORDER BY ", table_.key, " LIMIT 1"));
      const absl::StatusOr<bool> row = find.ok() ? find->Step() : absl::StatusOr<bool>(find.status());
      if (row.ok()) {
        return *row && find->Int(0) > last ? find->Int(0) : kLast;
      }
    }
    return kLast;
  }

  Database& from_;
  Database& to_;
  const SalvagedTable& table_;
  int64_t rows_left_;  // a damaged tree may lead in circles
  std::string columns_;
  int key_column_ = 0;
  std::vector<Statement> insert_;  // one
  Salvaged::Table report_;
};

absl::Status DropBroken(Database& db, Salvaged& salvaged) {
  std::vector<int64_t> points, results;
  RETURN_IF_ERROR(VisitBrokenPoints(db, [&](int64_t point, const std::string&) { points.push_back(point); }));
  RETURN_IF_ERROR(VisitBrokenResults(db, [&](int64_t point, const std::string&) { results.push_back(point); }));
  const auto drop = [&](std::string_view table, const std::vector<int64_t>& ids) -> absl::Status {
    ASSIGN_OR_RETURN(Statement remove, db.Prepare(StrCat("DELETE FROM ", table, " WHERE point_id = ?1")));
    for (const int64_t id : ids) {
      RETURN_IF_ERROR(remove.Bind(1, id).Run());
    }
    for (Salvaged::Table& report : salvaged.tables) {
      if (report.name == table) {
        report.dropped += static_cast<int64_t>(ids.size());
      }
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(drop("points", points));
  return drop("results", results);
}

absl::Status DropOrphans(Database& db, Salvaged& salvaged) {
  constexpr std::pair<const char*, const char*> kOrphans[] = {
      {"results", "point_id NOT IN (SELECT point_id FROM points)"},
      {"sweep_points",
       "point_id NOT IN (SELECT point_id FROM points) OR sweep_id NOT IN (SELECT sweep_id FROM sweeps)"},
      {"attempts", "point_id NOT IN (SELECT point_id FROM points)"},
      {"curves", "point_id NOT IN (SELECT point_id FROM results)"},
      {"checkpoints", "point_id NOT IN (SELECT point_id FROM points) OR point_id IN (SELECT point_id FROM results)"},
      {"searches", "point_id NOT IN (SELECT point_id FROM points) OR sweep_id NOT IN (SELECT sweep_id FROM sweeps)"},
      {"devices", "worker NOT IN (SELECT worker FROM workers)"},
  };
  for (const auto& [table, orphan] : kOrphans) {
    RETURN_IF_ERROR(db.Execute(StrCat("DELETE FROM ", table, " WHERE ", orphan)));
    for (Salvaged::Table& report : salvaged.tables) {
      if (report.name == table) {
        report.dropped += db.Changes();
      }
    }
  }
  return absl::OkStatus();
}

// Makes what is left agree with the results that are left.
absl::Status PutRight(Database& db, Salvaged& salvaged) {
  const int64_t now_ms = Clock::Real().WallMillis();
  RETURN_IF_ERROR(db.Execute(StrCat("INSERT OR IGNORE INTO store_info VALUES (1, '", RandomHexId(), "', ", now_ms,
                                    ", 1, ", now_ms, ", 'salvage')")));
  RETURN_IF_ERROR(db.Execute(
      "UPDATE points SET state = 'pending' WHERE state = 'done' AND point_id NOT IN (SELECT point_id FROM results)"));
  salvaged.reopened = db.Changes();
  return db.Execute(StrCat(
      "UPDATE points SET state = 'done', reason = '' WHERE point_id IN (SELECT point_id FROM results);"
      "UPDATE sweeps SET state = 'running' WHERE state = 'finished' AND EXISTS (SELECT 1 FROM sweep_points sp JOIN "
      "points p USING (point_id) WHERE sp.sweep_id = sweeps.sweep_id AND p.state IN ('pending', 'running'));"
      "UPDATE attempts SET outcome = 'lost', ended_ms = coalesce(ended_ms, ",
      now_ms,
      "), message = 'its result was not salvaged' WHERE outcome = 'accepted' AND NOT EXISTS (SELECT 1 FROM results "
      "r WHERE r.point_id = attempts.point_id AND r.attempt = attempts.attempt);"
      "INSERT INTO attempts (point_id, attempt, worker, incarnation, device, started_ms, ended_ms, outcome, message) "
      "SELECT point_id, attempt, worker, '', device, accepted_ms, accepted_ms, 'accepted', 'salvaged' FROM results "
      "WHERE TRUE ON CONFLICT (point_id, attempt) DO UPDATE SET outcome = 'accepted', ended_ms = coalesce(ended_ms, "
      "excluded.ended_ms);"
      "INSERT INTO events (at_ms, kind, subject, message) VALUES (",
      now_ms, ", 'salvaged', '', 'this database was salvaged from a damaged one')"));
}

// Held while the damaged file is read, so that no coordinator starts on it.
class SalvageLock {
 public:
  explicit SalvageLock(const std::string& path) : fd_(::open(StrCat(path, ".lock").c_str(), O_RDONLY | O_CLOEXEC)) {}
  SalvageLock(const SalvageLock&) = delete;
  SalvageLock& operator=(const SalvageLock&) = delete;
  ~SalvageLock() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  bool Take() const { return fd_ < 0 || ::flock(fd_, LOCK_SH | LOCK_NB) == 0; }

 private:
  const int fd_;
};

absl::StatusOr<Salvaged> CopyAll(Database& from, const std::string& part, int64_t most_rows) {
  ASSIGN_OR_RETURN(Database to, Database::Open(part, Database::Access::kWrite));
  RETURN_IF_ERROR(to.Execute("PRAGMA synchronous = OFF"));
  RETURN_IF_ERROR(Migrate(to, part, Migrations()));
  Salvaged salvaged;
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(to));
  for (const SalvagedTable& table : kSalvagedTables) {
    ASSIGN_OR_RETURN(Salvaged::Table report, TableCopier(from, to, table, most_rows).Copy());
    salvaged.tables.push_back(std::move(report));
  }
  RETURN_IF_ERROR(DropBroken(to, salvaged));
  RETURN_IF_ERROR(DropOrphans(to, salvaged));
  RETURN_IF_ERROR(PutRight(to, salvaged));
  RETURN_IF_ERROR(transaction.Commit());
  ASSIGN_OR_RETURN(const std::string integrity, to.QueryText("PRAGMA integrity_check(1)"));
  if (integrity != "ok") {
    return absl::InternalError(StrCat("the salvaged database is not sound: ", integrity));
  }
  return salvaged;
}

absl::Status CheckSalvageable(Database& db, const std::string& path) {
  if (const absl::Status status = CheckIdentity(db, path); !status.ok()) {
    return status.code() == absl::StatusCode::kFailedPrecondition
               ? status
               : absl::DataLossError(
                     StrCat("nothing can be read of ", path, ": ", status.message(), "; restore the latest backup"));
  }
  ASSIGN_OR_RETURN(const int64_t version, db.QueryInt("PRAGMA user_version"));
  if (version != NewestVersion()) {
    return absl::FailedPreconditionError(
        StrCat(path, " has schema version ", version, ", not ", NewestVersion(),
               "; salvage it with the capsweep that wrote it, or restore the latest backup"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Salvaged> Salvage(const std::string& path, const std::string& target) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(StrCat("there is no database ", path, "; check the path"));
  }
  if (::access(target.c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(StrCat(target, " exists already and is not overwritten; give another name"));
  }
  const SalvageLock lock(path);
  if (!lock.Take()) {
    return absl::FailedPreconditionError(StrCat(path, " is in use by a coordinator; stop it first"));
  }
  const std::string part = StrCat(target, ".", ::getpid(), ".part");
  ::unlink(part.c_str());
  absl::StatusOr<Salvaged> salvaged = [&]() -> absl::StatusOr<Salvaged> {
    ASSIGN_OR_RETURN(Database from, Database::Open(path, Database::Access::kRead));
    RETURN_IF_ERROR(from.Execute("PRAGMA cell_size_check = ON"));
    RETURN_IF_ERROR(CheckSalvageable(from, path));
    struct stat log;
    const int64_t log_bytes = ::stat(StrCat(path, "-wal").c_str(), &log) == 0 ? log.st_size : 0;
    ASSIGN_OR_RETURN(Salvaged copied, CopyAll(from, part, info.st_size + log_bytes));
    RETURN_IF_ERROR(MoveIntoPlace(part, target));
    return copied;
  }();
  if (!salvaged.ok()) {
    ::unlink(part.c_str());
    ::unlink(StrCat(part, "-journal").c_str());
  }
  return salvaged;
}

}  // namespace capsweep::store
