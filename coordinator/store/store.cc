#include "coordinator/store/store.h"

#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "common/build_info.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/store/columns.h"
#include "coordinator/store/inspect.h"
#include "coordinator/store/load.h"
#include "coordinator/store/point_adder.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/shapes.h"
#include "coordinator/store/sweeps.h"
#include "coordinator/store/writer.h"

namespace capsweep::store {
namespace {

// PRAGMA cache_size counts KiB when it is negative.
// SQLite walks through all of the cache at the end of every transaction that rebalanced a tree (page numbers are
// swapped by way of a number behind all others, and then the cache is cut back to the file's end), and work goes
// through the tables from one end to the other: a large cache costs more than it saves.
constexpr int kCacheKib = -16'384;
constexpr int kSubmitCacheKib = -196'608;
// Pages in the log before they are folded into the file.
constexpr int kLogPages = 4096;
constexpr int kSubmitLogPages = 32'768;
constexpr size_t kKeyDigits = 32;
constexpr size_t kShortestKeyPrefix = 6;

// Two names of one file (a link, "./x") must share one lock.
std::string Canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(std::filesystem::absolute(path), error);
  return error ? path : canonical.string();
}

// Removes what a failed Open made, if it made the file.
class Undo {
 public:
  explicit Undo(std::string path) : path_(std::move(path)) {}
  ~Undo() {
    if (armed_) {
      for (const char* suffix : {"", "-journal", "-wal", "-shm", ".lock"}) {
        ::unlink(StrCat(path_, suffix).c_str());
      }
    }
  }
  void Arm(bool armed) { armed_ = armed; }

 private:
  const std::string path_;
  bool armed_ = false;
};

absl::StatusOr<FileLock> Lock(const std::string& path) {
  absl::StatusOr<FileLock> lock = FileLock::TryAcquire(StrCat(path, ".lock"));
  if (lock.status().code() == absl::StatusCode::kFailedPrecondition) {
    return absl::FailedPreconditionError(StrCat("the database ", path,
                                                " is in use by another coordinator: ", lock.status().message(),
                                                "; stop that process, or give it your work with --coordinator"));
  }
  return lock;
}

// An empty database, or one whose creation was killed, may be filled; anything else must already be capsweep's.
absl::Status CheckOrAdopt(Database& db, const std::string& path) {
  ASSIGN_OR_RETURN(const int64_t application, db.QueryInt("PRAGMA application_id"));
  ASSIGN_OR_RETURN(const int64_t objects, db.QueryInt("SELECT COUNT(*) FROM sqlite_schema"));
  return application == 0 && objects == 0 ? absl::OkStatus() : CheckIdentity(db, path);
}

std::string Room(int cache_kib, int log_pages) {
  return StrCat("PRAGMA cache_size = ", cache_kib, "; PRAGMA wal_autocheckpoint = ", log_pages);
}

absl::Status Configure(Database& db, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string mode, db.QueryText("PRAGMA journal_mode = WAL"));
  if (mode != "wal") {
    return absl::FailedPreconditionError(StrCat("the file system of ", path,
                                                " cannot hold a write-ahead log (journal mode "
                                                "stayed '",
                                                mode, "'); use a local disk"));
  }
  // The log is folded into the file every kLogPages (16 MiB) and cut back after a large submission. The words of states
  // come from enums; SQLite would make a B-tree of a CHECK's list of words for every row that is written.
  return db.Execute(
      StrCat("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = ON; "
             "PRAGMA secure_delete = OFF; PRAGMA journal_size_limit = 67108864;",
             Room(kCacheKib, kLogPages)));
}

std::string OpenedBy() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  return StrCat("capsweep ", kVersion, ", process ", ::getpid(), " on ", std::string_view(host));
}

struct Identity {
  std::string database_id;
  int64_t generation = 0;
};

