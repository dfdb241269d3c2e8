// The inside of Core: all records, and the functions that keep them consistent. Only coordinator/core/*.cc include
// this.
//
// Who owns what:
//   points   one fixed record each, found by id or by dense index; everything else about a point stays in the database
//   sweeps   counts, and the queue of their pending points: shape groups, each ordered by cost
//   leases   one per running point: which worker holds which attempt
//   twins    of a point that was doubled: the slow attempt that may still deliver
//   workers  one record per worker name: devices, what it holds, its open call
// A point asked for by several sweeps waits in the queue of each; whichever sweep comes first in the order of
// priorities hands it out. So pausing, resuming and priorities never touch points.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "coordinator/core/core.h"

namespace capsweep::core {

using PointIndex = uint32_t;
using SweepIndex = uint32_t;
using WorkerIndex = uint32_t;  // never reused

inline constexpr Duration kShortestCall = std::chrono::milliseconds(50);

struct Point {
  PointId id;
  uint64_t key_prefix = 0;
  float cost_seconds = 0;
  uint32_t shape = 0;
  uint32_t sweep_set = 0;    // index into State::sweep_sets
  int32_t last_attempt = 0;  // Invariant: never falls; while running it is the lease's number
  // The newest attempt whose report was taken; of a done point the accepted one. 0 = none, or not known since a
  // restart.
  int32_t reported = 0;
  uint16_t failures = 0;
  uint16_t lost = 0;
  PointState state = PointState::kPending;
  bool alone = false;      // a pack died with it on board: it may only run by itself
  uint8_t pack_lanes = 1;  // so many of its shape share a slot of a CPU
};
static_assert(sizeof(Point) <= 64, "a million points must stay small");

// Largest cost first, then the point stored first.
struct QueueKey {
  float cost = 0;
  PointIndex point = 0;
  friend bool operator<(const QueueKey& a, const QueueKey& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.point < b.point;
  }
};

// The shape, or kAloneGroup for the points that must run by themselves.
using GroupKey = uint64_t;
inline constexpr GroupKey kAloneGroup = uint64_t{1} << 32;

struct Group {
  absl::btree_set<QueueKey> points;
  int64_t cost_us = 0;  // Invariant: sum over points
};

// Accepted results per time bucket over the last five minutes.
class RateMeter {
 public:
  void Start(Instant now);  // the first work was given out; later calls do nothing
  void Add(Instant now);
  double PerSecond(Instant now) const;

 private:
  static constexpr int kBuckets = 60;
  static constexpr Duration kBucket = std::chrono::seconds(5);
  std::array<uint32_t, kBuckets> counts_{};
  std::array<int64_t, kBuckets> epochs_{};  // which bucket number a count belongs to
  std::optional<Instant> started_;
};

struct Sweep {
  SweepRow row;
  std::string reason;
  std::array<int64_t, 5> counts{};  // by PointState
  // Of the done ones: results accepted but not yet on disk. Nobody is told of them as done before they are.
  int64_t uncommitted = 0;
  int64_t open_cost_us = 0;  // of pending and running points
  int64_t pending_cost_us = 0;
  // Invariant: exactly the pending points of this sweep; no empty group; by_cost mirrors groups as (-cost, key).
  absl::flat_hash_map<GroupKey, Group> groups;
  absl::btree_set<std::pair<int64_t, GroupKey>> by_cost;
  bool ready = false;  // Invariant: running with pending points <=> member of State::ready
  // More points may come, so having none open does not finish it. Only of sweeps that search.
  bool planning = false;
  uint64_t mark = 1;  // grows with every change that its planner goes by
  int64_t cells = 0, cells_settled = 0;
  RateMeter rate;

