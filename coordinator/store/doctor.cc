#include "coordinator/store/doctor.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <system_error>

#include "common/file.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/db.h"
#include "coordinator/store/inspect.h"
#include "coordinator/store/open_files.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/verify.h"

namespace capsweep::store {
namespace {

using Level = Finding::Level;

constexpr int kShownRows = 20;
constexpr char kRestoreOrSalvage[] =
    "restore the latest backup, or save what can be read with `capsweep doctor FILE --salvage NEW`";

class Doctor {
 public:
  Doctor(std::string path, std::string spool) : path_(std::move(path)), spool_(std::move(spool)) {}

  absl::StatusOr<Diagnosis> Examine() {
    struct stat info;
    if (::stat(path_.c_str(), &info) != 0) {
      return absl::NotFoundError(StrCat("there is no database ", path_, "; check the path"));
    }
    if (!S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(StrCat(path_, " is not a regular file; give the path of a database file"));
    }
    size_ = info.st_size;
    LookAtNeighbours();
    LookAtLock();
    if (LookAtHeader()) {
      LookInside();
    }
    if (!spool_.empty()) {
      LookAtSpool();
    }
    return std::move(diagnosis_);
  }

 private:
  void Ok(std::string check, std::string what) { Add(Level::kOk, std::move(check), std::move(what), ""); }
  void Note(std::string check, std::string what) { Add(Level::kNote, std::move(check), std::move(what), ""); }
  void Problem(std::string check, std::string what, std::string advice = kRestoreOrSalvage) {
    Add(Level::kProblem, std::move(check), std::move(what), std::move(advice));
  }
  void Add(Level level, std::string check, std::string what, std::string advice) {
    diagnosis_.findings.push_back({level, std::move(check), std::move(what), std::move(advice)});
  }

  void LookAtNeighbours();
  void LookAtLock();
  bool LookAtHeader();
  void LookInside();
  bool LookAtIdentity(Database& db);
  bool LookAtIntegrity(Database& db);
  void LookAtLaws(Database& db);
  void LookAtRows(Database& db);
  void LookAtSpool();
  void Broken(const std::string& check, const std::string& what, int64_t total,
              const std::function<absl::Status(const VisitBroken&)>& visit);

