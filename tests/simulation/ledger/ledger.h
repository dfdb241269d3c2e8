// The coordinator's books kept a second time: what the rules of docs/design-core.md come to, worked out from the events
// alone and in the plainest way: no queue, no sum and no index is kept from one event to the next, everything is
// counted anew whenever it is asked for. The core must do, say and show the same, event by event. It knows nothing of
// crashes: a new process gets a new ledger.
//
// Not in it: wording (only what a text must mention), and the order of row changes of different subjects in one batch.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/core/core.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/ledger/entry.h"

namespace capsweep::simulation {

class Ledger {
 public:
  Ledger(const core::Options& options, Judge& judge) : options_(options), judge_(&judge) {}

  // The event that the core was given, and the effects that it had.
  void Follow(const core::Event& event, Instant now, const core::Effects& effects);
  // What the core shows to planners. Each mark must be seen, so that a change shows.
  void CompareMarks(const core::Core& core);
  // Everything that the core shows to users.
  void CompareViews(const core::Core& core, Instant now) const;
  void CompareTexts(const core::Core& core, Instant now, int64_t point, int64_t sweep) const;

 private:
  struct Point {
    int64_t id = 0;
    size_t order = 0;  // of its first mention
    uint64_t key_prefix = 0;
    float cost = 0;
    uint32_t shape = 0;
    int32_t lanes = 1, last = 0, reported = 0;
    int32_t failures = 0, lost = 0;
    core::PointState state = core::PointState::kPending;
    bool alone = false;
    std::set<int64_t> sweeps;
    bool Open() const { return state == core::PointState::kPending || state == core::PointState::kRunning; }
  };
  struct Sweep {
    core::SweepRow row;
    size_t order = 0;                       // of its first mention
    bool planning = false, changed = true;  // since its mark was last seen
    uint64_t mark = 0;                      // as last seen
    int64_t cells = 0, settled = 0;
    std::optional<Instant> started;
    std::vector<Instant> results;
  };
  struct Device {
    std::string name, kind, reason;
    int64_t memory = 0;
    int32_t slots = 1;
    bool present = false, ready = false;
    Instant last_ready;
    int64_t quarantine = 0;  // a number of its own; 0 = none
    std::set<int64_t> failed;
    std::optional<uint32_t> shape;
    int64_t points_done = 0;
  };
  struct Worker {
    int64_t serial = 0;
    std::string name;
    Incarnation incarnation;
    std::string host, version;
    int64_t sequence = 0;
    Instant last_seen, lease_end;
    bool heard = false, lost = false, left = false, drain = false, draining = false, stop = false;
    std::optional<Instant> allocation_end;
    std::vector<Device> devices;
    std::optional<core::SyncReply> parked;  // with its token and sequence
    Instant deadline;                       // of `parked`
    int waiting = 0;
    Entry persisted;
  };
  struct Lease {
    int32_t number = 0;
    Worker* worker = nullptr;
    size_t device = 0;
    core::Ticket ticket = 0;
    Instant started, listed;
    int64_t listed_in = 0;
    double progress = 0;
    bool recovered = false;
  };
  struct Twin {
    int32_t number = 0;
    Worker* worker = nullptr;
    size_t device = 0;
  };
  struct Kind {
    double factor = 1;
    int64_t samples = 0;
  };
  struct Load {
    int32_t count = 0;
    double slots = 0, seconds = 0, within_horizon = 0;
    int32_t cap = 0;
  };
  struct Waiting {
    bool depends = false;
    core::Ticket ticket = 0;
    std::weak_ptr<Worker> worker;
    core::Token token = 0;
    bool of_worker = false;
    Entry entry;
  };

  // ledger.cc
  void On(const core::SyncAbandoned& event);
  void On(const core::Tick& event);
  void On(const core::StoreCommitted& event);
  void On(const core::StoreUnwritable& event);
  void On(const core::StoreWritable& event);
  void Write(Entry entry) { batch_.push_back(std::move(entry)); }
  void Note(const std::string& kind, const std::string& subject) { Write({subject, "note " + kind, ""}); }
  void Say(Worker* worker, const core::SyncReply& reply);
  void SayToUser(core::Token token, absl::StatusCode code, int64_t affected);
  void Finish(const core::Effects& effects);
  void Compare(std::vector<Entry> expected, std::vector<Entry> actual, const char* what);

  // sweeps.cc
  void On(const core::Recovered& event);
  void On(const core::SweepStored& event);
  void On(const core::SweepPlanned& event);
  void On(const core::ChangeSweep& event);
  Sweep& PutSweep(const core::SweepRow& row);
  void PutPoint(const core::PointRow& row);
  void Recover(const core::RunningAttempt& attempt);
  void AddTo(Point& point, int64_t sweep);
  void SetState(Point& point, core::PointState state);
  void WritePoint(const Point& point, const std::string& mentions);
  void ChangeState(Sweep& sweep, core::SweepState state, const std::string& mentions, const char* note);
  void Settle(Sweep& sweep);
  void Replan(Sweep& sweep);
  void Requeue(Point& point);
  void Fail(Point& point, const std::string& mentions);
  int64_t Cancel(int64_t sweep);
  int64_t Retry(int64_t sweep);
  bool Wanted(const Point& point) const;
  bool InRunningSweep(const Point& point) const;
  int64_t AllowedFailures(const Point& point) const;
  int64_t Count(int64_t sweep, core::PointState state) const;
  int64_t OpenPoints(int64_t sweep) const;
  int64_t OpenCost(int64_t sweep) const;
  Point* Find(int64_t point);
  void NoteIfWork(const Sweep& sweep);