  int64_t Count(PointState s) const { return counts[static_cast<size_t>(s)]; }
  int64_t Open() const { return Count(PointState::kPending) + Count(PointState::kRunning); }
};

struct Lease {
  AttemptNumber number;
  WorkerIndex worker = 0;
  uint32_t device = 0;    // index into Worker::devices
  Ticket ticket = 0;      // of the batch that started it; before its commit the worker cannot know of it
  Instant started;        // or when this process found it running
  Instant listed;         // when the worker last listed it, or could first have
  int64_t listed_in = 0;  // sequence of that call; 0 = never
  double progress = 0;
  bool recovered = false;  // from before this process, not yet confirmed by its worker
};

// The attempt of a straggler that was started a second time elsewhere: ended on record, but its worker may go on, and
// the first result of the two is the point's. Not stored: after a restart it is dropped like any ended attempt.
struct Twin {
  AttemptNumber number;
  WorkerIndex worker = 0;
  uint32_t device = 0;
};

struct Device {
  std::string name, kind, reason;
  int64_t memory_bytes = 0;
  int32_t slots = 1;
  bool present = false;  // in the worker's latest report
  bool ready = false;
  Instant last_ready;                       // or when it was first reported
  std::string quarantine;                   // not empty: no more work, and why
  std::vector<PointIndex> failed_in_a_row;  // different points; emptied by a success
  std::optional<uint32_t> shape;            // of its latest assignment
  int64_t points_done = 0;
  int32_t counted_slots = 0;  // its part of Kind::slots
};

// One open call without an answer, held until there is work.
struct Parked {
  Token token = 0;
  int64_t sequence = 0;
  Instant deadline;
};

struct Worker {
  WorkerIndex index = 0;
  WorkerId id;
  Incarnation incarnation;
  std::string host, version;
  int64_t sequence = 0;
  Instant last_seen;
  Instant lease_end;      // Invariant: (lease_end, index) is in State::lease_ends
  bool heard = false;     // false: only known from attempts of the last process
  bool lost = false;      // its lease ran out, or it left
  bool left = false;      // said goodbye
  bool drain = false;     // asked to by an operator
  bool draining = false;  // says so itself
  bool stop = false;      // removed by an operator
  std::optional<Instant> allocation_end;
  std::vector<Device> devices;        // grows only, so that Lease::device stays valid
  absl::btree_set<PointIndex> held;   // Invariant: exactly the points whose lease names this worker
  absl::btree_set<PointIndex> twins;  // Invariant: exactly the points whose twin names this worker
  std::optional<Parked> parked;       // Invariant: (deadline, index) is in State::parked
  int waiting = 0;                    // its replies in State::waiting
  WorkerChanged persisted;            // the row the store has
};

// What was learned about a kind of device.
struct Kind {
  double factor = 1;  // seconds a point takes per reference second: moving average over results
  int64_t samples = 0;
  int64_t slots = 0;  // of devices that may get work now
};

// What a device holds, in seconds of its own time.
struct Load {
  int32_t count = 0;
  double slots = 0;           // slots they fill; models that share a slot fill a part of it
  double seconds = 0;         // estimated seconds left of all attempts held
  double within_horizon = 0;  // the same, each attempt cut at the horizon
  int32_t cap = 0;            // most attempts it may hold now
};

// A reply that may only go out when `ticket` is on disk.
struct Waiting {
  Ticket ticket = 0;
  std::optional<WorkerIndex> worker;
  Effect reply;
};

struct Core::State {
  explicit State(Options o) : options(o) {}

  const Options options;
  Instant now;

  std::vector<Point> points;
  absl::flat_hash_map<int64_t, PointIndex> point_by_id;
  // Which sweeps ask for a point, each distinct set once: nearly all points of a sweep share one.
  std::vector<std::vector<SweepIndex>> sweep_sets;
  absl::flat_hash_map<std::vector<SweepIndex>, uint32_t> sweep_set_by_content;
  std::deque<Sweep> sweeps;
  absl::flat_hash_map<SweepId, SweepIndex> sweep_by_id;
  absl::btree_set<std::pair<int64_t, SweepIndex>> ready;  // (-priority, sweep): running, with pending points
  int64_t ready_cost_us = 0;                              // sums over `ready`; a shared point counts in each
  int64_t ready_points = 0;

