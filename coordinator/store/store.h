// SQLite behind one writer thread with group commit. Only the coordinator (or `capsweep run`, which is one) opens a
// Store; everyone else uses reader.h.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/point.h"
#include "common/sweep/spec.h"
#include "coordinator/core/events.h"

namespace capsweep::store {

// The core's view of what is stored, for core::Recovered.
struct Loaded {
  core::Recovered recovered;
  std::vector<std::string> shapes;  // index = PointRow::shape, text = ShapeKey
};

// What a submitted sweep became.
struct StoredSweep {
  core::SweepStored event;   // for the core
  bool created = false;      // false: it existed with the same text, or was extended
  int64_t points = 0;        // points of this sweep now
  int64_t new_points = 0;    // rows this call made
  int64_t known_points = 0;  // existed before, asked for by another or the same sweep
  int64_t done_points = 0;   // of the sweep's points, already measured
};

// A sweep that searches, as its planner needs it.
struct SearchInput {
  struct Probe {
    std::string point_key;
    core::PointState state = core::PointState::kPending;
    int64_t items_mem = 0;  // of done ones
    double items_corr = 0;
    double seconds = 0;
    std::string reason;  // of failed ones
  };
  std::string name, text, file_name, folder;  // the sweep file
  std::vector<Probe> probes;                  // every point of the sweep
};

// A row of the table `searches`.
struct SearchRow {
  int64_t cell = 0;
  std::string point_key;
  std::string state, reason;
  int64_t probes = 0;
  std::optional<double> mac;
  bool mac_unsettled = false;  // read where there is a mac
  std::optional<double> mls;
  std::optional<int64_t> size;
  // Of adaptive: its prediction.
  std::string target;
  int64_t rounds = 0;
  std::optional<double> seconds, predicted, low, high;
  friend bool operator==(const SearchRow&, const SearchRow&) = default;
};

// What an assignment carries beside the ids.
struct PointDetails {
  std::string point_key;
  PointSpec point;
  double cost_seconds = 0;
  std::shared_ptr<const Checkpoint> checkpoint;  // latest, may be null
};

struct Options {
  bool create = true;  // make the file if missing
  const Clock* clock = &Clock::Real();
  // Called on the writer thread. `committed`: all batches up to the ticket are on disk (synchronous=FULL).
  std::function<void(core::Ticket)> committed;
  // A write failed in a way that can pass (disk full, read-only file system, busy). The batch is kept and retried.
  std::function<void(const absl::Status&)> unwritable;
  std::function<void()> writable;  // the first success after `unwritable`
  // A failed fsync or corruption: the file's state can no longer be proved. The process must exit non-zero.
  std::function<void(const absl::Status&)> fatal;
  // After each commit of batches: seconds of the whole transaction, and of its COMMIT (log and fsync) alone.
  std::function<void(double, double)> commit_timed;
  Duration retry_interval = std::chrono::seconds(1);
  // Batches that come while a sweep is being stored wait no longer than about this, and the commits before and after
  // it.
  Duration long_job_turn = std::chrono::milliseconds(200);
};

class Store {
 public:
  // Errors, each naming the file and what to do: not a database, written by a newer version, not a capsweep database,
  // read-only, locked by another coordinator (with its pid), folder missing. Migrates older schemas after a backup
  // beside the file. On error nothing is created or changed.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path, Options options);
  ~Store();  // commits what is queued, then closes

  const std::string& path() const;
  const std::string& database_id() const;  // random, made with the file

  // Reads everything the core needs. Call once, before the first Enqueue.
  absl::StatusOr<Loaded> Load();

  // Queues a batch for the writer; returns at once. Tickets must grow. Thread-safe.
  void Enqueue(core::Persist batch);

  // Stores a sweep and its points on the writer thread; blocks. Batches are committed meanwhile, and with them points
  // of the sweep; the last transaction makes the sweep of them. Until then nobody sees it, and after a failure or a
  // kill its points are removed. The same name with the same text is idempotent; with another text it is AlreadyExists
  // unless `extend`, which adds the points the sweep lacks (NotFound if there is no such sweep). `points` streams them
  // (plan::EnumerateGrid bound to a sweep).
  using PointVisitor = std::function<absl::Status(const PointSpec&)>;
  using PointStream = std::function<absl::Status(const PointVisitor&)>;
  absl::StatusOr<StoredSweep> AddSweep(const SweepSpec& sweep, int32_t priority, bool extend,
                                       const PointStream& points);

  // Of a sweep that searches: its file and what became of its points, in one snapshot; and, in one transaction, more
  // points (as AddSweep with `extend`, its file unchanged) and what was found so far, in place of the rows there are.
  // FailedPrecondition if the sweep is cancelled. NotFound if there is no such sweep.
  absl::StatusOr<SearchInput> ReadSearch(SweepId sweep);
  absl::StatusOr<StoredSweep> AddProbes(SweepId sweep, const std::vector<PointSpec>& points,
                                        const std::vector<SearchRow>& found);

  // The numbers AddSweep would report, storing nothing.
  struct DryRun {
    StoredSweep counts;
    int64_t shapes = 0;       // among points left to do
    double cost_seconds = 0;  // EstimateSeconds of points left to do
  };
  absl::StatusOr<DryRun> CountSweep(const SweepSpec& sweep, const PointStream& points);

  // Details for assignments. Any thread; own read connection.
  absl::StatusOr<std::vector<PointDetails>> Details(const std::vector<PointId>& points);
  absl::StatusOr<std::optional<SweepId>> FindSweep(const std::string& name);
  absl::StatusOr<std::optional<PointId>> FindPoint(const std::string& key_or_id);

  // Blocks until on disk. Returns the row id of `fits`. `sweep` may be "".
  absl::StatusOr<int64_t> AddFit(const std::string& sweep, const std::string& fit_json,
                                 const std::string& settings_json);

  // Blocks until everything enqueued so far is committed (or fails with the current unwritable status).
  absl::Status Flush();

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::store
