// Points, their counts per sweep, and the queues of pending points.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

void RateMeter::Start(Instant now) {
  if (!started_) {
    started_ = now;
  }
}

void RateMeter::Add(Instant now) {
  Start(now);
  const int64_t epoch = now.time_since_epoch() / kBucket;
  const size_t slot = static_cast<size_t>(epoch % kBuckets);
  if (epochs_[slot] != epoch) {
    epochs_[slot] = epoch;
    counts_[slot] = 0;
  }
  ++counts_[slot];
}

double RateMeter::PerSecond(Instant now) const {
  if (!started_) {
    return 0;
  }
  const int64_t epoch = now.time_since_epoch() / kBucket;
  int64_t sum = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    if (epochs_[i] > epoch - kBuckets && epochs_[i] <= epoch) {
      sum += counts_[i];
    }
  }
  // The oldest bucket of the window is cut by its start, so the window is the whole buckets before this one.
  const double window = ToSeconds(now.time_since_epoch() - (epoch - kBuckets + 1) * kBucket);
  const double seconds = std::min(window, ToSeconds(now - *started_));
  return static_cast<double>(sum) / std::max(seconds, 1.0);
}

uint32_t Core::State::InternSweeps(std::vector<SweepIndex> set) {
  const auto [it, inserted] = sweep_set_by_content.try_emplace(set, static_cast<uint32_t>(sweep_sets.size()));
  if (inserted) {
    sweep_sets.push_back(std::move(set));
  }
  return it->second;
}

Point* Core::State::FindPoint(PointId id) {
  const auto it = point_by_id.find(id.value());
  return it == point_by_id.end() ? nullptr : &points[it->second];
}

void Core::State::AddToSweep(PointIndex index, SweepIndex sweep_index) {
  Point& p = points[index];
  const auto now_in = SweepsOf(p);
  if (std::binary_search(now_in.begin(), now_in.end(), sweep_index)) {
    return;
  }
  std::vector<SweepIndex> set(now_in.begin(), now_in.end());
  set.insert(std::upper_bound(set.begin(), set.end(), sweep_index), sweep_index);
  p.sweep_set = InternSweeps(std::move(set));
  Sweep& sweep = sweeps[sweep_index];
  ++sweep.counts[static_cast<size_t>(p.state)];
  ++sweep.mark;
  if (p.state == PointState::kPending || p.state == PointState::kRunning) {
    sweep.open_cost_us += CostMicros(p);
  }
  if (p.state == PointState::kPending) {
    Enqueue(sweep, p);
  }
}

void Core::State::SetState(PointIndex index, PointState state) {
  Point& p = points[index];
  const PointState old = p.state;
  const auto open = [](PointState s) { return s == PointState::kPending || s == PointState::kRunning; };
  const int64_t opened = static_cast<int64_t>(open(state)) - static_cast<int64_t>(open(old));
  for (SweepIndex i : SweepsOf(p)) {
    Sweep& sweep = sweeps[i];
    --sweep.counts[static_cast<size_t>(old)];
    ++sweep.counts[static_cast<size_t>(state)];
    sweep.open_cost_us += opened * CostMicros(p);
    if (old == PointState::kPending) {
      Dequeue(sweep, p);
    }
    if (state == PointState::kPending) {
      Enqueue(sweep, p);
    }
  }
  p.state = state;
  if (!open(state)) {
    RemoveTwin(index);
  }
  // The result of a point that had failed came after all: a search that went on without it may find something else.
  const bool after_all = old == PointState::kFailed && state == PointState::kDone;
  if (opened != 0 || after_all) {
    for (SweepIndex i : SweepsOf(p)) {
      if (after_all) {
        Replan(sweeps[i]);
      }
      ++sweeps[i].mark;
      SettleSweep(sweeps[i]);
    }
  }
}

void Core::State::PersistPoint(const Point& p, std::string reason) {
  batch.push_back(PointChanged{p.id, p.state, p.failures, p.lost, std::move(reason)});
}