  const std::string path_, spool_;
  int64_t size_ = 0;
  bool has_log_ = false;
  Diagnosis diagnosis_;
};

int64_t SizeOf(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_size) : -1;
}

void Doctor::LookAtNeighbours() {
  if (const int64_t bytes = SizeOf(StrCat(path_, "-wal")); bytes > 0) {
    has_log_ = true;
    Note("log",
         StrCat(path_, "-wal holds ", bytes, " bytes of changes: it belongs to the database, never delete it alone"));
  }
  if (SizeOf(StrCat(path_, "-journal")) > 0) {
    Note("log", StrCat(path_, "-journal is left of a killed process; the next opening undoes its half-made change"));
  }
  for (int version = 1; version < NewestVersion(); ++version) {
    if (const std::string copy = StrCat(path_, ".v", version, ".backup"); SizeOf(copy) >= 0) {
      Note("copies", StrCat(copy, " is the database before its migration from schema version ", version));
    }
  }
}

// The lock is asked for and given back at once; the file is not made where there is none.
void Doctor::LookAtLock() {
  const int fd = ::open(StrCat(path_, ".lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return;
  }
  if (::flock(fd, LOCK_SH | LOCK_NB) != 0) {
    char holder[32] = {};
    const ssize_t got = ::pread(fd, holder, sizeof holder - 1, 0);
    const int pid = got > 0 ? std::atoi(holder) : 0;
    Note("lock",
         pid > 0 ? StrCat("a coordinator uses the database: process ", pid) : std::string("a coordinator uses it"));
  }
  ::close(fd);
}

// Whether it is worth opening.
bool Doctor::LookAtHeader() {
  const absl::StatusOr<FileKind> kind = InspectFile(path_);
  if (!kind.ok()) {
    Problem("header", std::string(kind.status().message()),
            "if it was a capsweep database, its first page is destroyed: restore the latest backup");
    return false;
  }
  if (size_ == 0 && !has_log_) {
    Problem("header", StrCat(path_, " is empty"), "restore the latest backup; a coordinator would fill it anew");
    return false;
  }
  absl::StatusOr<std::string> bytes = std::string();
  PeekUnlessOpen(path_, [&] {
    const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      bytes->resize(100);
      if (::pread(fd, bytes->data(), 100, 0) != 100) {
        bytes->clear();
      }
      ::close(fd);
    }
  });
  const auto number = [&](size_t at, size_t count) {
    int64_t value = 0;
    for (size_t i = at; i < at + count; ++i) {
      value = value << 8 | static_cast<unsigned char>((*bytes)[i]);
    }
    return value;
  };
  if (bytes->size() == 100 && number(24, 4) == number(92, 4)) {
    const int64_t page = number(16, 2) == 1 ? 65536 : number(16, 2);
    if (const int64_t expected = page * number(28, 4); size_ < expected && !has_log_) {
      Problem("header", StrCat("the file is cut off: ", size_, " of ", expected, " bytes"));
      return true;
    }
  }
  Ok("header", StrCat("an SQLite file of capsweep's, ", size_, " bytes"));
  return true;
}

bool Doctor::LookAtIdentity(Database& db) {
  if (const absl::Status status = CheckIdentity(db, path_); !status.ok()) {
    Problem("schema", std::string(status.message()));
    return false;
  }
  const absl::StatusOr<int64_t> version = db.QueryInt("PRAGMA user_version");
  if (!version.ok() || *version < 1) {
    Problem("schema", StrCat("it has no schema: ", version.status().message()),
            "its making was cut short: start a coordinator on it, or delete it");
    return false;
  }
  if (*version < NewestVersion()) {
    Note("schema", StrCat("schema version ", *version,
                          "; the next coordinator makes a copy and migrates it to version ", NewestVersion()));
  } else {
    Ok("schema", StrCat("schema version ", *version));
  }
  return *version == NewestVersion();
}

bool Doctor::LookAtIntegrity(Database& db) {
  int problems = 0;
  const auto collect = [&](const char* sql, const auto& each) {
    absl::StatusOr<Statement> rows = db.Prepare(sql);
    while (rows.ok()) {
      const absl::StatusOr<bool> row = rows->Step();
      if (!row.ok()) {
        Problem("integrity", std::string(row.status().message()));
        ++problems;
        return;
      }
      if (!*row) {
        return;
      }
      each(*rows);
    }
    Problem("integrity", std::string(rows.status().message()));
    ++problems;
  };
  collect(StrCat("PRAGMA integrity_check(", kShownRows, ")").c_str(), [&](Statement& row) {
    if (row.Text(0) != "ok") {
      Problem("integrity", std::string(row.Text(0)));
      ++problems;
    }
  });
  int64_t orphans = 0;
  std::string example;
  collect("PRAGMA foreign_key_check", [&](Statement& row) {
    if (++orphans == 1) {
      example = StrCat("a row of ", row.Text(0), " without its row of ", row.Text(2));
    }
  });
  if (orphans > 0) {
    Problem("integrity", StrCat(orphans, " rows have lost what they belong to, such as ", example));
  }
  if (problems == 0 && orphans == 0) {
    Ok("integrity", "every page, index and reference is sound");
  }
  return problems == 0;
}

void Doctor::LookAtLaws(Database& db) {
  struct Law {
    const char* check;
    const char* broken;  // after a count
    const char* sql;
    const char* advice;
  };
  static constexpr char kSalvage[] =
      "`capsweep doctor FILE --salvage NEW` makes a database in which such points are open again";
  static constexpr Law kLaws[] = {
      {"results", "points are done and have no result",
       "SELECT COUNT(*) FROM points p WHERE state = 'done' AND NOT EXISTS (SELECT 1 FROM results r WHERE r.point_id = "
       "p.point_id)",
       kSalvage},
      {"results", "results belong to points that are not done",
       "SELECT COUNT(*) FROM results r JOIN points p USING (point_id) WHERE p.state <> 'done'", kSalvage},
      {"results", "results name another point's key than their own",
       "SELECT COUNT(*) FROM results r JOIN points p USING (point_id) WHERE r.point_key <> p.point_key", kSalvage},
      {"attempts", "results have no accepted attempt",
       "SELECT COUNT(*) FROM results r WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.point_id = r.point_id AND "
       "a.attempt = r.attempt AND a.outcome = 'accepted')",
       kSalvage},
      {"attempts", "points have more than one accepted attempt",
       "SELECT COUNT(*) FROM (SELECT 1 FROM attempts WHERE outcome = 'accepted' GROUP BY point_id HAVING COUNT(*) > 1)",
       kSalvage},
      {"attempts", "points have more than one running attempt",
       "SELECT COUNT(*) FROM (SELECT 1 FROM attempts WHERE ended_ms IS NULL GROUP BY point_id HAVING COUNT(*) > 1)",
       "start a coordinator: it ends the attempts whose worker does not report"},
      {"sweeps", "sweeps are finished and have open points",
       "SELECT COUNT(*) FROM sweeps s WHERE state = 'finished' AND EXISTS (SELECT 1 FROM sweep_points sp JOIN points p "
       "USING (point_id) WHERE sp.sweep_id = s.sweep_id AND p.state IN ('pending', 'running'))",
       "submit the sweep file again: what is left will be trained"},
  };
  int broken = 0;
  for (const Law& law : kLaws) {
    const absl::StatusOr<int64_t> count = db.QueryInt(law.sql);
    if (!count.ok()) {
      Problem(law.check, StrCat("could not be looked at: ", count.status().message()));
    } else if (*count > 0) {
      Problem(law.check, StrCat(*count, " ", law.broken), law.advice);
    }
    broken += count.ok() && *count == 0 ? 0 : 1;
  }
  if (broken == 0) {
    Ok("laws", "done points and results are one to one, each with its accepted attempt");
  }
}

void Doctor::Broken(const std::string& check, const std::string& what, int64_t total,
                    const std::function<absl::Status(const VisitBroken&)>& visit) {
  int64_t broken = 0;
  std::string example;
  const absl::Status status = visit([&](int64_t point, const std::string& why) {
    if (++broken == 1) {
      example = StrCat("point ", point, ": ", why);
    }
  });
  if (!status.ok()) {
    Problem(check, StrCat("not all rows can be read: ", status.message()));
  } else if (broken > 0) {
    Problem(check, StrCat(broken, " of ", total, " ", what, " contradict themselves; ", example));
  } else {
    Ok(check, StrCat(total, " ", what, ", each agrees with itself"));
  }
}

void Doctor::LookAtRows(Database& db) {
  const int64_t points = db.QueryInt("SELECT COUNT(*) FROM points").value_or(0);
  const int64_t results = db.QueryInt("SELECT COUNT(*) FROM results").value_or(0);
  Broken("points", "points", points, [&](const VisitBroken& visit) { return VisitBrokenPoints(db, visit); });
  Broken("results", "results", results, [&](const VisitBroken& visit) { return VisitBrokenResults(db, visit); });
}

void Doctor::LookInside() {
  absl::StatusOr<Database> db = Database::Open(path_, Database::Access::kRead);
  if (!db.ok()) {
    Problem("open", std::string(db.status().message()));
    return;
  }
  (void)db->Execute("PRAGMA cell_size_check = ON");
  const bool newest = LookAtIdentity(*db);
  LookAtIntegrity(*db);
  if (newest) {
    // One moment for all questions: a coordinator may be writing.
    absl::StatusOr<Transaction> snapshot = Transaction::BeginRead(*db);
    LookAtLaws(*db);
    LookAtRows(*db);
  }
}

// A file of a spool holds a report or several, each after a line that begins so.
int64_t ReportsIn(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t reports = 0;
  for (std::string line; std::getline(file, line);) {
    reports += line.rfind("capsweep-report ", 0) == 0 ? 1 : 0;
  }
  return std::max<int64_t>(reports, 1);
}

void Doctor::LookAtSpool() {
  const auto count = [](const std::string& folder) {
    int64_t reports = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      reports += entry.path().extension() == ".report" ? ReportsIn(entry.path()) : 0;
    }
    return error ? -1 : reports;
  };
  const int64_t waiting = count(spool_);
  if (waiting < 0) {
    Problem("spool", StrCat("the folder ", spool_, " cannot be read"), "check the path and its permissions");
    return;
  }
  Ok("spool",
     StrCat(waiting, " reports wait in ", spool_, "; the worker delivers them when it meets their coordinator"));
  if (const int64_t corrupt = count(StrCat(spool_, "/corrupt")); corrupt > 0) {
    Problem("spool", StrCat(corrupt, " damaged reports were put aside in ", spool_, "/corrupt"),
            "their points are trained again by themselves; check the disk, then delete the folder");
  }
  if (const int64_t refused = count(StrCat(spool_, "/refused")); refused > 0) {
    Problem("spool", StrCat(refused, " reports that the coordinator refuses are in ", spool_, "/refused"),
            "the worker's log says why; use workers and a coordinator of one version, then delete the folder");
  }
}

}  // namespace

bool Diagnosis::healthy() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.level == Level::kProblem; });
}

absl::StatusOr<Diagnosis> Diagnose(const std::string& path, const std::string& spool) {
  return Doctor(path, spool).Examine();
}

}  // namespace capsweep::store