absl::StatusOr<Identity> TakeOver(Database& db, const Clock& clock) {
  const int64_t now_ms = clock.WallMillis();
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db));
  {
    const std::string id = RandomHexId(), opened_by = OpenedBy();
    ASSIGN_OR_RETURN(Statement take,
                     db.Prepare("INSERT INTO store_info VALUES (1, ?1, ?2, 1, ?2, ?3) ON CONFLICT (id) DO "
                                "UPDATE SET generation = generation + 1, opened_ms = ?2, opened_by = ?3"));
    RETURN_IF_ERROR(take.Bind(1, id).Bind(2, now_ms).Bind(3, opened_by).Run());
  }
  Identity identity;
  ASSIGN_OR_RETURN(identity.database_id, db.QueryText("SELECT database_id FROM store_info"));
  ASSIGN_OR_RETURN(identity.generation, db.QueryInt("SELECT generation FROM store_info"));
  RETURN_IF_ERROR(Reach(FailPoint::kTakeOver));
  RETURN_IF_ERROR(transaction.Commit());
  RETURN_IF_ERROR(Reach(FailPoint::kStoreOpened));
  return identity;
}

// What a submission that was killed half way left.
absl::Status RemoveHalfSubmission(Database& db) {
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db));
    ASSIGN_OR_RETURN(more, RemoveStaged(db));
    RETURN_IF_ERROR(transaction.Commit());
  }
  return absl::OkStatus();
}

std::string DetailsSql() {
  return StrCat("SELECT p.point_key, p.cost_seconds, c.backend, c.bytes, ", SpecColumnList("p."),
                " FROM points p LEFT JOIN checkpoints c ON c.point_id = p.point_id WHERE p.point_id = ?1");
}
constexpr int kFirstDetailsSpecColumn = 4;

absl::Status Explain(const absl::Status& status, const std::string& path) {
  if (status.code() == absl::StatusCode::kDataLoss) {
    return absl::DataLossError(
        StrCat("the database ", path, " is damaged: ", status.message(), "; restore it from a backup"));
  }
  return IsTransient(status) ? Annotate(status, StrCat("cannot open the database ", path)) : status;
}

bool AllOf(const std::string& text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string::npos;
}

}  // namespace

struct Store::Impl {
  Impl(std::string p, Identity i, FileLock l, Options o, Database r)
      : path(std::move(p)), identity(std::move(i)), lock(std::move(l)), options(std::move(o)), reads(std::move(r)) {}

  ~Impl() {
    // The writing connection must be closed last: that folds the log into the file and removes it.
    if (writer != nullptr) {
      writer->Stop();
    }
    details.reset();
    reads.reset();
  }

  absl::StatusOr<std::optional<int64_t>> FindId(const std::string& sql, const std::string& value);

  const std::string path;
  const Identity identity;
  const FileLock lock;  // released last
  const Options options;
  ShapeNumbers shapes;

  std::mutex submit_mutex;  // one adds points at a time: a submission lets others write in between
  std::mutex read_mutex;
  std::optional<Database> reads;     // guarded by read_mutex; never empty while the store lives
  std::optional<Statement> details;  // guarded by read_mutex

