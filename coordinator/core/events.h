// What goes into the core and what comes out. Plain values: no IO, threads, clock, protobuf or SQLite.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/result.h"

namespace capsweep::core {

// Names one call that waits for an answer; chosen by the driver, unique while it is open.
using Token = uint64_t;
// Numbers the batches given to the store, from 1, strictly growing. The store commits them in this order.
using Ticket = uint64_t;

enum class PointState : uint8_t { kPending, kRunning, kDone, kFailed, kCancelled };
enum class SweepState : uint8_t {
  kRunning,
  kPaused,
  kCancelled,
  kStopped,
  kFinished
};  // stopped: max_failures reached
enum class WorkerState : uint8_t { kIdle, kBusy, kDraining, kQuarantined, kLost };
std::string_view ToWord(PointState v);
std::string_view ToWord(SweepState v);
std::string_view ToWord(WorkerState v);
bool FromWord(std::string_view word, PointState& out);
bool FromWord(std::string_view word, SweepState& out);

struct AttemptRef {
  PointId point;
  AttemptNumber attempt;
  friend bool operator==(const AttemptRef&, const AttemptRef&) = default;
};

// ---------------------------------------------------------------- events

// One point as the store knows it; `sweeps` are all sweeps that ask for it.
struct PointRow {
  PointId point;
  uint64_t key_prefix = 0;  // KeyPrefix of its point_key
  uint32_t shape = 0;       // dense number per ShapeKey, the same in all rows
  float cost_seconds = 0;   // EstimateSeconds
  uint8_t pack_lanes = 1;   // PackLanes of its shape: so many of it share a slot of a CPU
  PointState state = PointState::kPending;
  int32_t last_attempt = 0;  // highest attempt number ever given
  uint16_t failures = 0;     // reported failures that counted
  uint16_t lost = 0;         // leases that ran out
  std::vector<SweepId> sweeps;
  int32_t accepted_attempt = 0;  // of a done point: the attempt whose result it has; 0 = not known
};

struct SweepRow {
  SweepId sweep;
  std::string name;
  SweepState state = SweepState::kRunning;
  int32_t priority = 0;
  int64_t max_failures = 20;
  int64_t attempts = 3;
  bool searches = false;  // which points it asks for depends on results: it is not finished before its planner says so
};

// A sweep was stored or extended. `points` holds the rows of this sweep that the core may not know yet or whose sweeps
// changed; done points are included (for the counts). Order of points does not matter.
struct SweepStored {
  SweepRow sweep;
  std::vector<PointRow> points;
  bool plans = true;  // false: nothing of what its planner goes by has changed (its own points, the same file again)
};

// The planner of a sweep that searches has looked at the results behind SweepCounts::mark, and its points are stored.
// Taken as complete only if nothing has changed since.
struct SweepPlanned {
  SweepId sweep;
  uint64_t mark = 0;
  int64_t cells = 0, settled = 0;  // architectures searched, and those that are no longer
  bool complete = false;           // it wants nothing more
  std::string error;               // not empty: it cannot go on, and why; the sweep is stopped
};

// An attempt that was running when the last coordinator ended.
struct RunningAttempt {
  AttemptRef id;
  WorkerId worker;
  Incarnation incarnation;
  std::string device;
};

// First event of a process: everything the store holds. Running attempts get the grace period to report back.
struct Recovered {
  std::vector<SweepRow> sweeps;
  std::vector<PointRow> points;
  std::vector<RunningAttempt> running;
};

struct HeldAttempt {
  AttemptRef id;
  double progress = 0;
  bool running = false;
};

struct DeviceReport {
  std::string name;
  std::string kind;
  int64_t memory_bytes = 0;
  int32_t slots = 1;
  bool ready = true;
  std::string reason;
  std::vector<HeldAttempt> held;
};

struct ResultReport {
  AttemptRef id;
  std::string device;
  uint64_t key_prefix = 0;
  std::shared_ptr<const PointResult> result;
};

struct FailureReport {
  AttemptRef id;
  std::string device;
  FailureCause cause = FailureCause::kInternal;
  std::string message;
  int32_t pack_size = 1;
};

struct HandBackReport {
  AttemptRef id;
  std::shared_ptr<const Checkpoint> checkpoint;  // may be null
};

struct WorkerSync {
  Token token = 0;
  WorkerId worker;
  Incarnation incarnation;
  int64_t sequence = 0;
  std::string host;
  std::string version;
  std::vector<DeviceReport> devices;
  std::vector<ResultReport> results;
  std::vector<FailureReport> failures;
  std::vector<HandBackReport> handed_back;
  bool draining = false;
  bool leaving = false;
  Duration max_wait{};           // how long an idle call may be held open
  double remaining_seconds = 0;  // of the worker's allocation; 0 = unlimited
};

// The caller of `token` is gone; its held-open reply is not wanted any more.
struct SyncAbandoned {
  Token token = 0;
};

// Time passed. The driver sends one at least every Options::tick.
struct Tick {};

// All batches up to `ticket` are on disk.
struct StoreCommitted {
  Ticket ticket = 0;
};

// The store cannot write at the moment (disk full, read-only). It keeps every batch and retries; the core gives out no
// new work until the next StoreCommitted or StoreWritable.
struct StoreUnwritable {
  std::string reason;
};
struct StoreWritable {};

enum class SweepVerb { kPause, kResume, kCancel, kRetryFailed };
struct ChangeSweep {
  Token token = 0;
  SweepId sweep;
  SweepVerb verb = SweepVerb::kPause;
};

enum class WorkerVerb { kDrain, kRemove };
struct ChangeWorker {
  Token token = 0;
  WorkerId worker;
  WorkerVerb verb = WorkerVerb::kDrain;
};

using Event = std::variant<Recovered, SweepStored, SweepPlanned, WorkerSync, SyncAbandoned, Tick, StoreCommitted,
                           StoreUnwritable, StoreWritable, ChangeSweep, ChangeWorker>;

// ---------------------------------------------------------------- effects

// Row changes for the store, in order. One batch is one transaction.
// Also sets the point running and its last attempt. Every other change of a point's state comes as its own
// PointChanged.
struct AttemptStarted {
  AttemptRef id;
  WorkerId worker;
  Incarnation incarnation;
  std::string device;
};
// The word in attempts.outcome.
enum class AttemptOutcome : uint8_t { kAccepted, kLate, kFailed, kLost, kHandedBack, kDropped };
std::string_view ToWord(AttemptOutcome v);
// Changes the attempt only. May name an attempt that has ended before: kLate then replaces kLost or kDropped.
struct AttemptEnded {
  AttemptRef id;
  AttemptOutcome outcome = AttemptOutcome::kLost;
  std::string cause;  // word of FailureCause for kFailed, else ""
  std::string message;
  std::shared_ptr<const PointResult> result;  // of kLate: kept beside the point's own, changes nothing; else null
};
// Also ends the attempt as accepted and sets the point done.
struct ResultAccepted {
  AttemptRef id;
  WorkerId worker;
  std::string device;
  std::shared_ptr<const PointResult> result;
};
struct PointChanged {
  PointId point;
  PointState state = PointState::kPending;
  int32_t failures = 0;
  int32_t lost = 0;
  std::string reason;
};
struct CheckpointSaved {
  AttemptRef id;
  std::shared_ptr<const Checkpoint> checkpoint;
};
struct SweepChanged {
  SweepId sweep;
  SweepState state = SweepState::kRunning;
  std::string reason;
};
struct WorkerChanged {
  WorkerId worker;
  Incarnation incarnation;
  std::string host;
  std::string version;
  WorkerState state = WorkerState::kIdle;
  std::string reason;
  std::vector<DeviceReport> devices;  // `held` empty
};
// One row of `events`.
struct Audit {
  std::string kind;  // "worker_registered", "lease_lost", "point_failed", "sweep_paused", …
  std::string subject;
  std::string message;
};

using Mutation = std::variant<AttemptStarted, AttemptEnded, ResultAccepted, PointChanged, CheckpointSaved, SweepChanged,
                              WorkerChanged, Audit>;

struct Persist {
  Ticket ticket = 0;
  std::vector<Mutation> mutations;  // may be empty: then it only keeps the order of a reply behind earlier batches
};

enum class Verdict : uint8_t { kAccepted, kDuplicate, kLate, kRejected };
struct Acknowledgement {
  AttemptRef id;
  Verdict verdict = Verdict::kAccepted;
  std::string reason;
};

// The driver adds the point, its key and its latest checkpoint from the store.
struct Assignment {
  AttemptRef id;
  std::string device;
  double estimated_seconds = 0;
};

struct SyncReply {
  Token token = 0;
  // Not OK: the call is refused as a whole (an older sequence, a bad report, another live worker of that name).
  absl::Status status;
  int64_t sequence = 0;
  std::vector<Assignment> assignments;
  std::vector<AttemptRef> drop;
  std::vector<Acknowledgement> acknowledged;
  bool drain = false;
  bool stop = false;
  Duration next_call{};
  std::string notice;
};

struct AdminReply {
  Token token = 0;
  absl::Status status;
  int64_t points_affected = 0;
};

// Effects are carried out in order. A reply that depends on a batch is only emitted once that batch is committed.
using Effect = std::variant<Persist, SyncReply, AdminReply>;
using Effects = std::vector<Effect>;

}  // namespace capsweep::core