void Core::State::FailPoint(PointIndex index, const std::string& reason) {
  Point& p = points[index];
  // The record first, so that a sweep stopped or finished by this point is written after it.
  batch.push_back(PointChanged{p.id, PointState::kFailed, p.failures, p.lost, reason});
  Note("point_failed", absl::StrCat("point ", p.id.value()), reason);
  SetState(index, PointState::kFailed);
  for (SweepIndex i : SweepsOf(p)) {
    Sweep& sweep = sweeps[i];
    const int64_t failed = sweep.Count(PointState::kFailed);
    // One whose last point this was is finished by now.
    if (sweep.row.state == SweepState::kRunning && failed >= sweep.row.max_failures) {
      ChangeState(sweep, SweepState::kStopped,
                  absl::StrCat(failed, " points failed (limits.max_failures is ", sweep.row.max_failures,
                               "); the last one, point ", p.id.value(), ": ", reason),
                  "sweep_stopped");
    }
  }
}

bool Core::State::Wanted(const Point& p) const {
  const auto in = SweepsOf(p);
  return std::any_of(in.begin(), in.end(),
                     [this](SweepIndex i) { return sweeps[i].row.state != SweepState::kCancelled; });
}

void Core::State::Requeue(PointIndex index) {
  Point& p = points[index];
  SetState(index, Wanted(p) ? PointState::kPending : PointState::kCancelled);
  PersistPoint(p, "");
}

int64_t Core::State::AllowedFailures(const Point& p) const {
  int64_t allowed = 1;
  for (SweepIndex i : SweepsOf(p)) {
    allowed = std::max(allowed, sweeps[i].row.attempts);
  }
  return allowed;
}

void Core::State::RefreshReady(Sweep& sweep) {
  const bool should = sweep.row.state == SweepState::kRunning && !sweep.groups.empty();
  if (should == sweep.ready) {
    return;
  }
  sweep.ready = should;
  const std::pair<int64_t, SweepIndex> key{-int64_t{sweep.row.priority}, sweep_by_id.at(sweep.row.sweep)};
  if (should) {
    ready.insert(key);
    work_added = true;
  } else {
    ready.erase(key);
  }
  const int64_t sign = should ? 1 : -1;
  ready_cost_us += sign * sweep.pending_cost_us;
  ready_points += sign * sweep.Count(PointState::kPending);
}

namespace {

GroupKey GroupOf(const Point& p) {
  return p.alone ? kAloneGroup : GroupKey{p.shape};
}

}  // namespace

// Enqueue and Dequeue run after the counts of the sweep were changed; while a sweep is `ready` its sums follow here.
void Core::State::Enqueue(Sweep& sweep, const Point& p) {
  const GroupKey key = GroupOf(p);
  const int64_t cost = CostMicros(p);
  Group& group = sweep.groups[key];
  sweep.by_cost.erase({-group.cost_us, key});
  group.points.insert({p.cost_seconds, IndexOf(p)});
  group.cost_us += cost;
  sweep.by_cost.insert({-group.cost_us, key});
  sweep.pending_cost_us += cost;
  if (sweep.ready) {
    ready_cost_us += cost;
    ++ready_points;
    work_added = true;
  } else {
    RefreshReady(sweep);
  }
}

void Core::State::Dequeue(Sweep& sweep, const Point& p) {
  const GroupKey key = GroupOf(p);
  const int64_t cost = CostMicros(p);
  const auto it = sweep.groups.find(key);
  Group& group = it->second;
  sweep.by_cost.erase({-group.cost_us, key});
  group.points.erase({p.cost_seconds, IndexOf(p)});
  group.cost_us -= cost;
  if (group.points.empty()) {
    sweep.groups.erase(it);
  } else {
    sweep.by_cost.insert({-group.cost_us, key});
  }
  sweep.pending_cost_us -= cost;
  if (sweep.ready) {
    ready_cost_us -= cost;
    --ready_points;
    RefreshReady(sweep);
  }
}

}  // namespace capsweep::core
