#include "tests/simulation/simulation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "common/text.h"
#include "coordinator/core/core.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/machine.h"
#include "tests/simulation/sim_worker.h"

namespace capsweep::simulation {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr char kDatabase[] = "db";

core::AttemptRef Ref(const agent::AttemptId& id) {
  return {id.point, id.attempt};
}

class World : public Surroundings {
 public:
  World(uint64_t seed, Mutant mutant, bool trace)
      : chance_(seed), weather_(DrawWeather(chance_)), mutant_(mutant), trace_(trace), disk_(judge_) {
    options_.lost_limit = 1'000'000;  // every point must get done in the end
    options_.quarantine_window = 1'000'000;
    options_.max_assignments_per_sync = static_cast<int32_t>(1 + chance_.Below(6));
    calm_ = weather_.lose == 0;
    const int workers = static_cast<int>(1 + chance_.Below(3));
    for (int w = 0; w < workers; ++w) {
      workers_.push_back(std::make_unique<SimWorker>(*this, static_cast<size_t>(w),
                                                     static_cast<int>(1 + chance_.Below(2)),
                                                     static_cast<int>(1 + chance_.Below(3))));
    }
  }

  Outcome Run() {
    Submit(1, 1, 3 + chance_.Below(10));
    Restart();
    Tick();
    for (const auto& worker : workers_) worker->Start();
    timeline_.After(chance_.Between(seconds(1), seconds(35)), [this] { Submit(2, 2, 6 + chance_.Below(10)); });
    const Instant end_of_faults = timeline_.now() + chance_.Between(seconds(40), seconds(160));
    while (!judge_.condemned() && timeline_.Step(end_of_faults)) ++outcome_.events;
    ClearUp();
    const Instant thawed = timeline_.now() + seconds(85), deadline = timeline_.now() + minutes(40);
    while (!judge_.condemned() && timeline_.Step(thawed)) ++outcome_.events;
    while (!judge_.condemned() && !EverythingDone() && timeline_.Step(deadline)) ++outcome_.events;
    judge_.Require(EverythingDone(), WhatIsMissing());
    const Instant last = timeline_.now() + seconds(12);
    while (!judge_.condemned() && timeline_.Step(last)) ++outcome_.events;
    CheckEnd();
    outcome_.violation = judge_.violation();
    outcome_.results = static_cast<int64_t>(disk_.ResultCount());
    outcome_.late_results = disk_.late_results();
    outcome_.doubled = disk_.doubled();
    return outcome_;
  }

  // ---- Surroundings
  Timeline& timeline() override { return timeline_; }
  Chance& chance() override { return chance_; }
  const Weather& weather() const override { return weather_; }
  PointResult Measure(const PointSpec& point) override {
    PointResult result;
    result.point_key = PointKey(point);
    result.items_mem = TrueCount(point.dataset_size);
    result.seconds = ToSeconds(TrainingTime(point));
    return result;
  }
  // Some points take longer than a lease.
  Duration TrainingTime(const PointSpec& point) override {
    if (point.dataset_size % 11 == 7) return seconds(400);
    return milliseconds(200 + 7919 * (point.dataset_size % 6));
  }
  void NoteCrash() override { ++outcome_.worker_crashes; }
  bool MayVanish() override {
    if (vanished_ + 1 >= workers_.size() || !chance_.OneIn(weather_.lose_worker)) return false;
    ++vanished_;
    return true;
  }
  void Send(size_t worker, int64_t process, const agent::SyncCall& call) override {
    const int copies = Copies();
    for (int i = 0; i < copies; ++i) {
      timeline_.After(Latency(), [this, worker, process, call] { Arrive(worker, process, call); });
    }
  }

 private:
  struct OpenCall {
    size_t worker = 0;
    int64_t process = 0;
    int64_t sequence = 0;
    std::set<Attempt> results;
    std::set<Attempt> ended;        // failures and hand-backs
    std::set<Attempt> checkpoints;  // of these, with one
    bool stale = false;             // this coordinator has heard a later call of that worker
  };

  // The world knows a point by its dataset_size, which is its id.
  static PointSpec SpecOf(int64_t id) {
    PointSpec point;
    point.dataset_size = id;
    point.steps = 100;
    return point;
  }

