// The coordinator's state machine: Apply(event, now) -> effects. Pure: the same events at the same instants give the
// same effects, byte for byte. Law: persist, then reply.
//
// Not thread-safe: the engine (coordinator/service/engine.h) calls it under one mutex.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/core/events.h"

namespace capsweep::core {

struct Options {
  Duration lease = std::chrono::seconds(30);           // a worker not heard of for this long loses its attempts
  Duration recovery_grace = std::chrono::seconds(30);  // for attempts found running at start
  Duration sync_interval = std::chrono::seconds(2);    // asked of a worker that holds work
  Duration max_hold = std::chrono::seconds(20);        // longest an idle call is held open
  Duration lost_worker_kept = std::chrono::hours(1);   // then it leaves `workers`
  int32_t lost_limit = 10;                             // leases a point may lose before it has failed
  int32_t max_assignments_per_sync = 512;
  // A device whose last `quarantine_window` attempts all failed, of different points, gets no more work.
  int32_t quarantine_window = 5;
};

// Counts for status; kept incrementally, O(1) per sweep.
struct SweepCounts {
  SweepId sweep;
  std::string name;
  SweepState state = SweepState::kRunning;
  std::string reason;
  int64_t points = 0, done = 0, failed = 0, running = 0, pending = 0, cancelled = 0;
  double rate_per_second = 0;            // of accepted results, over the last minutes this process has seen
  double eta_seconds = -1;               // < 0 = unknown; from remaining cost and the devices' measured speed
  bool planning = false;                 // it searches, and its planner may want more points
  int64_t cells = 0, cells_settled = 0;  // as last planned; 0 = not known, or no search
};

// A running sweep that searches, for its planner.
struct Searching {
  SweepId sweep;
  uint64_t mark = 0;  // grows with every change that the planner goes by; see SweepPlanned
};

struct DeviceView {
  std::string name, kind, state, reason;  // state: idle | busy | failed | quarantined
  int32_t slots = 0, running = 0;
  int64_t points_done = 0;
};
struct WorkerView {
  WorkerId worker;
  std::string host;
  WorkerState state = WorkerState::kIdle;
  double last_seen_seconds = 0;
  std::string reason;
  std::vector<DeviceView> devices;
};

class Core {
 public:
  explicit Core(Options options = {});
  ~Core();

  Effects Apply(const Event& event, Instant now);

  // Reads; no side effects.
  std::vector<SweepCounts> Sweeps(Instant now) const;
  std::vector<WorkerView> Workers(Instant now) const;
  // Running sweeps whose planner may want more points.
  std::vector<Searching> SearchingSweeps() const;
  // Why a point or sweep is not running, in sentences for people.
  std::string ExplainPoint(PointId point, Instant now) const;
  std::string ExplainSweep(SweepId sweep, Instant now) const;
  // Slots of the devices that may get work now.
  int64_t Slots() const;
  // Seconds of work left over the connected devices' measured speed; cost is in reference core-seconds.
  double EstimateWallSeconds(double cost_seconds) const;  // < 0 = no device

  // Aborts with a message if any invariant of the state is broken. For tests and the simulation.
  void CheckInvariants() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace capsweep::core
