// The thread that asks planners (coordinator/service/planner.h), as events: it looks, waits until what it saw is on
// disk, asks, stores what is wanted, and tells the core. It may die, or things may happen, between any two of these
// steps.
#include <algorithm>

#include "common/text.h"
#include "tests/simulation/world.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

void World::PlanSoon() {
  if (planning_ || core_ == nullptr) return;
  const int64_t slots = core_->Slots();
  for (const core::Searching& searching : core_->SearchingSweeps()) {
    Search& search = searches_.at(searching.sweep.value());
    if (search.mark == searching.mark && search.slots >= slots) continue;
    planning_ = true;
    const Duration delay = chance_.OneIn(weather_.plan_late) ? chance_.Between(seconds(1), seconds(20))
                                                             : chance_.Between(milliseconds(0), milliseconds(40));
    timeline_.After(delay, [this, searching, slots, process = coordinator_] {
      if (process == coordinator_) Plan(searching, slots);
    });
    return;
  }
}

plan::Outcomes World::OutcomesOf(int64_t sweep) const {
  plan::Outcomes known;
  for (const auto& [id, row] : disk_.points()) {
    if (std::find(row.sweeps.begin(), row.sweeps.end(), SweepId(sweep)) == row.sweeps.end()) continue;
    const Item& item = catalogue_.at(id);
    plan::Outcome outcome;
    if (row.state == core::PointState::kDone) outcome = item.truth;
    if (row.state == core::PointState::kFailed) outcome = {plan::Outcome::State::kFailed, 0, 0, "bad luck", 0};
    known[item.key] = outcome;
  }
  return known;
}

void World::Plan(const core::Searching& searching, int64_t slots) {
  if ((disk_.HasPending() || storing_) && !full_) {  // it flushes first, and waits while others store
    timeline_.After(milliseconds(20), [this, searching, slots, process = coordinator_] {
      if (process == coordinator_) Plan(searching, slots);
    });
    return;
  }
  planning_ = false;
  if (full_ || core_ == nullptr) return;  // the next change wakes it again
  const int64_t sweep = searching.sweep.value();
  Search& search = searches_.at(sweep);
  core::SweepPlanned planned;
  planned.sweep = searching.sweep;
  if (chance_.OneIn(weather_.plan_error)) {
    planned.error = "bad luck";
    return Apply(planned);
  }
  if (search.seeker == nullptr) search.seeker = std::make_unique<Seeker>(search.number);
  plan::SearchPlan wants =
      search.seeker->Plan(mutant_ == Mutant::kPlansBlindly ? plan::Outcomes() : OutcomesOf(sweep), slots);
  for (const PointSpec& point : wants.wanted) {
    judge_.Require(search.asked.insert(PointKey(point)).second || mutant_ == Mutant::kLosesProbes, "sweep ", sweep,
                   " asks twice for the same probe");
  }
  Say(StrCat("plan of sweep ", sweep, ": ", wants.wanted.size(), " wanted, ", wants.settled, " settled"));
  search.mark = searching.mark;
  search.slots = slots;
  planned.mark = searching.mark;
  planned.cells = static_cast<int64_t>(wants.cells.size());
  planned.settled = wants.settled;
  planned.complete = wants.complete || mutant_ == Mutant::kStopsSearching;
  const auto tell = [this, planned] {
    timeline_.After(chance_.Between(milliseconds(0), milliseconds(30)), [this, process = coordinator_, planned] {
      if (process == coordinator_) Apply(planned);
    });
  };
  if (wants.wanted.empty() || mutant_ == Mutant::kLosesProbes) return tell();
  Store(disk_.sweeps().at(sweep), wants.wanted, /*searched=*/true, /*plans=*/false, tell);
}

// Whatever happened on the way, what is found is what the results say.
void World::CheckFindings() {
  for (auto& [sweep, search] : searches_) {
    if (disk_.sweeps().at(sweep).state != core::SweepState::kFinished) continue;
    const std::string difference =
        Difference(Seeker(search.number).Plan(OutcomesOf(sweep), 1), Undisturbed(search.number));
    judge_.Require(difference.empty(), "sweep ", sweep, " found something else: ", difference);
  }
}

}  // namespace capsweep::simulation
