// The operator of a simulated deployment: submits and extends sweeps, pauses, resumes, cancels and retries them, drains
// and removes workers.
#include <algorithm>

#include "common/text.h"
#include "tests/simulation/world.h"

namespace capsweep::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- sweeps

void World::SubmitGrid(int64_t first, int64_t last) {
  core::SweepRow row;
  row.sweep = SweepId(static_cast<int64_t>(sweeps_.size()) + 1);
  row.name = StrCat("s", row.sweep.value());
  row.priority = static_cast<int32_t>(chance_.Below(3));
  row.max_failures = harsh_ && chance_.OneIn(2) ? 1 + chance_.Below(4) : 1'000'000;
  row.attempts = harsh_ && chance_.OneIn(2) ? 1 + chance_.Below(3) : 1000;
  std::vector<PointSpec> points;
  for (int64_t size = first; size <= last; ++size) points.push_back(Catalogue::GridPoint(size));
  sweeps_[row.sweep.value()] = row;
  Store(row, points, /*searched=*/false, /*plans=*/true);
}

void World::SubmitSearch(int64_t number) {
  core::SweepRow row;
  row.sweep = SweepId(static_cast<int64_t>(sweeps_.size()) + 1);
  row.name = StrCat("s", row.sweep.value());
  row.priority = static_cast<int32_t>(chance_.Below(3));
  row.max_failures = 1'000'000;
  row.attempts = 1000;
  row.searches = true;
  Search& search = searches_[row.sweep.value()];
  search.number = number;
  const plan::SearchPlan first = Seeker(number).Plan({}, 0);
  for (const PointSpec& point : first.wanted) search.asked.insert(PointKey(point));
  sweeps_[row.sweep.value()] = row;
  Store(row, first.wanted, /*searched=*/true, /*plans=*/true);
}

// One transaction after all that was given to the disk before; then the core hears of it, with the rows as the store
// had them, which may be older than what the core knows by then. It dies before that at times.
void World::Store(const core::SweepRow& sweep, const std::vector<PointSpec>& points, bool searched, bool plans,
                  std::function<void()> then) {
  if (storing_ || full_) {  // one after the other, as the service does it
    timeline_.After(milliseconds(100),
                    [this, sweep, points, searched, plans] { Store(sweep, points, searched, plans); });
    return;
  }
  if (core_ != nullptr && disk_.HasPending()) {
    const core::Ticket ticket = disk_.Commit(disk_.Pending());
    timeline_.After(seconds(0), [this, ticket, process = coordinator_] {
      if (process == coordinator_) Apply(core::StoreCommitted{ticket});
    });
  }
  const auto stored = disk_.sweeps().find(sweep.sweep.value());
  if (stored != disk_.sweeps().end() && stored->second.state == core::SweepState::kCancelled) return;
  core::SweepStored event;
  event.sweep = sweep;
  event.plans = plans;
  for (const PointSpec& point : points) {
    const Item& item = catalogue_.Add(point, searched);
    core::PointRow row;
    if (const auto known = disk_.points().find(item.id); known != disk_.points().end()) row = known->second;
    row.point = PointId(item.id);
    row.key_prefix = KeyPrefix(item.key);
    row.shape = item.shape;
    row.cost_seconds = item.cost;
    row.pack_lanes = item.lanes;
    if (std::find(row.sweeps.begin(), row.sweeps.end(), sweep.sweep) != row.sweeps.end()) continue;
    row.sweeps.push_back(sweep.sweep);
    event.points.push_back(std::move(row));
  }
  disk_.AddSweep(event);
  event.sweep.state = disk_.sweeps().at(sweep.sweep.value()).state;
  for (core::PointRow& row : event.points) row.state = disk_.points().at(row.point.value()).state;
  Say(StrCat("stored sweep ", sweep.sweep.value(), ", ", points.size(), " points"));
  if (core_ == nullptr) return;
  if (chance_.OneIn(weather_.crash_at_effect)) return CrashCoordinator();
  storing_ = true;
  const Duration delay = chance_.OneIn(weather_.store_late) ? chance_.Between(seconds(0), seconds(8)) : seconds(0);
  if (delay > seconds(1) && chance_.OneIn(2)) {  // what else happens meanwhile
    timeline_.After(delay / 2, [this, process = coordinator_] {
      if (process != coordinator_) return;
      const int64_t other = 1 + chance_.Below(static_cast<int64_t>(sweeps_.size()));
      const auto verb = chance_.OneIn(2) ? core::SweepVerb::kPause : core::SweepVerb::kCancel;
      if (verb == core::SweepVerb::kPause ? weather_.verb > 0 : weather_.cancel > 0) ChangeSweep(other, verb);
    });
  }
  timeline_.After(delay, [this, event, process = coordinator_, then = std::move(then)] {
    if (process == coordinator_) storing_ = false;
    if (process == coordinator_ && chance_.OneIn(2 * weather_.store_late)) CrashCoordinator();
    if (process == coordinator_) Apply(event);
    if (process == coordinator_ && then) then();
  });
}

