// A seeded world of workers, a lossy network and a store that can crash, around the real Core. Whatever happens: at
// most one result per point, nothing acknowledged is ever missing, nothing is told before it is on disk, attempt
// numbers only grow, and when the faults end every point gets done.
#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/core.h"
#include "gtest/gtest.h"

namespace capsweep::core {
namespace {

using namespace std::chrono_literals;
using Attempt = std::pair<int64_t, int32_t>;

Attempt Pair(const AttemptRef& id) {
  return {id.point.value(), id.attempt.value()};
}
AttemptRef Ref(const Attempt& a) {
  return {PointId(a.first), AttemptNumber(a.second)};
}

// What is on disk: batches are applied when committed, in order, whole.
struct ModelStore {
  std::map<int64_t, PointRow> points;
  std::map<int64_t, SweepRow> sweeps;
  std::map<Attempt, RunningAttempt> running;
  std::map<int64_t, Attempt> results;
  std::set<Attempt> ended;

  void operator()(const AttemptStarted& m) {
    PointRow& row = points.at(m.id.point.value());
    ASSERT_GT(m.id.attempt.value(), row.last_attempt) << "attempt numbers must grow";
    ASSERT_NE(row.state, PointState::kDone);
    row.last_attempt = m.id.attempt.value();
    row.state = PointState::kRunning;
    for (const auto& [id, other] : running) {
      ASSERT_NE(id.first, m.id.point.value()) << "two running attempts of one point";
    }
    running[Pair(m.id)] = {m.id, m.worker, m.incarnation, m.device};
  }
  void operator()(const AttemptEnded& m) {
    ASSERT_NE(m.outcome, AttemptOutcome::kAccepted);
    ASSERT_LE(m.id.attempt.value(), points.at(m.id.point.value()).last_attempt);
    running.erase(Pair(m.id));
    ended.insert(Pair(m.id));
  }
  void operator()(const ResultAccepted& m) {
    const int64_t point = m.id.point.value();
    ASSERT_FALSE(results.count(point)) << "a second result for point " << point;
    results[point] = Pair(m.id);
    points.at(point).state = PointState::kDone;
    points.at(point).accepted_attempt = m.id.attempt.value();
    running.erase(Pair(m.id));
  }
  void operator()(const PointChanged& m) {
    PointRow& row = points.at(m.point.value());
    ASSERT_NE(row.state, PointState::kDone) << "a done point never changes";
    row.state = m.state;
    row.failures = static_cast<uint16_t>(m.failures);
    row.lost = static_cast<uint16_t>(m.lost);
  }
  void operator()(const SweepChanged& m) { sweeps.at(m.sweep.value()).state = m.state; }
  void operator()(const CheckpointSaved&) {}
  void operator()(const WorkerChanged&) {}
  void operator()(const Audit&) {}

  void Apply(const Persist& batch) {
    for (const Mutation& m : batch.mutations) {
      std::visit(*this, m);
    }
  }
  Recovered Load() const {
    Recovered out;
    for (const auto& [id, row] : sweeps) {
      out.sweeps.push_back(row);
    }
    for (const auto& [id, row] : points) {
      out.points.push_back(row);
    }
    for (const auto& [id, attempt] : running) {
      EXPECT_EQ(points.at(id.first).state, PointState::kRunning);
      out.running.push_back(attempt);
    }
    return out;
  }
};

struct ModelWorker {
  std::string name;
  int incarnation = 0;
  int64_t sequence = 0;
  int64_t answered = 0;
  int slots = 1;
  std::map<Attempt, std::string> held;  // to its device
  std::map<Attempt, int> reports;       // not acknowledged: 0 result, 1 failure, 2 hand-back. Survives restarts
  std::map<Token, int64_t> calls;       // open calls of this incarnation
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    options_.lost_limit = 1'000'000;
    options_.quarantine_window = 1'000'000;
    options_.max_assignments_per_sync = 1 + Below(20);
    core_ = std::make_unique<Core>(options_);
    for (int i = 0; i < 4; ++i) {
      workers_.push_back({.name = absl::StrCat("w", i), .slots = 1 + Below(4)});
    }
  }

  void Run(int steps) {
    Submit(1, 1, 40);
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      Step();
    }
    faults_ = false;
    Do(StoreWritable{});
    Do(ChangeSweep{++token_, SweepId(1), SweepVerb::kResume});
    Do(ChangeSweep{++token_, SweepId(2), SweepVerb::kResume});
    Submit(3, 90, 100);
    for (int i = 0; i < 30'000 && store_.results.size() < store_.points.size(); ++i) {
      Step();
    }
    EXPECT_EQ(store_.results.size(), store_.points.size()) << core_->ExplainSweep(SweepId(1), now_);
    for (const auto& [point, attempt] : acknowledged_) {
      EXPECT_EQ(store_.results.at(point), attempt);
    }
  }

