// The work of `capsweep run`: a coordinator in this process, one worker beside it, and someone watching.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cli/console.h"
#include "cli/local_worker.h"
#include "cli/progress.h"
#include "common/mutex.h"
#include "common/sweep/spec.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/server.h"

namespace capsweep::cli {

struct LocalRunOptions {
  std::string database;
  std::string devices = "auto";
  std::string worker;   // path of capsweep-worker
  std::string trainer;  // "" = the one beside the worker
  bool retry_failed = false;
  bool quiet = false;
};

struct LocalRunOutcome {
  int signal = 0;      // SIGINT or SIGTERM that stopped it
  std::string state;   // of the sweep
  std::string reason;  // of that state; "" = nothing to say
  int64_t points = 0, done = 0, failed = 0;
};

// Not thread-safe. Owns the database's lock until destruction.
class LocalRun {
 public:
  // Errors of Engine::Open: nothing was created.
  static absl::StatusOr<std::unique_ptr<LocalRun>> Open(const LocalRunOptions& options, Console& console);
  ~LocalRun();

  // Stores or extends the sweep and trains what is not measured yet, until all points are settled, the sweep stops
  // (max_failures), a signal comes or the store cannot be written. Says what it does on console.err. SignalWatch must
  // be alive. Errors: the store fails (Internal or ResourceExhausted), the worker keeps dying.
  absl::StatusOr<LocalRunOutcome> Run(const SweepSpec& sweep);

 private:
  LocalRun(const LocalRunOptions& options, Console& console) : options_(options), console_(console) {}
  absl::Status Submit(const SweepSpec& sweep);
  absl::Status Reopen(const core::SweepCounts& counts);
  absl::StatusOr<core::SweepCounts> Counts(const std::string& sweep) const;
  absl::Status StartWorker();
  absl::Status Train(const std::string& sweep);
  // OK, or why the run must stop: the store has been unwritable for a while or has failed for good.
  absl::Status StoreTrouble(Instant now);
  void ShowFailures(const core::SweepCounts& counts, ProgressDisplay& display);
  void ShowEvents(ProgressDisplay& display);
  // Says once why a device cannot work. FailedPrecondition when none could for a while: nobody would ever finish.
  absl::Status WatchDevices(Instant now, ProgressDisplay& display);
  ProgressFrame Frame(const core::SweepCounts& counts, Instant now);
  void RefreshBest(const std::string& sweep, Instant now);
  absl::StatusOr<store::Table> Query(const std::string& sql);
  void OnStoreHealth(const absl::Status& status, bool fatal);

  const LocalRunOptions options_;
  Console& console_;

  Mutex health_mutex_;
  absl::Status health_ ABSL_GUARDED_BY(health_mutex_);
  Instant unhealthy_since_ ABSL_GUARDED_BY(health_mutex_){};
  bool fatal_ ABSL_GUARDED_BY(health_mutex_) = false;

  // Destroyed in reverse: the worker loses its server, the server its engine, last.
  std::unique_ptr<service::Engine> engine_;
  std::unique_ptr<service::Server> server_;
  std::unique_ptr<LocalWorker> worker_;

  Instant started_{};
  int64_t done_before_ = 0;
  std::set<int64_t> shown_failures_;
  int64_t last_event_ = 0;
  std::set<std::string> shown_devices_;
  Instant devices_worked_{};  // when a device was last seen that works or starts
  std::string best_;
  std::string search_;  // of an adaptive sweep, how far it is
  Instant next_best_{};
};

// Points of a sweep that have failed, with the reason, for people; at most `limit`.
std::string FailedPointsSql(const std::string& sweep, int64_t limit);
// A row of FailedPointsSql: "point 17 (heads 2, width 16, seq_len 8, seed 1): the loss became NaN".
std::string FailedPointText(const std::vector<store::Cell>& row);

}  // namespace capsweep::cli