// The same sweep, submitted again with another priority or more points.
void World::ChangeOrder() {
  auto it = sweeps_.begin();
  std::advance(it, chance_.Below(static_cast<int64_t>(sweeps_.size())));
  if (!disk_.sweeps().contains(it->first)) return;
  it->second.priority = static_cast<int32_t>(chance_.Below(4));
  std::vector<PointSpec> points;
  if (!it->second.searches) {
    const int64_t size = 1 + chance_.Below(20);
    points = {Catalogue::GridPoint(size), Catalogue::GridPoint(size + 1)};
  }
  Store(it->second, points, it->second.searches, /*plans=*/!points.empty() || chance_.OneIn(2));
}

// ---- verbs

void World::Verbs() {
  if (chance_.OneIn(weather_.verb)) {
    const int64_t sweep = 1 + chance_.Below(static_cast<int64_t>(sweeps_.size()) + 1);  // the last does not exist
    const auto kind = chance_.Below(harsh_ ? 5 : 4);
    ChangeSweep(sweep, kind < 2   ? core::SweepVerb::kPause
                       : kind < 4 ? core::SweepVerb::kResume
                                  : core::SweepVerb::kRetryFailed);
  }
  if (chance_.OneIn(weather_.cancel)) {
    ChangeSweep(1 + chance_.Below(static_cast<int64_t>(sweeps_.size())), core::SweepVerb::kCancel);
  }
  if (chance_.OneIn(weather_.worker_verb)) ChangeSomeWorker();
  if (chance_.OneIn(weather_.plan_error)) Apply(core::SweepPlanned{SweepId(99), 0, 0, 0, true, ""});
  if (!chance_.OneIn(weather_.submit) || sweeps_.size() > 5) return;
  switch (chance_.Below(4)) {
    case 0: {
      const int64_t first = 1 + chance_.Below(12);
      return SubmitGrid(first, first + chance_.Below(8));
    }
    case 1:
      return searches_.empty() ? SubmitSearch(chance_.Below(SearchCount())) : ChangeOrder();
    default:
      return ChangeOrder();
  }
}

void World::ChangeSweep(int64_t sweep, core::SweepVerb verb) {
  if (core_ == nullptr) return;
  requests_[++tokens_] = {verb, sweep};
  Say(StrCat("verb ", static_cast<int>(verb), " on sweep ", sweep));
  Apply(core::ChangeSweep{tokens_, SweepId(sweep), verb});
}

void World::ChangeSomeWorker() {
  const auto index = static_cast<size_t>(chance_.Below(static_cast<int64_t>(workers_.size()) + 1));
  const std::string name = index < workers_.size() ? workers_[index]->Name() : "liar";
  const auto verb = chance_.OneIn(3) ? core::WorkerVerb::kRemove : core::WorkerVerb::kDrain;
  if (verb == core::WorkerVerb::kRemove) heard_.erase(index);  // a lost worker is forgotten then
  Say(StrCat(verb == core::WorkerVerb::kDrain ? "drain " : "remove ", name));
  Apply(core::ChangeWorker{++tokens_, WorkerId(name), verb});
}

// A verb that was confirmed is on disk.
void World::Carry(const core::AdminReply& reply) {
  const auto request = requests_.find(reply.token);
  if (request == requests_.end()) return;
  const auto [verb, sweep] = request->second;
  requests_.erase(request);
  if (!reply.status.ok() || !disk_.sweeps().contains(sweep)) return;
  if (verb == core::SweepVerb::kCancel) {
    cancelled_.insert(sweep);
    judge_.Require(disk_.sweeps().at(sweep).state == core::SweepState::kCancelled, "cancelling sweep ", sweep,
                   " is confirmed and not on disk");
  }
}

// Again and again: the coordinator may be down, and points may have failed since.
void World::MendSweeps() {
  if (core_ != nullptr) {
    for (const core::SweepCounts& sweep : core_->Sweeps(CoreNow())) {
      const bool halted = sweep.state == core::SweepState::kPaused || sweep.state == core::SweepState::kStopped;
      if (sweep.failed > 0 && harsh_) ChangeSweep(sweep.sweep.value(), core::SweepVerb::kRetryFailed);
      if (halted) ChangeSweep(sweep.sweep.value(), core::SweepVerb::kResume);
    }
  }
  timeline_.After(seconds(20), [this] { MendSweeps(); });
}

}  // namespace capsweep::simulation