  // calls.cc
  void On(const core::WorkerSync& sync);
  absl::StatusCode Admit(const core::WorkerSync& sync) const;
  Worker& Greet(const core::WorkerSync& sync);
  void TakeDevices(Worker& worker, const core::WorkerSync& sync);
  void CompareHeld(Worker& worker, const core::WorkerSync& sync, core::SyncReply& reply);
  void SendAgain(Worker& worker, core::SyncReply& reply);
  bool Hold(Worker& worker, const core::WorkerSync& sync, const core::SyncReply& reply);
  void Release(Worker& worker, Duration next_call);
  std::optional<core::Verdict> Refusal(const Worker& worker, const core::AttemptRef& id) const;
  core::Verdict TakeResult(Worker& worker, const core::ResultReport& report);
  core::Verdict TakeFailure(Worker& worker, const core::FailureReport& report);
  core::Verdict TakeHandBack(Worker& worker, const core::HandBackReport& report);
  std::optional<core::Verdict> OfEnded(Worker& worker, const core::AttemptRef& id);
  void Measure(Worker& worker, const core::ResultReport& report, const Point& point);
  void Blame(Worker& worker, Device& device, int64_t point);
  bool Halve(const Point& point, const std::string& kind, int32_t pack_size);

  // workers.cc
  void On(const core::ChangeWorker& event);
  Worker* FindWorker(const WorkerId& id);
  Worker& AddWorker(const WorkerId& id);
  Device* FindDevice(Worker& worker, const std::string& name);
  size_t PutDevice(Worker& worker, const std::string& name);
  std::vector<int64_t> InOrder(std::vector<int64_t> points) const;
  std::vector<int64_t> HeldBy(const Worker& worker) const;
  std::vector<int64_t> TwinsOf(const Worker& worker) const;
  void ForgetTwinsOf(const Worker& worker);
  void Expire();
  void End(int64_t point, core::AttemptOutcome outcome, const std::string& cause, const std::string& mentions,
           bool result = false);
  void Lose(int64_t point, const std::string& mentions);
  int64_t LoseAll(Worker& worker, const std::string& mentions);
  void Free(Worker& worker, const Device& device, const std::string& mentions);
  void Leave(Worker& worker);
  bool Drains(const Worker& worker) const { return worker.drain || worker.draining || worker.stop; }
  bool Usable(const Worker& worker, const Device& device) const;
  core::WorkerState StateOf(const Worker& worker) const;
  void WriteWorker(Worker& worker);

  // schedule.cc
  Kind KindOf(const std::string& name) const;
  double Seconds(const Point& point, const std::string& kind) const;
  double Horizon() const;
  double Speed() const;
  int64_t AllSlots() const;
  std::vector<const Sweep*> ReadySweeps() const;
  int64_t ReadyPoints() const;
  int64_t ReadyCost() const;
  int32_t Limit(const Point& point, const Device& device) const;
  void AddTo(Load& load, const Point& point, const Device& device, double progress) const;
  std::vector<Load> Loads(const Worker& worker) const;
  bool Hungry(const Device& device, const Load& load) const;
  double LongestFit(const Worker& worker, const Device& device, const Load& load) const;
  Point* Pick(const Worker& worker, const Device& device, const Load& load);
  Point* PickOf(const std::vector<Point*>& group, const Device& device, const Load& load, float longest) const;
  Point* Straggler(const Worker& worker, const Device& device);
  core::Assignment Give(Point& point, Worker& worker, size_t device);
  void Fill(Worker& worker, std::vector<core::Assignment>& out);
  void Dispatch();
  Duration NextCall(const Worker& worker) const;

  // views.cc
  void CompareSweep(const Sweep& sweep, const core::SweepCounts& shown, Instant now) const;
  void CompareWorker(const Worker& worker, const core::WorkerView& shown, Instant now) const;
  const char* WhyIdle(const Worker& worker) const;
  const char* WhyPending() const;
  double Rate(const Sweep& sweep, Instant now) const;
  double Eta(const Sweep& sweep) const;
  int64_t Unstored(int64_t sweep) const;

  const core::Options options_;
  Judge* const judge_;
  Instant now_;
  std::map<int64_t, Point> points_;
  std::map<int64_t, Sweep> sweeps_;
  std::map<int64_t, Lease> leases_;
  std::map<int64_t, Twin> twins_;
  std::map<std::string, std::shared_ptr<Worker>> workers_;
  std::map<std::string, Kind> kinds_;
  std::map<std::pair<uint32_t, std::string>, int32_t> limits_;  // of packs
  int64_t workers_seen_ = 0, quarantines_ = 0;
  core::Ticket last_ = 0, committed_ = 0;
  bool unwritable_ = false, work_ = false;
  std::deque<Waiting> waiting_;
  std::deque<std::pair<core::Ticket, int64_t>> unstored_;  // accepted results by sweep

  std::vector<Entry> batch_, said_;
  std::vector<Waiting> replies_;
};

}  // namespace capsweep::simulation