  void Say(const std::string& what) {
    for (const char c : what) outcome_.digest = (outcome_.digest ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    if (trace_) std::fprintf(stderr, "%9.3f %s\n", ToSeconds(timeline_.now().time_since_epoch()), what.c_str());
  }

  // ---- network
  int Copies() {
    if (chance_.OneIn(weather_.lose)) {
      ++outcome_.lost_messages;
      return 0;
    }
    return chance_.OneIn(weather_.repeat) ? 2 : 1;
  }
  Duration Latency() {
    return chance_.OneIn(weather_.delay) ? chance_.Between(milliseconds(50), seconds(70))
                                         : chance_.Between(milliseconds(1), milliseconds(40));
  }

  void Arrive(size_t worker, int64_t process, const agent::SyncCall& call) {
    if (core_ == nullptr) {  // nobody listens
      timeline_.After(Latency(), [this, worker, process, sequence = call.sequence] {
        workers_[worker]->OnAnswer(process, sequence, false, {});
      });
      return;
    }
    core::WorkerSync sync;
    OpenCall open{worker, process, call.sequence, {}, {}, {}, false};
    sync.token = ++tokens_;
    sync.worker = WorkerId(workers_[worker]->Name());
    sync.incarnation = Incarnation(workers_[worker]->Incarnation(process));
    sync.sequence = call.sequence;
    sync.max_wait = FromSeconds(call.max_wait_seconds);
    for (const agent::DeviceView& device : call.devices) {
      core::DeviceReport report{device.name, device.kind, 0, device.slots, device.ready, device.reason, {}};
      for (const agent::HeldView& held : device.held)
        report.held.push_back({Ref(held.id), held.progress, held.running});
      if (mutant_ == Mutant::kIgnoresHeld) report.held.clear();
      sync.devices.push_back(std::move(report));
    }
    for (const agent::ReportPtr& report : call.reports) {
      if (report->kind == agent::ReportKind::kResult) {
        open.results.insert(Pair(Ref(report->id)));
        sync.results.push_back({Ref(report->id), report->device, KeyPrefix(report->result->point_key), report->result});
      } else if (report->kind == agent::ReportKind::kFailure) {
        open.ended.insert(Pair(Ref(report->id)));
        sync.failures.push_back({Ref(report->id), report->device, report->cause, report->message, report->pack_size});
      } else {
        open.ended.insert(Pair(Ref(report->id)));
        if (report->checkpoint != nullptr) open.checkpoints.insert(Pair(Ref(report->id)));
        sync.handed_back.push_back({Ref(report->id), report->checkpoint});
      }
    }
    const std::pair<std::string, int64_t> place{sync.incarnation.value(), sync.sequence};
    std::pair<std::string, int64_t>& latest = heard_[worker];
    open.stale = place <= latest;
    latest = std::max(latest, place);
    open_[sync.token] = std::move(open);
    std::string held;
    for (const auto& device : sync.devices) {
      for (const auto& h : device.held) StrAppend(&held, " ", h.id.point.value(), "/", h.id.attempt.value());
    }
    Say(StrCat("call ", sync.worker.value(), " #", sync.sequence, " results ", sync.results.size(), " failures ",
               sync.failures.size(), " back ", sync.handed_back.size(), " holds", held));
    Apply(sync);
    if (chance_.OneIn(weather_.liar)) Lie();
    if (chance_.OneIn(weather_.crash_coordinator)) CrashCoordinator();
  }

  // A worker that claims what cannot be: none of it may become a result or end somebody's attempt.
  void Lie() {
    if (core_ == nullptr) return;
    core::WorkerSync sync;
    sync.token = ++tokens_;
    sync.worker = WorkerId("liar");
    sync.incarnation = Incarnation("liar.1");
    sync.sequence = ++lies_;
    sync.devices.push_back({"cpu:0", "cpu", 0, 1, false, "lying", {}});
    const int64_t point = 1 + chance_.Below(20);
    PointResult wrong = Measure(SpecOf(point));
    wrong.items_mem += 1;
    const auto result = std::make_shared<const PointResult>(wrong);
    const uint64_t key = KeyPrefix(wrong.point_key);
    const auto attempt = static_cast<int32_t>(1 + chance_.Below(4));
    if (chance_.OneIn(2)) {  // a number that was never given out
      sync.results.push_back({{PointId(point), AttemptNumber(attempt + 1000)}, "cpu:0", key, result});
    } else {  // the measurement of another point
      sync.results.push_back({{PointId(point), AttemptNumber(attempt)}, "cpu:0", key ^ 1, result});
    }
    // The ends of attempts that others may hold at this moment.
    const auto somebodys = [this] {
      return core::AttemptRef{PointId(1 + chance_.Below(20)),
                              AttemptNumber(static_cast<int32_t>(1 + chance_.Below(5)))};
    };
    sync.failures.push_back({somebodys(), "cpu:0", FailureCause::kBadPoint, "", 1});
    sync.handed_back.push_back({somebodys(), std::make_shared<Checkpoint>(Checkpoint{"cpu", "made up"})});
    open_[sync.token] = {workers_.size(), 0, sync.sequence, {}, {}, {}, false};
    Say("lie");
    Apply(sync);
  }

  // ---- coordinator
  Instant CoreNow() const { return mutant_ == Mutant::kStopsClock ? Instant(minutes(30)) : timeline_.now() + jumped_; }

  void Apply(const core::Event& event) {
    if (core_ == nullptr) return;
    core::Effects effects = core_->Apply(event, CoreNow());
    if (mutant_ == Mutant::kNone && chance_.OneIn(16)) core_->CheckInvariants();
    const core::Core* const same = core_.get();
    for (core::Effect& effect : effects) {
      std::visit([this](auto& one) { Carry(one); }, effect);
      if (core_.get() == same && chance_.OneIn(weather_.crash_at_effect)) CrashCoordinator();
      if (core_.get() != same) return;  // what was left to do is lost with the process
    }
  }

  void Carry(core::Persist& batch) {
    const core::Ticket ticket = batch.ticket;
    for (core::Mutation& mutation : batch.mutations) Spoil(mutation);
    if (mutant_ == Mutant::kAcceptsNothing) {
      std::erase_if(batch.mutations,
                    [](const core::Mutation& m) { return std::holds_alternative<core::ResultAccepted>(m); });
    }
    for (const core::Mutation& mutation : batch.mutations) {
      if (std::holds_alternative<core::AttemptStarted>(mutation)) ++attempts_;
    }
    disk_.Give(std::move(batch));
    if (mutant_ == Mutant::kLosesBatches && chance_.OneIn(5)) disk_.DropNewest();
    if (mutant_ == Mutant::kSwapsBatches) disk_.SwapNewest();
    PlanCommit();
    if (mutant_ == Mutant::kTellsBeforeDisk) Apply(core::StoreCommitted{ticket});
  }

  void Spoil(core::Mutation& mutation) {
    if (mutant_ == Mutant::kReusesAttempt) {
      if (auto* started = std::get_if<core::AttemptStarted>(&mutation)) {
        started->id.attempt = AttemptNumber(std::max(1, started->id.attempt.value() - 1));
      }
    } else if (mutant_ == Mutant::kAcceptsTwice) {
      if (auto* ended = std::get_if<core::AttemptEnded>(&mutation); ended != nullptr && ended->result != nullptr) {
        mutation = core::ResultAccepted{ended->id, WorkerId("w0"), "cpu:0", ended->result};
      }
    } else if (mutant_ == Mutant::kReopensDone) {
      if (auto* ended = std::get_if<core::AttemptEnded>(&mutation)) {
        mutation = core::PointChanged{ended->id.point, core::PointState::kPending, 0, 0, ""};
      }
    }
  }

  void PlanCommit() {
    if (std::exchange(commit_planned_, true)) return;
    const Duration delay = chance_.OneIn(weather_.slow_disk) ? chance_.Between(milliseconds(200), seconds(40))
                                                             : chance_.Between(milliseconds(0), milliseconds(15));
    timeline_.After(delay, [this, process = coordinator_] {
      if (process == coordinator_) Commit();
    });
  }

  void Commit() {
    commit_planned_ = false;
    if (core_ == nullptr || !disk_.HasPending()) return;
    if (chance_.OneIn(weather_.full_disk) && !full_) {
      full_ = true;
      Say("disk full");
      Apply(core::StoreUnwritable{"disk full"});
      timeline_.After(chance_.Between(seconds(1), seconds(50)), [this, process = coordinator_] {
        if (process != coordinator_) return;
        full_ = false;
        Apply(core::StoreWritable{});
        PlanCommit();
      });
    }
    if (full_) return;
    const core::Ticket ticket =
        disk_.Commit(static_cast<size_t>(1 + chance_.Below(static_cast<int64_t>(disk_.Pending()))));
    Say(StrCat("committed ", ticket));
    const int64_t process = coordinator_;
    if (chance_.OneIn(weather_.crash_at_effect)) CrashCoordinator();  // durable, and nobody heard of it
    if (process != coordinator_) return;
    Apply(core::StoreCommitted{ticket});
    if (process == coordinator_ && disk_.HasPending()) PlanCommit();
  }

  void Carry(core::SyncReply& reply) {
    const auto open = open_.find(reply.token);
    if (open == open_.end()) return;
    const OpenCall call = open->second;
    open_.erase(open);
    if (trace_) {
      std::string said = reply.status.ok() ? "" : StrCat(" ", reply.status.ToString());
      for (const auto& a : reply.assignments) StrAppend(&said, " +", a.id.point.value(), "/", a.id.attempt.value());
      for (const auto& a : reply.drop) StrAppend(&said, " -", a.point.value(), "/", a.attempt.value());
      for (const auto& a : reply.acknowledged) {
        StrAppend(&said, " ack ", a.id.point.value(), "/", a.id.attempt.value(), ":", static_cast<int>(a.verdict));
      }
      Say(StrCat("reply to w", call.worker, " #", call.sequence, said));
    }
    CheckReply(call, reply);
    if (call.worker >= workers_.size()) return;  // the liar does not listen
    agent::SyncReply out;
    out.database_id = kDatabase;
    out.sequence = reply.sequence;
    for (const core::Assignment& a : reply.assignments) {
      const PointSpec point = SpecOf(a.id.point.value());
      out.assignments.push_back(
          {{a.id.point, a.id.attempt}, a.device, PointKey(point), point, absl::OkStatus(), nullptr});
    }
    if (mutant_ != Mutant::kIgnoresDrops) {
      for (const core::AttemptRef& id : reply.drop) out.drop.push_back({id.point, id.attempt});
    }
    if (mutant_ != Mutant::kAcknowledgesNothing) {
      for (const core::Acknowledgement& a : reply.acknowledged) {
        out.acknowledged.push_back({{a.id.point, a.id.attempt}, static_cast<agent::Verdict>(a.verdict), a.reason});
      }
    }
    out.next_call_seconds = ToSeconds(reply.next_call);
    const int copies = Copies();
    for (int i = 0; i < copies; ++i) {
      timeline_.After(Latency(), [this, call, good = reply.status.ok(), out] {
        workers_[call.worker]->OnAnswer(call.process, call.sequence, good, out);
      });
    }
  }
  void Carry(const core::AdminReply&) {}

  // Persist, then reply: whatever a worker is told must be on disk.
  void CheckReply(const OpenCall& call, const core::SyncReply& reply) {
    judge_.Require(!call.stale || !reply.status.ok(), StrCat("an outdated call of w", call.worker, " is served"));
    for (const core::Assignment& a : reply.assignments) {
      judge_.Require(disk_.WasStarted(Pair(a.id)), StrCat("a worker is told of attempt ", a.id.attempt.value(),
                                                          " of point ", a.id.point.value(), ", which is not on disk"));
    }
    for (const core::AttemptRef& id : reply.drop) {
      judge_.Require(!disk_.IsRunning(Pair(id)), StrCat("a worker is to drop attempt ", id.attempt.value(),
                                                        " of point ", id.point.value(), ", which runs on disk"));
    }
    for (const core::Acknowledgement& ack : reply.acknowledged) {
      if (call.worker >= workers_.size()) {
        judge_.Require(ack.verdict != core::Verdict::kAccepted,
                       StrCat("a lie about point ", ack.id.point.value(), " is accepted"));
      }
      if (call.ended.contains(Pair(ack.id)) && ack.verdict == core::Verdict::kAccepted) {
        judge_.Require(!disk_.IsRunning(Pair(ack.id)), StrCat("the end of an attempt of point ", ack.id.point.value(),
                                                              " is acknowledged and not on disk"));
        judge_.Require(!call.checkpoints.contains(Pair(ack.id)) || disk_.HasCheckpoint(Pair(ack.id)),
                       StrCat("a checkpoint of point ", ack.id.point.value(), " is acknowledged and not on disk"));
      }
      if (!call.results.contains(Pair(ack.id)) || ack.verdict == core::Verdict::kRejected) continue;
      const int64_t point = ack.id.point.value();
      judge_.Require(disk_.HasResult(point), StrCat("the result of point ", point, " is acknowledged and not on disk"));
      if (ack.verdict == core::Verdict::kAccepted && disk_.HasResult(point)) {
        acknowledged_[point] = Pair(ack.id);
        judge_.Require(disk_.results().at(point) == Pair(ack.id),
                       StrCat("point ", point, " holds another attempt's result"));
      }
    }
  }

  void CrashCoordinator() {
    if (core_ == nullptr) return;
    ++outcome_.coordinator_crashes;
    ++coordinator_;
    core_.reset();
    open_.clear();
    heard_.clear();
    commit_planned_ = full_ = false;
    disk_.Crash(static_cast<size_t>(chance_.Below(static_cast<int64_t>(disk_.Pending()) + 1)));
    Say("coordinator dies");
    timeline_.After(chance_.Between(milliseconds(50), seconds(chance_.OneIn(4) ? 70 : 3)), [this] { Restart(); });
  }

  void Restart() {
    core::Recovered all = disk_.Load();
    if (coordinator_ > 0) {
      if (mutant_ == Mutant::kForgetsPoint && all.points.size() > 1) all.points.pop_back();
      if (mutant_ == Mutant::kForgetsRunning) all.running.clear();
      if (mutant_ == Mutant::kForgetsAttempts) {
        for (core::PointRow& row : all.points) row.last_attempt = 0;
      }
    }
    core_ = std::make_unique<core::Core>(options_);
    Say(StrCat("coordinator starts, ", all.running.size(), " running"));
    Apply(all);
  }

  void Tick() {
    timeline_.After(seconds(1), [this] {
      if (chance_.OneIn(weather_.clock_jump)) jumped_ += chance_.Between(seconds(1), seconds(100));
      if (chance_.OneIn(weather_.verb)) Verb();
      Apply(core::Tick{});
      Tick();
    });
  }

  void Verb() {
    const auto verb = chance_.OneIn(2) ? core::SweepVerb::kPause : core::SweepVerb::kResume;
    Apply(core::ChangeSweep{++tokens_, SweepId(1 + chance_.Below(2)), verb});
  }

  void Submit(int64_t sweep, int64_t first, int64_t last) {
    core::SweepStored event;
    event.sweep = {.sweep = SweepId(sweep), .name = StrCat("s", sweep), .max_failures = 1'000'000, .attempts = 1000};
    for (int64_t id = first; id <= last; ++id) {
      core::PointRow row;
      row.point = PointId(id);
      row.key_prefix = KeyPrefix(PointKey(SpecOf(id)));
      row.shape = static_cast<uint32_t>(id % 2);
      row.cost_seconds = static_cast<float>(ToSeconds(TrainingTime(SpecOf(id))));
      for (int64_t s = 1; s < sweep; ++s) {
        if (known_[s].contains(id)) row.sweeps.emplace_back(s);
      }
      row.sweeps.emplace_back(sweep);
      known_[sweep].insert(id);
      event.points.push_back(std::move(row));
    }
    disk_.AddSweep(event);
    if (core_ == nullptr) return;
    // Rows as the store has them now, not as they were made.
    const core::Recovered stored = disk_.Load();
    for (core::PointRow& row : event.points) {
      for (const core::PointRow& durable : stored.points) {
        if (durable.point == row.point) row = durable;
      }
    }
    Apply(event);
  }

  // ---- the end
  void ClearUp() {
    weather_ = {};
    full_ = false;
    Apply(core::StoreWritable{});
    PlanCommit();
    ResumeAll();
    timeline_.After(seconds(80), [this] { ResumeAll(); });  // a coordinator that was down is back by then
  }

  void ResumeAll() {
    for (const int64_t sweep : {1, 2}) Apply(core::ChangeSweep{++tokens_, SweepId(sweep), core::SweepVerb::kResume});
  }

  bool EverythingDone() const {
    return core_ != nullptr && disk_.ResultCount() == disk_.PointCount() && !disk_.HasPending() &&
           std::all_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->OwesNothing(); });
  }

