#include "tests/simulation/world.h"

#include <algorithm>
#include <cstdio>

#include "common/text.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

World::World(uint64_t seed, Mutant mutant, bool trace)
    : chance_(seed),
      harsh_(chance_.OneIn(2)),
      weather_(DrawWeather(chance_, harsh_)),
      mutant_(mutant),
      trace_(trace),
      catalogue_(weather_.lose == 0 || chance_.OneIn(2) ? 1.0 : 0.3 + 0.3 * static_cast<double>(chance_.Below(10)),
                 weather_.lose == 0 ? 1 : 1 + chance_.Below(3)),
      disk_(judge_, catalogue_) {
  DrawOptions();
  calm_ = weather_.lose == 0;
  const int workers = static_cast<int>(1 + chance_.Below(3));
  for (int w = 0; w < workers; ++w) {
    const int devices = static_cast<int>(1 + chance_.Below(2)), slots = static_cast<int>(1 + chance_.Below(3));
    workers_.push_back(std::make_unique<SimWorker>(*this, static_cast<size_t>(w), devices, slots, chance_.OneIn(3)));
  }
}

void World::DrawOptions() {
  if (weather_.lose > 0 && chance_.OneIn(4)) timeline_.set_grain(milliseconds(chance_.OneIn(2) ? 1000 : 500));
  options_.lost_limit = 1'000'000;  // every point must get done in the end
  options_.quarantine_window = 1'000'000;
  options_.max_assignments_per_sync = static_cast<int32_t>(1 + chance_.Below(6));
  // Longer than any call is under way, or an old start could come back.
  if (chance_.OneIn(3) && weather_.clock_jump == 0)
    options_.lost_worker_kept = chance_.Between(seconds(80), seconds(120));
  if (chance_.OneIn(3)) options_.recovery_grace = chance_.Between(seconds(10), seconds(50));
  if (chance_.OneIn(3)) options_.max_hold = chance_.Between(seconds(2), seconds(30));
  if (!harsh_) return;
  if (chance_.OneIn(2)) options_.lost_limit = static_cast<int32_t>(chance_.Below(4));
  if (chance_.OneIn(2)) options_.quarantine_window = static_cast<int32_t>(1 + chance_.Below(4));
}

Outcome World::Run() {
  SubmitGrid(1, 3 + chance_.Below(10));
  if (chance_.OneIn(4)) SubmitSearch(chance_.Below(SearchCount()));
  Restart();
  Tick();
  for (const auto& worker : workers_) worker->Start();
  timeline_.After(chance_.Between(seconds(1), seconds(35)), [this] { SubmitGrid(2, 6 + chance_.Below(10)); });
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

PointResult World::Measure(const PointSpec& point, bool resumed) {
  const Item& item = catalogue_.Find(point);
  PointResult result;
  result.point_key = item.key;
  result.items_mem = item.truth.items_mem;
  result.items_corr = item.truth.items_corr;
  // Some clocks give nothing to learn from.
  result.seconds = item.id % 17 == 3 ? 0 : item.id % 17 == 5 ? kNotMeasured : ToSeconds(item.time);
  result.resumed_from_step = resumed ? 1 : 0;
  return result;
}

bool World::MayVanish() {
  if (vanished_ + 1 >= workers_.size() || !chance_.OneIn(weather_.lose_worker)) return false;
  ++vanished_;
  return true;
}

void World::Say(const std::string& what) {
  for (const char c : what) outcome_.digest = (outcome_.digest ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  if (trace_) std::fprintf(stderr, "%9.3f %s\n", ToSeconds(timeline_.now().time_since_epoch()), what.c_str());
}

// ---- the end

// No more faults. Where operators and limits were at work, one mends what only an operator can: workers that were
// drained or set aside are started anew, sweeps that were stopped go on, failed points are tried again.
void World::ClearUp() {
  weather_ = {};
  full_ = false;
  Apply(core::StoreWritable{});
  PlanCommit();
  if (harsh_ && !calm_) {
    for (const auto& worker : workers_) worker->Restart();
  }
  MendSweeps();
}

bool World::EverythingDone() const {
  if (core_ == nullptr || disk_.HasPending()) return false;
  for (const auto& [id, row] : disk_.points()) {
    if (row.state != core::PointState::kDone && disk_.IsWanted(row)) return false;
  }
  for (const auto& [id, sweep] : disk_.sweeps()) {
    if (sweep.state != core::SweepState::kFinished && sweep.state != core::SweepState::kCancelled) return false;
  }
  return std::all_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->OwesNothing(); });
}

std::string World::WhatIsMissing() const {
  int64_t owing = 0;
  for (const auto& worker : workers_) owing += worker->OwesNothing() ? 0 : 1;
  std::string text = StrCat("no progress: ", disk_.ResultCount(), " of ", disk_.PointCount(),
                            " points have a result 40 minutes after the faults ended; ", owing,
                            " workers have reports that nobody acknowledged");
  if (core_ == nullptr) return StrCat(text, "; no coordinator");
  for (const auto& [id, sweep] : disk_.sweeps()) StrAppend(&text, "; ", core_->ExplainSweep(SweepId(id), CoreNow()));
  return text;
}

void World::CheckEnd() {
  if (judge_.condemned()) return;
  for (const auto& [point, attempt] : acknowledged_) {
    judge_.Require(disk_.HasResult(point) && disk_.results().at(point) == attempt, "the acknowledged result of point ",
                   point, " is gone");
  }
  judge_.Require(disk_.RunningCount() == 0, "attempts are still running on disk");
  for (const auto& worker : workers_) {
    judge_.Require(worker->HoldsNothing(), worker->Name(), " still trains what nobody waits for");
  }
  for (const core::SweepCounts& sweep : core_->Sweeps(CoreNow())) {
    const bool over = sweep.state == core::SweepState::kCancelled
                          ? sweep.pending + sweep.running == 0
                          : sweep.done == sweep.points && sweep.state == core::SweepState::kFinished;
    judge_.Require(over, "sweep ", sweep.name, " counts ", sweep.done, " of ", sweep.points, " as done and ",
                   sweep.pending + sweep.running, " as open");
  }
  for (const int64_t sweep : cancelled_) {
    judge_.Require(disk_.sweeps().at(sweep).state == core::SweepState::kCancelled, "sweep ", sweep,
                   " was cancelled and is not");
  }
  judge_.Require(!calm_ || attempts_ == static_cast<int64_t>(disk_.ResultCount()), attempts_, " attempts for ",
                 disk_.ResultCount(), " points although nothing went wrong");
  CheckFindings();
}

}  // namespace capsweep::simulation