  std::unique_ptr<Writer> writer;
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

const std::string& Store::path() const {
  return impl_->path;
}
const std::string& Store::database_id() const {
  return impl_->identity.database_id;
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& given_path, Options options) {
  ASSIGN_OR_RETURN(const FileKind kind, InspectFile(given_path));
  if (kind == FileKind::kMissing && !options.create) {
    return absl::NotFoundError(StrCat("there is no database ", given_path, "; check the path"));
  }
  const std::string path = Canonical(given_path);
  RETURN_IF_ERROR(CheckWritable(path, kind));
  Undo undo(path);  // outlives every handle below
  ASSIGN_OR_RETURN(FileLock lock, Lock(path));
  RETURN_IF_ERROR(Reach(FailPoint::kStoreLocked));
  std::error_code ignored;
  undo.Arm(!std::filesystem::exists(path, ignored));
  const auto opened = [&]() -> absl::StatusOr<std::unique_ptr<Store>> {
    ASSIGN_OR_RETURN(Database db, Database::Open(path, Database::Access::kWrite));
    if (sqlite3_db_readonly(db.handle(), "main") == 1) {
      return absl::FailedPreconditionError(StrCat(path, " is read-only; make it writable or copy it elsewhere"));
    }
    RETURN_IF_ERROR(CheckOrAdopt(db, path));
    RETURN_IF_ERROR(Migrate(db, path, Migrations()));
    RETURN_IF_ERROR(Configure(db, path));
    ASSIGN_OR_RETURN(Identity identity, TakeOver(db, *options.clock));
    RETURN_IF_ERROR(RemoveHalfSubmission(db));
    ASSIGN_OR_RETURN(Mutations mutations, Mutations::Prepare(db));
    ASSIGN_OR_RETURN(Database reads, Database::Open(path, Database::Access::kRead));
    auto impl =
        std::make_unique<Impl>(path, std::move(identity), std::move(lock), std::move(options), std::move(reads));
    impl->writer =
        std::make_unique<Writer>(path, std::move(db), std::move(mutations), impl->identity.generation, impl->options);
    return std::unique_ptr<Store>(new Store(std::move(impl)));
  };
  absl::StatusOr<std::unique_ptr<Store>> store = opened();
  if (!store.ok()) {
    return Explain(store.status(), path);
  }
  undo.Arm(false);
  return store;
}

absl::StatusOr<Loaded> Store::Load() {
  std::lock_guard lock(impl_->read_mutex);
  return LoadAll(*impl_->reads, impl_->shapes);
}

void Store::Enqueue(core::Persist batch) {
  impl_->writer->Enqueue(std::move(batch));
}

absl::StatusOr<StoredSweep> Store::AddSweep(const SweepSpec& sweep, int32_t priority, bool extend,
                                            const PointStream& points) {
  std::lock_guard submitting(impl_->submit_mutex);
  StoredSweep out;
  const Writer::Work work = [&](Database& db) -> absl::Status {
    const SubmitRequest request{sweep,
                                priority,
                                extend,
                                points,
                                impl_->options.clock->WallMillis(),
                                [this] { return impl_->writer->GiveWay(); }};
    // Keys arrive in random order: with their index in memory, no page is written and read again and again, and where
    // batches are committed meanwhile, the same pages are in the log many times.
    RETURN_IF_ERROR(db.Execute(Room(kSubmitCacheKib, kSubmitLogPages)));
    absl::StatusOr<StoredSweep> added = AddSweepRows(db, request, impl_->shapes);
    RETURN_IF_ERROR(db.Execute(Room(kCacheKib, kLogPages)));
    RETURN_IF_ERROR(added.status());
    out = *std::move(added);
    return absl::OkStatus();
  };
  const absl::Status status = impl_->writer->RunLong(work, &RemoveStaged);
  if (!status.ok()) {
    return IsTransient(status) ? Annotate(status, StrCat("sweep ", sweep.name, " was not stored")) : status;
  }
  return out;
}

absl::StatusOr<SearchInput> Store::ReadSearch(SweepId sweep) {
  // A connection of its own: it must not hold up assignments.
  ASSIGN_OR_RETURN(Database db, Database::Open(impl_->path, Database::Access::kRead));
  ASSIGN_OR_RETURN(const Transaction snapshot, Transaction::BeginRead(db));
  return ReadSearchRows(db, sweep);
}

absl::StatusOr<StoredSweep> Store::AddProbes(SweepId sweep, const std::vector<PointSpec>& points,
                                             const std::vector<SearchRow>& found) {
  std::lock_guard submitting(impl_->submit_mutex);
  StoredSweep out;
  RETURN_IF_ERROR(impl_->writer->Run([&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(out, AddProbeRows(db, sweep, points, found, impl_->options.clock->WallMillis(), impl_->shapes));
    return absl::OkStatus();
  }));
  return out;
}

absl::StatusOr<Store::DryRun> Store::CountSweep(const SweepSpec&, const PointStream& points) {
  // A connection of its own: counting a large sweep must not hold up assignments.
  ASSIGN_OR_RETURN(Database db, Database::Open(impl_->path, Database::Access::kRead));
  ASSIGN_OR_RETURN(const Transaction snapshot, Transaction::BeginRead(db));
  return CountSweepRows(db, points);
}

absl::StatusOr<std::vector<PointDetails>> Store::Details(const std::vector<PointId>& points) {
  std::lock_guard lock(impl_->read_mutex);
  if (!impl_->details.has_value()) {
    ASSIGN_OR_RETURN(Statement prepared, impl_->reads->Prepare(DetailsSql()));
    impl_->details = std::move(prepared);
  }
  Statement& find = *impl_->details;
  // Else every point would take and give back SQLite's locks, two calls of the kernel.
  ASSIGN_OR_RETURN(const Transaction snapshot, Transaction::BeginRead(*impl_->reads));
  std::vector<PointDetails> out;
  out.reserve(points.size());
  for (const PointId point : points) {
    find.Bind(1, point.value());
    ASSIGN_OR_RETURN(const bool found, find.Step());
    if (!found) {
      find.Reset();
      return absl::NotFoundError(StrCat("there is no point ", point.value(), " in ", impl_->path));
    }
    PointDetails details;
    details.point_key = std::string(find.Text(0));
    details.cost_seconds = find.Real(1);
    if (!find.IsNull(2)) {
      details.checkpoint =
          std::make_shared<const Checkpoint>(Checkpoint{std::string(find.Text(2)), std::string(find.Text(3))});
    }
    const absl::Status status = ReadSpec(find, kFirstDetailsSpecColumn, details.point);
    find.Reset();
    RETURN_IF_ERROR(status);
    out.push_back(std::move(details));
  }
  return out;
}

absl::StatusOr<std::optional<int64_t>> Store::Impl::FindId(const std::string& sql, const std::string& value) {
  std::lock_guard guard(read_mutex);
  ASSIGN_OR_RETURN(Statement find, reads->Prepare(sql));
  find.Bind(1, value);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  return found ? std::optional<int64_t>(find.Int(0)) : std::nullopt;
}

absl::StatusOr<std::optional<SweepId>> Store::FindSweep(const std::string& name) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, impl_->FindId("SELECT sweep_id FROM sweeps WHERE name = ?1", name));
  return id.has_value() ? std::optional<SweepId>(SweepId(*id)) : std::nullopt;
}