 private:
  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }
  ModelWorker& AnyWorker() { return workers_[static_cast<size_t>(Below(static_cast<int>(workers_.size())))]; }

  void Submit(int64_t sweep, int64_t first, int64_t last) {
    SweepStored event;
    event.sweep = SweepRow{.sweep = SweepId(sweep),
                           .name = absl::StrCat("s", sweep),
                           .priority = Below(3),
                           .max_failures = 1'000'000,
                           .attempts = 1'000'000,
                           .searches = sweep == 2};
    store_.sweeps.try_emplace(sweep, event.sweep);
    for (int64_t id = first; id <= last; ++id) {
      PointRow& row = store_.points[id];
      row.point = PointId(id);
      row.key_prefix = static_cast<uint64_t>(id);
      row.shape = static_cast<uint32_t>(id % 3);
      row.cost_seconds = static_cast<float>(0.1 * static_cast<double>(id % 7));
      if (std::find(row.sweeps.begin(), row.sweeps.end(), SweepId(sweep)) == row.sweeps.end()) {
        row.sweeps.push_back(SweepId(sweep));
      }
      event.points.push_back(row);
    }
    Do(event);
  }

  // The planner of sweep 2, sometimes late: what it says of an earlier mark must not finish the sweep.
  void Plan() {
    SweepPlanned event;
    event.sweep = SweepId(2);
    event.complete = Chance(50);
    for (const Searching& sweep : core_->SearchingSweeps()) {
      event.mark = Chance(50) ? sweep.mark : sweep.mark - 1;
    }
    Do(event);
  }

  void Step() {
    if (Chance(3)) {
      Plan();
    }
    now_ += std::chrono::milliseconds(Below(faults_ && Chance(1) ? 40'000 : 300));
    switch (Below(8)) {
      case 0:
        return Do(Tick{});
      case 1:
        return Commit();
      case 2:
      case 3:
        return Call(AnyWorker());
      case 4:
        return Train(AnyWorker());
      case 5:
        return Deliver();
      default:
        return faults_ ? Fault() : Deliver();
    }
  }

  void Fault() {
    switch (Below(40)) {
      case 0:
        return CrashCoordinator();
      case 1:
      case 2:
        return CrashWorker(AnyWorker());
      case 3:
        return Submit(2, 30, 80);
      case 4:
        return Do(StoreUnwritable{"disk full"});
      case 5:
        return Do(StoreWritable{});
      case 6:
        return Do(ChangeSweep{++token_, SweepId(1 + Below(2)), SweepVerb::kPause});
      case 7:
      case 8:
        return Do(ChangeSweep{++token_, SweepId(1 + Below(2)), SweepVerb::kResume});
      case 9:
        if (!network_.empty()) {
          network_.erase(network_.begin() + Below(static_cast<int>(network_.size())));  // a lost call
        }
        return;
      case 10: {
        ModelWorker& w = AnyWorker();
        if (!w.calls.empty()) {
          Do(SyncAbandoned{w.calls.begin()->first});
          w.calls.erase(w.calls.begin());
        }
        return;
      }
      default:
        return;
    }
  }

  void Call(ModelWorker& w) {
    WorkerSync sync;
    sync.token = ++token_;
    sync.worker = WorkerId(w.name);
    sync.incarnation = Incarnation(absl::StrCat(1000 + w.incarnation, "-", w.name));
    sync.sequence = ++w.sequence;
    sync.max_wait = Chance(50) ? 5s : 0s;
    for (const char* name : {"d0", "d1"}) {
      DeviceReport d{.name = name, .kind = "cpu", .slots = w.slots};
      for (const auto& [attempt, device] : w.held) {
        if (device == name) {
          d.held.push_back({Ref(attempt), 0.5, true});
        }
      }
      sync.devices.push_back(d);
    }
    for (const auto& [attempt, kind] : w.reports) {
      if (kind == 0) {
        auto result = std::make_shared<PointResult>();
        result->seconds = 0.2;
        sync.results.push_back({Ref(attempt), "d0", static_cast<uint64_t>(attempt.first), result});
      } else if (kind == 1) {
        sync.failures.push_back({Ref(attempt), "d0",
                                 Chance(50) ? FailureCause::kTrainerDied : FailureCause::kOutOfMemory, "boom",
                                 1 + Below(3)});
      } else {
        sync.handed_back.push_back({Ref(attempt), nullptr});
      }
    }
    if (faults_ && Chance(1)) {
      sync.leaving = true;
    }
    w.calls[sync.token] = sync.sequence;
    network_.push_back(sync);
    if (faults_ && Chance(5)) {
      network_.push_back(sync);  // carried twice
      network_.back().token = ++token_;
    }
  }

  void Deliver() {
    if (network_.empty()) {
      return;
    }
    const int at = Below(static_cast<int>(network_.size()));
    const WorkerSync sync = network_[static_cast<size_t>(at)];
    network_.erase(network_.begin() + at);
    Do(sync);
  }

  void Train(ModelWorker& w) {
    if (w.held.empty()) {
      return;
    }
    auto it = w.held.begin();
    std::advance(it, Below(static_cast<int>(w.held.size())));
    w.reports[it->first] = faults_ && Chance(30) ? 1 + Below(2) : 0;
    w.held.erase(it);
  }

  void CrashWorker(ModelWorker& w) {
    ++w.incarnation;
    w.sequence = w.answered = 0;
    w.held.clear();
    w.calls.clear();
  }

  void CrashCoordinator() {
    queued_.clear();
    network_.clear();
    for (ModelWorker& w : workers_) {
      w.calls.clear();
    }
    core_ = std::make_unique<Core>(options_);
    Do(store_.Load());
  }

  void Commit() {
    const int n = queued_.empty() ? 0 : 1 + Below(static_cast<int>(queued_.size()));
    Ticket ticket = 0;
    for (int i = 0; i < n; ++i) {
      ticket = queued_.front().ticket;
      store_.Apply(queued_.front());
      queued_.pop_front();
    }
    if (n > 0) {
      Do(StoreCommitted{ticket});
    }
  }

  void Do(const Event& event) {
    const Effects effects = core_->Apply(event, now_);
    core_->CheckInvariants();
    for (const Effect& effect : effects) {
      if (const auto* persist = std::get_if<Persist>(&effect)) {
        queued_.push_back(*persist);
      } else if (const auto* reply = std::get_if<SyncReply>(&effect)) {
        Receive(*reply);
      }
    }
  }

  void Receive(const SyncReply& reply) {
    for (const Assignment& a : reply.assignments) {
      ASSERT_TRUE(store_.running.count(Pair(a.id)) || store_.ended.count(Pair(a.id)) ||
                  store_.results.count(a.id.point.value()))
          << "an attempt was given out before it was on disk";
    }
    for (const Acknowledgement& a : reply.acknowledged) {
      ASSERT_NE(a.verdict, Verdict::kRejected) << a.reason;
    }
    for (ModelWorker& w : workers_) {
      const auto call = w.calls.find(reply.token);
      if (call == w.calls.end()) {
        continue;
      }
      const int64_t sequence = call->second;
      w.calls.erase(call);
      if (!reply.status.ok() || sequence < w.answered || (faults_ && Chance(10))) {
        return;  // out of date, or lost on its way
      }
      w.answered = sequence;
      Obey(w, reply);
      return;
    }
  }

  void Obey(ModelWorker& w, const SyncReply& reply) {
    for (const Acknowledgement& a : reply.acknowledged) {
      const auto report = w.reports.find(Pair(a.id));
      const bool result = report != w.reports.end() && report->second == 0;
      if (result && (a.verdict == Verdict::kAccepted || a.verdict == Verdict::kDuplicate)) {
        ASSERT_TRUE(store_.results.count(a.id.point.value())) << "acknowledged before it was on disk";
        ASSERT_EQ(store_.results[a.id.point.value()], Pair(a.id));
        acknowledged_[a.id.point.value()] = Pair(a.id);
      }
      w.reports.erase(Pair(a.id));
    }
    for (const AttemptRef& id : reply.drop) {
      w.held.erase(Pair(id));
    }
    for (const Assignment& a : reply.assignments) {
      if (!w.reports.count(Pair(a.id))) {
        w.held[Pair(a.id)] = a.device;
      }
    }
  }

  std::mt19937_64 random_;
  Options options_;
  std::unique_ptr<Core> core_;
  ModelStore store_;
  std::deque<Persist> queued_;
  std::deque<WorkerSync> network_;
  std::vector<ModelWorker> workers_;
  std::map<int64_t, Attempt> acknowledged_;
  Instant now_ = Instant(1h);
  Token token_ = 0;
  bool faults_ = true;
};

TEST(CoreModelTest, RandomFaultsThenCalmLoseNothingAndFinishEverything) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    World(seed).Run(1500);
    if (HasFailure()) {
      return;
    }
  }
}

}  // namespace
}  // namespace capsweep::core
