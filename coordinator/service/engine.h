// Core + Store + clock, wired: the one place where events are serialized, effects carried out and callers answered.
// No gRPC in here; service/*_service.cc put it on the wire and `capsweep run` uses it in process.
//
// Threads. Every public method may be called from any thread. One driver thread sends ticks and carries what the
// store's writer thread reports into the core; it never waits for anything but its queue. One planner thread adds
// points to sweeps that search (planner.h). Locks, in the order in which they may be taken: submit_mu_ (one submission
// at a time, so that the core learns of sweeps in the order in which they were stored) -> mu_ (core, open calls) -> the
// store's own. The driver's queue and the details cache have leaf locks. Callbacks to callers run with no lock held.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "coordinator/core/core.h"
#include "coordinator/service/details_cache.h"
#include "coordinator/service/metrics.h"
#include "coordinator/store/reader.h"
#include "coordinator/store/store.h"

namespace capsweep::service {

struct EngineOptions {
  std::string database;
  core::Options core;
  Duration tick = std::chrono::milliseconds(200);
  const Clock* clock = &Clock::Real();
  // Called once, on any thread, when the store cannot go on (corruption, failed fsync). The process must exit non-zero.
  std::function<void(const absl::Status&)> on_fatal;
  // Called when the store becomes unwritable (status) or writable again (OK). Any thread.
  std::function<void(const absl::Status&)> on_store_health;
  // How long ChangeSweep and ChangeWorker wait for their change to be on disk before they answer Unavailable.
  Duration change_timeout = std::chrono::seconds(30);
};

// A worker's reply with what the store adds to each assignment.
struct SyncAnswer {
  core::SyncReply reply;
  std::vector<DetailsPtr> details;  // parallel to reply.assignments, never null
  std::string database_id;
};

struct SubmitCounts {
  std::string sweep;
  int64_t points = 0, new_points = 0, known_points = 0, done_points = 0;
  int64_t shapes = 0;                 // among the points left to do
  double estimated_core_seconds = 0;  // of the points left to do
  double estimated_seconds = -1;      // < 0: no device connected
  bool searches = false;              // more points follow from results; those counted are the first
};

class Engine {
 public:
  // Errors of Store::Open. On success the stored state is recovered and calls are served.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(EngineOptions options);
  ~Engine();  // answers every open call with Unavailable, flushes the store

  const std::string& database_id() const;

  // Never blocks on the store's writer; `done` is called exactly once, on any thread, maybe before Sync returns.
  // sync.token is taken from NewToken, or 0 for a call that will not be abandoned.
  void Sync(core::WorkerSync sync, std::function<void(absl::StatusOr<SyncAnswer>)> done);
  core::Token NewToken();
  // The caller of that token went away: its `done` is called with Cancelled, unless it was called before.
  void Abandon(core::Token token);
  // Points and keys as stored, null for an unknown id; from the cache where possible. Checkpoints may be missing.
  absl::StatusOr<std::vector<DetailsPtr>> Details(const std::vector<PointId>& points);

  // Relative paths of data files in `text` begin at `folder`. Parses and enumerates on the caller's thread and waits
  // until the sweep is on disk: seconds for a million points. InvalidArgument with every error of the file;
  // AlreadyExists, NotFound as Store::AddSweep; Cancelled after StopCalls.
  absl::StatusOr<SubmitCounts> Submit(const std::string& text, const std::string& file_name, int32_t priority,
                                      bool extend, bool dry_run, const std::string& folder = "");
  struct Changed {
    std::string state;
    int64_t points_affected = 0;
  };
  // Both wait until the change is on disk. NotFound names what there is.
  absl::StatusOr<Changed> ChangeSweep(const std::string& sweep, core::SweepVerb verb);
  absl::Status ChangeWorker(const std::string& worker, core::WorkerVerb verb);

  std::vector<core::SweepCounts> Sweeps() const;
  std::vector<core::WorkerView> Workers() const;
  // `subject`: a sweep's name, else a point's key or id.
  absl::StatusOr<std::string> Explain(const std::string& subject) const;
  // OK, or why the store cannot be written at the moment (or for good).
  absl::Status StoreHealth() const;
  double UptimeSeconds() const;
  // Blocks until everything accepted so far is on disk, or fails with why it cannot be.
  absl::Status Flush();

  // For a server that shuts down: open calls and all later Sync calls are answered Unavailable, a submission in
  // progress is given up. Reads go on. Idempotent.
  void StopCalls();
  // Beside EngineOptions::on_store_health; called at once with the present health. Null takes it off again; when that
  // returns, the old listener is not running.
  void SetHealthListener(std::function<void(const absl::Status&)> listener);

  // Queues a row of `events`. Never blocks.
  void Audit(core::Audit row);
  Metrics& metrics();
  const Clock& clock() const;

  store::Store& store();
  store::Reader& reader();  // thread-safe through an internal mutex: see ReadLocked
  // Runs `read` with the reader under its mutex.
  void ReadLocked(const std::function<void(store::Reader&)>& read);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::service