absl::StatusOr<std::optional<PointId>> Store::FindPoint(const std::string& key_or_id) {
  std::string sql;
  if (key_or_id.size() < kKeyDigits && AllOf(key_or_id, "0123456789")) {
    sql = "SELECT point_id FROM points WHERE point_id = CAST(?1 AS INTEGER)";
  } else if (key_or_id.size() <= kKeyDigits && key_or_id.size() >= kShortestKeyPrefix &&
             AllOf(key_or_id, "0123456789abcdef")) {
    // The start of a key is enough where it is unique. 'g' sorts after every digit.
    sql = "SELECT MIN(point_id) FROM points WHERE point_key >= ?1 AND point_key < ?1 || 'g' HAVING COUNT(*) = 1";
  } else {
    return std::optional<PointId>();
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, impl_->FindId(sql, key_or_id));
  return id.has_value() ? std::optional<PointId>(PointId(*id)) : std::nullopt;
}

absl::StatusOr<int64_t> Store::AddFit(const std::string& sweep, const std::string& fit_json,
                                      const std::string& settings_json) {
  int64_t id = 0;
  const absl::Status status = impl_->writer->Run([&](Database& db) -> absl::Status {
    ASSIGN_OR_RETURN(Statement insert,
                     db.Prepare("INSERT INTO fits (sweep, fit_json, settings_json, version, created_ms) "
                                "VALUES (?1, ?2, ?3, ?4, ?5)"));
    insert.Bind(1, sweep).Bind(2, fit_json).Bind(3, settings_json).Bind(4, kVersion);
    RETURN_IF_ERROR(insert.Bind(5, impl_->options.clock->WallMillis()).Run());
    id = db.LastRowId();
    return absl::OkStatus();
  });
  if (!status.ok()) {
    return Annotate(status, "the fit was not stored");
  }
  return id;
}

absl::Status Store::Flush() {
  return impl_->writer->Flush();
}

}  // namespace capsweep::store