  std::string WhatIsMissing() const {
    int64_t owing = 0;
    for (const auto& worker : workers_) owing += worker->OwesNothing() ? 0 : 1;
    return StrCat("no progress: ", disk_.ResultCount(), " of ", disk_.PointCount(),
                  " points have a result 40 minutes after ", "the faults ended; ", owing,
                  " workers have reports that nobody acknowledged",
                  core_ == nullptr ? "; no coordinator" : StrCat("; ", core_->ExplainSweep(SweepId(1), CoreNow())));
  }

  void CheckEnd() {
    if (judge_.condemned()) return;
    for (const auto& [point, attempt] : acknowledged_) {
      judge_.Require(disk_.HasResult(point) && disk_.results().at(point) == attempt,
                     StrCat("the acknowledged result of point ", point, " is gone"));
    }
    judge_.Require(disk_.RunningCount() == 0, "attempts are still running on disk");
    for (const auto& worker : workers_) {
      judge_.Require(worker->HoldsNothing(), StrCat(worker->Name(), " still trains what nobody waits for"));
    }
    for (const core::SweepCounts& sweep : core_->Sweeps(CoreNow())) {
      judge_.Require(sweep.done == sweep.points && sweep.state == core::SweepState::kFinished,
                     StrCat("sweep ", sweep.name, " counts ", sweep.done, " of ", sweep.points, " as done"));
    }
    judge_.Require(!calm_ || attempts_ == static_cast<int64_t>(disk_.ResultCount()),
                   StrCat(attempts_, " attempts for ", disk_.ResultCount(), " points although nothing went wrong"));
  }