  absl::flat_hash_map<PointIndex, Lease> leases;
  absl::flat_hash_map<PointIndex, Twin> twins;  // Invariant: of pending and running points only
  absl::btree_map<std::string, std::unique_ptr<Worker>> workers;
  absl::flat_hash_map<WorkerIndex, Worker*> worker_by_index;
  WorkerIndex next_worker = 0;
  absl::btree_set<std::pair<Instant, WorkerIndex>> lease_ends;  // of a lost worker: when it is forgotten
  absl::btree_set<std::pair<Instant, WorkerIndex>> parked;
  absl::btree_map<std::string, Kind> kinds;
  absl::flat_hash_map<std::pair<uint32_t, std::string>, int32_t> slot_limits;  // (shape, kind), learned from failures

  Ticket last_ticket = 0;
  Ticket committed = 0;
  std::optional<std::string> unwritable;
  std::deque<Waiting> waiting;  // Invariant: tickets do not fall; all are > committed
  // One entry per accepted result and sweep until its batch is on disk. Invariant: as `waiting`; Sweep::uncommitted
  // counts.
  std::deque<std::pair<Ticket, SweepIndex>> uncommitted;

  // Collected during one event, carried out by Finish().
  std::vector<Mutation> batch;
  std::vector<Waiting> replies;  // ticket 0 = at once
  Effects released;              // replies whose batch this event committed
  bool work_added = false;

  // core.cc: one event in, effects out.
  Effects Finish();
  void Reply(Worker* worker, SyncReply reply);
  void ReplyAdmin(Token token, absl::Status status, int64_t affected, bool depends);
  void On(const SyncAbandoned& event);
  void On(const Tick& event);
  void On(const StoreCommitted& event);
  void On(const StoreUnwritable& event);
  void On(const StoreWritable& event);
  void Note(std::string kind, std::string subject, std::string message);
  Ticket NextTicket() const { return last_ticket + 1; }

  // points.cc: point records, counts and queues. SetState is the only place where a point's state changes.
  absl::Span<const SweepIndex> SweepsOf(const Point& p) const { return sweep_sets[p.sweep_set]; }
  uint32_t InternSweeps(std::vector<SweepIndex> set);
  Point* FindPoint(PointId id);
  const Point* FindPoint(PointId id) const { return const_cast<State*>(this)->FindPoint(id); }
  PointIndex IndexOf(const Point& p) const { return static_cast<PointIndex>(&p - points.data()); }
  void AddToSweep(PointIndex index, SweepIndex sweep);
  void SetState(PointIndex index, PointState state);  // precondition: it has another
  void PersistPoint(const Point& p, std::string reason);
  void FailPoint(PointIndex index, const std::string& reason);
  void Requeue(PointIndex index);  // pending, or cancelled if no sweep wants it any more
  bool Wanted(const Point& p) const;
  int64_t AllowedFailures(const Point& p) const;
  void Enqueue(Sweep& sweep, const Point& p);
  void Dequeue(Sweep& sweep, const Point& p);
  void RefreshReady(Sweep& sweep);

  // sweeps.cc: recovery, stored sweeps, sweep states and verbs.
  void On(const Recovered& event);
  void On(const SweepStored& event);
  void On(const SweepPlanned& event);
  void On(const ChangeSweep& event);
  SweepIndex PutSweep(const SweepRow& row);
  void PutPoint(const PointRow& row);
  void RecoverAttempt(const RunningAttempt& attempt);
  void ChangeState(Sweep& sweep, SweepState state, std::string reason, const char* audit);
  void Replan(Sweep& sweep);       // of sweeps that search: more points may come
  void SettleSweep(Sweep& sweep);  // finished, or running again, by its counts and its planner
  int64_t CancelSweep(SweepIndex index);
  int64_t RetryFailed(SweepIndex index);

  // sync.cc: the one worker call.
  void On(const WorkerSync& sync);
  absl::Status Admit(const WorkerSync& sync) const;
  void TakeDevices(Worker& worker, const WorkerSync& sync);
  void CompareHeld(Worker& worker, const WorkerSync& sync, SyncReply& reply);
  void Resend(Worker& worker, SyncReply& reply);
  bool Park(Worker& worker, const WorkerSync& sync, const SyncReply& reply);
  void Unpark(Worker& worker, Duration next_call);

