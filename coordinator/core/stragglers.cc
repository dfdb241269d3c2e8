// Stragglers: near the end of the work a point that takes its device far longer than such points take is started a
// second time on an idle one. Results are deterministic, so the first is as good as the other, and the law "first wins"
// does the rest.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

// A lease is a straggler when it is this many times as old as the point should take. The cost model is right within a
// factor of two.
constexpr double kTooOld = 3;
// Starting anew must promise to be done in this part of the time that the slow attempt still needs.
constexpr double kWorthIt = 0.6;
// With more leases than this the work is not near its end.
constexpr size_t kFewLeases = 4096;

// Seconds that an attempt of this age still needs, by how far it got; without word, as long again as it has taken.
double SecondsLeft(double age, double progress) {
  return progress > 0.01 ? age * (1 - progress) / progress : age;
}

}  // namespace

std::optional<PointIndex> Core::State::FindStraggler(const Worker& worker, const Device& device) const {
  const auto kind = kinds.find(device.kind);
  if (leases.empty() || leases.size() > kFewLeases || kind == kinds.end() || kind->second.samples == 0) {
    return std::nullopt;
  }
  std::optional<PointIndex> slowest;
  double most_left = 0;
  for (const auto& [index, lease] : leases) {
    if (lease.worker == worker.index || twins.contains(index) || lease.ticket > committed) {
      continue;
    }
    const Point& p = points[index];
    const auto in = SweepsOf(p);
    if (p.alone || std::none_of(in.begin(), in.end(),
                                [this](SweepIndex i) { return sweeps[i].row.state == SweepState::kRunning; })) {
      continue;
    }
    const double anew = SecondsOn(p, kind->second);
    const Device& theirs = worker_by_index.at(lease.worker)->devices[lease.device];
    const auto their_kind = kinds.find(theirs.kind);
    const double expected = their_kind == kinds.end() ? anew : SecondsOn(p, their_kind->second);
    const double age = ToSeconds(now - lease.started);
    const double left = SecondsLeft(age, lease.progress);
    if (age < kTooOld * expected + Horizon() || anew + Horizon() > kWorthIt * left ||
        p.cost_seconds > LongestFit(worker, device, Load{})) {
      continue;
    }
    // The order of a hash map is not the same in every process: equal ones are told apart by their number.
    if (!slowest || left > most_left || (left == most_left && index < *slowest)) {
      slowest = index;
      most_left = left;
    }
  }
  return slowest;
}

void Core::State::MakeTwin(PointIndex index) {
  const Lease& lease = leases.at(index);
  Worker& slow = *worker_by_index.at(lease.worker);
  const Point& p = points[index];
  const auto age = static_cast<int64_t>(ToSeconds(now - lease.started));
  const std::string why = absl::StrCat("slow: after ", age, " s started a second time, as attempt ", p.last_attempt + 1,
                                       "; the first result counts");
  Note("point_doubled", absl::StrCat("point ", p.id.value()),
       absl::StrCat(Describe({p.id, lease.number}), " on ", slow.id.value(), " is ", why));
  twins[index] = Twin{lease.number, lease.worker, lease.device};
  slow.twins.insert(index);
  EndLease(index, AttemptOutcome::kDropped, "", why);
}

void Core::State::RemoveTwin(PointIndex index) {
  const auto it = twins.find(index);
  if (it == twins.end()) {
    return;
  }
  worker_by_index.at(it->second.worker)->twins.erase(index);
  twins.erase(it);
}

bool Core::State::IsTwin(const Worker& worker, const AttemptRef& id) const {
  const Point* p = FindPoint(id.point);
  const auto it = p == nullptr ? twins.end() : twins.find(IndexOf(*p));
  return it != twins.end() && it->second.number == id.attempt && it->second.worker == worker.index;
}

}  // namespace capsweep::core