  Timeline timeline_;
  Chance chance_;
  Weather weather_;
  const Mutant mutant_;
  const bool trace_;
  bool calm_ = false;
  core::Options options_;
  Judge judge_;
  Disk disk_;
  std::unique_ptr<core::Core> core_;  // null: no coordinator runs
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::map<core::Token, OpenCall> open_;
  std::map<size_t, std::pair<std::string, int64_t>> heard_;  // the latest start and call of each worker
  std::map<int64_t, std::set<int64_t>> known_;               // points by sweep
  std::map<int64_t, Attempt> acknowledged_;
  Duration jumped_{};
  core::Token tokens_ = 0;
  int64_t coordinator_ = 0;  // processes so far
  int64_t lies_ = 0;
  size_t vanished_ = 0;  // workers gone for good
  int64_t attempts_ = 0;
  bool commit_planned_ = false;
  bool full_ = false;
  Outcome outcome_;
};

}  // namespace

Weather DrawWeather(Chance& chance) {
  Weather w;
  if (chance.OneIn(8)) return w;  // a calm day
  const auto often = [&](int64_t low, int64_t high) { return chance.OneIn(3) ? 0 : low + chance.Below(high - low); };
  w.lose = 3 + chance.Below(60);
  w.repeat = often(2, 30);
  w.delay = often(3, 60);
  w.crash_coordinator = often(20, 400);
  w.crash_at_effect = often(20, 600);
  w.crash_worker = often(20, 300);
  w.freeze_worker = often(20, 200);
  w.lose_worker = often(1, 6);
  w.kill_trainer = often(5, 60);
  w.fail_point = often(4, 60);
  w.hand_back = often(5, 60);
  w.slow_training = often(3, 60);
  w.slow_disk = often(10, 200);
  w.full_disk = often(30, 300);
  w.clock_jump = often(20, 200);
  w.liar = often(5, 60);
  w.verb = often(10, 60);
  return w;
}

const std::vector<Mutant>& AllMutants() {
  static const auto* const kAll = [] {
    auto* all = new std::vector<Mutant>();
    for (int m = 1; m <= static_cast<int>(Mutant::kIgnoresHeld); ++m) all->push_back(static_cast<Mutant>(m));
    return all;
  }();
  return *kAll;
}

std::string_view NameOf(Mutant mutant) {
  constexpr std::string_view kNames[] = {"none",
                                         "tells-before-disk",
                                         "loses-batches",
                                         "swaps-batches",
                                         "forgets-attempts",
                                         "forgets-point",
                                         "forgets-running",
                                         "reuses-attempt",
                                         "accepts-twice",
                                         "accepts-nothing",
                                         "acknowledges-nothing",
                                         "reopens-done",
                                         "stops-clock",
                                         "ignores-drops",
                                         "ignores-held"};
  return kNames[static_cast<size_t>(mutant)];
}

Outcome Simulate(uint64_t seed, Mutant mutant, bool trace) {
  spdlog::set_level(spdlog::level::off);  // agents complain of what the weather does to them
  return World(seed, mutant, trace).Run();
}

}  // namespace capsweep::simulation
