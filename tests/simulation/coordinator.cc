// The coordinator's process of a simulated deployment: its core, its disk, and its deaths.
#include <algorithm>

#include "common/text.h"
#include "tests/simulation/world.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

Instant World::CoreNow() const {
  return mutant_ == Mutant::kStopsClock ? Instant(minutes(30)) : timeline_.now() + jumped_;
}

void World::Apply(const core::Event& event) {
  if (core_ == nullptr) return;
  core::Effects effects = core_->Apply(event, CoreNow());
  // The broken variants are to be caught by promises alone.
  if (mutant_ == Mutant::kNone) Audit(event, effects);
  const core::Core* const same = core_.get();
  for (core::Effect& effect : effects) {
    std::visit([this](auto& one) { Carry(one); }, effect);
    if (core_.get() == same && chance_.OneIn(weather_.crash_at_effect)) CrashCoordinator();
    if (core_.get() != same) return;  // what was left to do is lost with the process
  }
  PlanSoon();
}

void World::Audit(const core::Event& event, const core::Effects& effects) {
  ledger_->Follow(event, CoreNow(), effects);
  if (judge_.condemned()) return;
  ++events_;
  ledger_->CompareMarks(*core_);
  if (events_ % 3 == 0) ledger_->CompareViews(*core_, CoreNow());
  if (events_ % 4 == 0) {
    ledger_->CompareTexts(*core_, CoreNow(), events_ / 4 % (catalogue_.size() + 2), events_ / 4 % 4);
  }
  if (events_ % 16 == 0) core_->CheckInvariants();
}

void World::Carry(core::Persist& batch) {
  const core::Ticket ticket = batch.ticket;
  for (core::Mutation& mutation : batch.mutations) Spoil(mutation);
  if (mutant_ == Mutant::kAcceptsNothing) {
    std::erase_if(batch.mutations,
                  [](const core::Mutation& m) { return std::holds_alternative<core::ResultAccepted>(m); });
  }
  if (mutant_ == Mutant::kLosesVerbs) {
    std::erase_if(batch.mutations,
                  [](const core::Mutation& m) { return std::holds_alternative<core::SweepChanged>(m); });
  }
  for (const core::Mutation& mutation : batch.mutations) {
    if (std::holds_alternative<core::AttemptStarted>(mutation)) ++attempts_;
    // A straggler's double is nobody's fault.
    if (const auto* audit = std::get_if<core::Audit>(&mutation); audit != nullptr && audit->kind == "point_doubled") {
      --attempts_;
    }
  }
  disk_.Give(std::move(batch));
  if (mutant_ == Mutant::kLosesBatches && chance_.OneIn(5)) disk_.DropNewest();
  if (mutant_ == Mutant::kSwapsBatches) disk_.SwapNewest();
  PlanCommit();
  if (mutant_ == Mutant::kTellsBeforeDisk) Apply(core::StoreCommitted{ticket});
}

void World::Spoil(core::Mutation& mutation) const {
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

void World::PlanCommit() {
  if (std::exchange(commit_planned_, true)) return;
  const Duration delay = chance_.OneIn(weather_.slow_disk) ? chance_.Between(milliseconds(200), seconds(40))
                                                           : chance_.Between(milliseconds(0), milliseconds(15));
  timeline_.After(delay, [this, process = coordinator_] {
    if (process == coordinator_) Commit();
  });
}

void World::Commit() {
  commit_planned_ = false;
  if (core_ == nullptr || !disk_.HasPending()) return;
  if (chance_.OneIn(weather_.full_disk) && !full_) {
    full_ = true;
    Say("disk full");
    Apply(core::StoreUnwritable{"disk full"});
    timeline_.After(chance_.Between(seconds(1), seconds(50)), [this, process = coordinator_] {
      if (process != coordinator_) return;
      full_ = false;
      // The next commit says so too.
      if (!disk_.HasPending() || chance_.OneIn(2)) Apply(core::StoreWritable{});
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

void World::CrashCoordinator() {
  if (core_ == nullptr) return;
  ++outcome_.coordinator_crashes;
  ++coordinator_;
  core_.reset();
  ledger_.reset();
  open_.clear();
  requests_.clear();
  heard_.clear();
  for (auto& [sweep, search] : searches_) {
    search.seeker.reset();
    search.mark = 0;
  }
  commit_planned_ = full_ = planning_ = storing_ = false;
  disk_.Crash(static_cast<size_t>(chance_.Below(static_cast<int64_t>(disk_.Pending()) + 1)));
  Say("coordinator dies");
  timeline_.After(chance_.Between(milliseconds(50), seconds(chance_.OneIn(4) ? 70 : 3)), [this] { Restart(); });
}

void World::Restart() {
  core::Recovered all = disk_.Load();
  if (coordinator_ > 0) {
    if (mutant_ == Mutant::kForgetsPoint && all.points.size() > 1) all.points.pop_back();
    if (mutant_ == Mutant::kForgetsRunning) all.running.clear();
    if (mutant_ == Mutant::kForgetsAttempts) {
      for (core::PointRow& row : all.points) row.last_attempt = 0;
    }
    if (mutant_ == Mutant::kForgetsFailures) {
      for (core::PointRow& row : all.points) row.failures = row.lost = 0;
    }
  }
  // As after a mending by hand: an attempt that is no more, or of no point.
  if (mutant_ == Mutant::kNone && !all.points.empty() && chance_.OneIn(weather_.odd_row)) {
    const core::PointRow& row = all.points[static_cast<size_t>(chance_.Below(static_cast<int64_t>(all.points.size())))];
    const bool stale = row.last_attempt > 1 && !chance_.OneIn(4);
    const PointId point = stale ? row.point : PointId(9999);
    const AttemptNumber number(stale ? row.last_attempt - 1 : 1);
    if (!disk_.IsRunning({point.value(), number.value()})) {
      all.running.push_back({{point, number}, WorkerId("w0"), Incarnation(workers_[0]->Incarnation(1)), "cpu:0"});
    }
  }
  core_ = std::make_unique<core::Core>(options_);
  ledger_ = std::make_unique<Ledger>(options_, judge_);
  Say(StrCat("coordinator starts, ", all.running.size(), " running"));
  Apply(all);
}

void World::Tick() {
  timeline_.After(seconds(1), [this] {
    if (chance_.OneIn(weather_.clock_jump)) jumped_ += chance_.Between(seconds(1), seconds(100));
    Verbs();
    Apply(core::Tick{});
    Tick();
  });
}

}  // namespace capsweep::simulation