  // reports.cc: results, failures, hand-backs.
  void TakeReports(Worker& worker, const WorkerSync& sync, std::vector<Acknowledgement>& acks);
  Acknowledgement TakeResult(Worker& worker, const ResultReport& report);
  Acknowledgement TakeFailure(Worker& worker, const FailureReport& report);
  Acknowledgement TakeHandBack(Worker& worker, const HandBackReport& report);
  std::optional<Acknowledgement> Refuse(const Worker& worker, const AttemptRef& id) const;
  std::optional<Acknowledgement> RefuseEnded(const Point& p, const AttemptRef& id) const;
  void Measure(Worker& worker, const ResultReport& report, const Point& p);
  bool HalvePack(const Point& p, const std::string& kind, int32_t pack_size);
  void BlameDevice(Worker& worker, Device& device, PointIndex point, const FailureReport& report);

  // workers.cc: registration, leases, loss, operator verbs.
  void On(const ChangeWorker& event);
  Worker* FindWorker(const WorkerId& id);
  Worker& AddWorker(const WorkerId& id);
  Worker& Register(const WorkerSync& sync);
  Device* FindDevice(Worker& worker, const std::string& name);
  Device& PutDevice(Worker& worker, const std::string& name);
  void Renew(Worker& worker, Duration lease);
  void Forget(Worker& worker);
  void ExpireLeases();
  void LoseWorker(Worker& worker);
  void RemoveLease(PointIndex index);
  void EndLease(PointIndex index, AttemptOutcome outcome, std::string cause, std::string message);
  void LoseAttempt(PointIndex index, bool counts, const std::string& why);
  int64_t LoseAll(Worker& worker, bool counts, const std::string& why);
  void Leave(Worker& worker);
  void FreeDevice(Worker& worker, const Device& device, const std::string& why);
  void PersistWorker(Worker& worker);
  void CountSlots(Worker& worker);
  WorkerState StateOf(const Worker& worker) const;
  bool DrainsOrStops(const Worker& worker) const { return worker.drain || worker.draining || worker.stop; }

  // schedule.cc: who gets which point.
  double SecondsOn(const Point& p, const Kind& kind) const;
  static int32_t PartsOfSlot(const Point& p, const Device& device);
  int32_t SlotLimit(const Point& p, const Device& device) const;
  void AddTo(Load& load, const Point& p, const Device& device, double progress) const;
  double Horizon() const;
  double LongestFit(const Worker& worker, const Device& device, const Load& load) const;
  double Speed() const;  // reference seconds done per second by all devices that may get work
  std::vector<Load> Loads(const Worker& worker) const;
  bool Hungry(const Device& device, const Load& load) const;
  std::optional<PointIndex> Pick(const Worker& worker, const Device& device, const Load& load) const;
  void Fill(Worker& worker, std::vector<Assignment>& out);
  Assignment Assign(PointIndex index, Worker& worker, uint32_t device);
  void Dispatch();
  Duration NextCall(const Worker& worker) const;
  std::string WhyNoWork(const Worker& worker) const;

  // stragglers.cc: an idle device starts what takes another far too long.
  std::optional<PointIndex> FindStraggler(const Worker& worker, const Device& device) const;
  void MakeTwin(PointIndex index);  // of its lease, which ends on record
  void RemoveTwin(PointIndex index);
  bool IsTwin(const Worker& worker, const AttemptRef& id) const;

  // explain.cc
  std::string ExplainMachines() const;

  // invariants.cc
  void CheckPoints() const;
  void CheckQueues() const;
  void CheckWorkers() const;
};

inline int64_t CostMicros(const Point& p) {
  // Cut so that the sum over any number of points stays inside 64 bits; only weights of the scheduler are affected.
  constexpr double kMost = 1e6;
  return static_cast<int64_t>((p.cost_seconds < kMost ? p.cost_seconds : kMost) * 1e6) + 1;
}
// As a string, because Debian's absl has its own string_view, which std::string_view does not convert to.
template <class Enum>
std::string Word(Enum v) {
  return std::string(ToWord(v));
}
std::string Describe(const AttemptRef& id);  // "attempt 2 of point 7"

}  // namespace capsweep::core
