// Recomputes everything that is kept incrementally and compares. O(points); for tests and the simulation.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

template <class... Parts>
void Check(bool holds, const Parts&... what) {
  if (!holds) {
    std::fprintf(stderr, "core invariant broken: %s\n", absl::StrCat(what...).c_str());
    std::abort();
  }
}

// What one sweep's fields must be, from its points alone.
struct Expected {
  std::array<int64_t, 5> counts{};
  int64_t open_cost_us = 0, pending_cost_us = 0;
  std::map<GroupKey, std::pair<size_t, int64_t>> groups;  // points and their cost
};

void CheckSweep(const Sweep& sweep, const Expected& e) {
  const std::string& name = sweep.row.name;
  Check(sweep.counts == e.counts, "counts of sweep ", name);
  Check(sweep.open_cost_us == e.open_cost_us, "open cost of sweep ", name);
  Check(sweep.pending_cost_us == e.pending_cost_us, "pending cost of sweep ", name);
  Check(sweep.groups.size() == e.groups.size() && sweep.by_cost.size() == e.groups.size(), "groups of sweep ", name);
  for (const auto& [key, want] : e.groups) {
    const auto it = sweep.groups.find(key);
    Check(it != sweep.groups.end(), "sweep ", name, " lacks group ", key);
    Check(it->second.points.size() == want.first && it->second.cost_us == want.second, "group ", key, " of sweep ",
          name);
    Check(sweep.by_cost.contains({-want.second, key}), "order of group ", key, " of sweep ", name);
  }
  Check(sweep.row.state != SweepState::kFinished || sweep.Open() == 0, "finished sweep ", name, " has open points");
  Check(sweep.row.state != SweepState::kFinished || !sweep.planning, "finished sweep ", name, " may want more points");
  Check(!sweep.planning || sweep.row.searches, "sweep ", name, " plans though it does not search");
  Check((sweep.row.state != SweepState::kRunning && sweep.row.state != SweepState::kPaused) || sweep.Open() > 0 ||
            sweep.planning,
        "sweep ", name, " is not finished though all its points are settled");
}

}  // namespace

void Core::State::CheckPoints() const {
  std::vector<Expected> expected(sweeps.size());
  for (PointIndex i = 0; i < points.size(); ++i) {
    const Point& p = points[i];
    Check(point_by_id.at(p.id.value()) == i, "index of point ", p.id.value());
    const bool running = p.state == PointState::kRunning;
    Check(leases.contains(i) == running, "point ", p.id.value(), " is ", Word(p.state), " against its lease");
    Check(!running || leases.at(i).number.value() == p.last_attempt, "lease of point ", p.id.value(),
          " is not its last attempt");
    Check(p.reported <= p.last_attempt, "point ", p.id.value(), " was reported by an attempt never given out");
    const bool pending = p.state == PointState::kPending;
    Check(!pending || Wanted(p) || SweepsOf(p).empty(), "pending point ", p.id.value(), " is wanted by no sweep");
    for (SweepIndex sweep_index : SweepsOf(p)) {
      Expected& e = expected[sweep_index];
      ++e.counts[static_cast<size_t>(p.state)];
      e.open_cost_us += pending || running ? CostMicros(p) : 0;
      if (pending) {
        const GroupKey key = p.alone ? kAloneGroup : GroupKey{p.shape};
        e.pending_cost_us += CostMicros(p);
        ++e.groups[key].first;
        e.groups[key].second += CostMicros(p);
        const auto& groups = sweeps[sweep_index].groups;
        Check(groups.contains(key) && groups.at(key).points.contains({p.cost_seconds, i}), "point ", p.id.value(),
              " is not in its queue");
      }
    }
  }
  for (SweepIndex i = 0; i < sweeps.size(); ++i) {
    CheckSweep(sweeps[i], expected[i]);
  }
}

void Core::State::CheckQueues() const {
  size_t ready_sweeps = 0;
  int64_t cost_us = 0, count = 0;
  for (SweepIndex i = 0; i < sweeps.size(); ++i) {
    const Sweep& sweep = sweeps[i];
    const bool should = sweep.row.state == SweepState::kRunning && sweep.Count(PointState::kPending) > 0;
    Check(sweep.ready == should && ready.contains({-int64_t{sweep.row.priority}, i}) == should, "readiness of sweep ",
          sweep.row.name);
    ready_sweeps += should ? 1 : 0;
    cost_us += should ? sweep.pending_cost_us : 0;
    count += should ? sweep.Count(PointState::kPending) : 0;
  }
  Check(ready.size() == ready_sweeps && ready_cost_us == cost_us && ready_points == count, "sums over ready sweeps");
  Ticket before = committed + 1;
  for (const Waiting& w : waiting) {
    Check(w.ticket >= before && w.ticket <= last_ticket, "ticket of a waiting reply");
    before = w.ticket;
  }
  Check(batch.empty() && replies.empty() && released.empty(), "an event left effects behind");
}

void Core::State::CheckWorkers() const {
  size_t held = 0, open_calls = 0;
  std::map<std::string, int64_t> slots;
  for (const auto& [id, worker] : workers) {
    Check(worker_by_index.at(worker->index) == worker.get(), "index of worker ", id);
    Check(lease_ends.contains({worker->lease_end, worker->index}), "lease end of worker ", id);
    Check(!worker->lost || worker->held.empty(), "lost worker ", id, " holds attempts");
    held += worker->held.size();
    for (PointIndex index : worker->held) {
      const auto lease = leases.find(index);
      Check(lease != leases.end() && lease->second.worker == worker->index, "attempt held by worker ", id);
      Check(lease->second.device < worker->devices.size(), "device of an attempt of worker ", id);
    }
    if (worker->parked) {
      ++open_calls;
      Check(parked.contains({worker->parked->deadline, worker->index}), "open call of worker ", id);
      Check(worker->held.empty() && !worker->lost, "worker ", id, " is held open though it holds work or is lost");
    }
    const auto waits = std::count_if(waiting.begin(), waiting.end(),
                                     [index = worker->index](const Waiting& w) { return w.worker == index; });
    Check(worker->waiting == waits, "waiting replies of worker ", id);
    for (const Device& d : worker->devices) {
      slots[d.kind] += d.counted_slots;
    }
  }
  Check(held == leases.size(), "leases that no worker holds");
  size_t held_twins = 0;
  for (const auto& [id, worker] : workers) {
    held_twins += worker->twins.size();
    Check(!worker->lost || worker->twins.empty(), "lost worker ", id, " has twins");
  }
  Check(held_twins == twins.size(), "twins that no worker has");
  for (const auto& [index, twin] : twins) {
    const Point& p = points[index];
    Check(p.state == PointState::kPending || p.state == PointState::kRunning, "settled point ", p.id.value(),
          " has a twin");
    Check(twin.number.value() < p.last_attempt, "twin of point ", p.id.value(), " is not older than its lease");
    Check(worker_by_index.at(twin.worker)->twins.contains(index), "twin of point ", p.id.value(),
          " is not its worker's");
  }
  Check(open_calls == parked.size() && lease_ends.size() == workers.size() && worker_by_index.size() == workers.size(),
        "deadlines of workers that are gone");
  for (const auto& [name, kind] : kinds) {
    Check(kind.slots == slots[name], "slots of kind ", name);
    Check(kind.factor > 0, "speed of kind ", name);
  }
}

void Core::CheckInvariants() const {
  state_->CheckPoints();
  state_->CheckQueues();
  state_->CheckWorkers();
}

}  // namespace capsweep::core
