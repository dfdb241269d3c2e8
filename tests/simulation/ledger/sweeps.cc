// What is to be done: stored sweeps, their points, and the verbs on sweeps.
#include <algorithm>

#include "tests/simulation/ledger/ledger.h"

namespace capsweep::simulation {

using core::PointState;
using core::SweepState;

// ---- what can be counted

Ledger::Point* Ledger::Find(int64_t point) {
  const auto it = points_.find(point);
  return it == points_.end() ? nullptr : &it->second;
}

int64_t Ledger::Count(int64_t sweep, PointState state) const {
  return std::count_if(points_.begin(), points_.end(),
                       [&](const auto& p) { return p.second.sweeps.contains(sweep) && p.second.state == state; });
}

int64_t Ledger::OpenPoints(int64_t sweep) const {
  return Count(sweep, PointState::kPending) + Count(sweep, PointState::kRunning);
}

bool Ledger::Wanted(const Point& point) const {
  return std::any_of(point.sweeps.begin(), point.sweeps.end(),
                     [this](int64_t s) { return sweeps_.at(s).row.state != SweepState::kCancelled; });
}

bool Ledger::InRunningSweep(const Point& point) const {
  return std::any_of(point.sweeps.begin(), point.sweeps.end(),
                     [this](int64_t s) { return sweeps_.at(s).row.state == SweepState::kRunning; });
}

int64_t Ledger::AllowedFailures(const Point& point) const {
  int64_t allowed = 1;
  for (const int64_t sweep : point.sweeps) allowed = std::max(allowed, sweeps_.at(sweep).row.attempts);
  return allowed;
}

// ---- points

void Ledger::WritePoint(const Point& point, const std::string& mentions) {
  Write(EntryOf(core::PointChanged{PointId(point.id), point.state, point.failures, point.lost, mentions}));
}

void Ledger::SetState(Point& point, PointState state) {
  if (point.state == state) return;
  const bool was_open = point.Open();
  const bool after_all = point.state == PointState::kFailed && state == PointState::kDone;
  point.state = state;
  if (!point.Open()) twins_.erase(point.id);
  if (state == PointState::kPending) work_ = work_ || InRunningSweep(point);
  if (was_open == point.Open() && !after_all) return;
  for (const int64_t id : point.sweeps) {
    if (after_all) Replan(sweeps_.at(id));
    sweeps_.at(id).changed = true;
    Settle(sweeps_.at(id));
  }
}

void Ledger::Requeue(Point& point) {
  SetState(point, Wanted(point) ? PointState::kPending : PointState::kCancelled);
  WritePoint(point, "");
}

void Ledger::Fail(Point& point, const std::string& mentions) {
  Write(EntryOf(core::PointChanged{PointId(point.id), PointState::kFailed, point.failures, point.lost, mentions}));
  Note("point_failed", "point " + std::to_string(point.id));
  SetState(point, PointState::kFailed);
  for (const int64_t id : point.sweeps) {
    Sweep& sweep = sweeps_.at(id);
    if (sweep.row.state == SweepState::kRunning && Count(id, PointState::kFailed) >= sweep.row.max_failures) {
      ChangeState(sweep, SweepState::kStopped, mentions, "sweep_stopped");
    }
  }
}

void Ledger::AddTo(Point& point, int64_t sweep) {
  if (!point.sweeps.insert(sweep).second) return;
  sweeps_.at(sweep).changed = true;
}

void Ledger::PutPoint(const core::PointRow& row) {
  const auto [it, is_new] = points_.try_emplace(row.point.value());
  Point& point = it->second;
  if (is_new) {
    point.id = row.point.value();
    point.order = points_.size();
    point.key_prefix = row.key_prefix;
    point.cost = row.cost_seconds;
    point.shape = row.shape;
    point.lanes = row.pack_lanes;
    point.last = row.last_attempt;
    point.reported = row.accepted_attempt;
    point.failures = row.failures;
    point.lost = row.lost;
    point.state = row.state == PointState::kRunning ? PointState::kPending : row.state;
  }
  for (const SweepId sweep : row.sweeps) {
    if (sweeps_.contains(sweep.value())) AddTo(point, sweep.value());
  }
}

// ---- sweeps

Ledger::Sweep& Ledger::PutSweep(const core::SweepRow& row) {
  const auto [it, is_new] = sweeps_.try_emplace(row.sweep.value());
  if (is_new) it->second.order = sweeps_.size();
  return it->second;
}

void Ledger::ChangeState(Sweep& sweep, SweepState state, const std::string& mentions, const char* note) {
  sweep.row.state = state;
  NoteIfWork(sweep);
  Write(EntryOf(core::SweepChanged{sweep.row.sweep, state, mentions}));
  Note(note, sweep.row.name);
}

// Whoever waits for work may get some when a sweep begins to run.
void Ledger::NoteIfWork(const Sweep& sweep) {
  const bool pending = Count(sweep.row.sweep.value(), PointState::kPending) > 0;
  work_ = work_ || (sweep.row.state == SweepState::kRunning && pending);
}

void Ledger::Replan(Sweep& sweep) {
  if (!sweep.row.searches || sweep.row.state == SweepState::kCancelled) return;
  sweep.planning = true;
  sweep.changed = true;
}

void Ledger::Settle(Sweep& sweep) {
  const bool over = OpenPoints(sweep.row.sweep.value()) == 0 && !sweep.planning;
  const SweepState state = sweep.row.state;
  if (over && (state == SweepState::kRunning || state == SweepState::kPaused)) {
    ChangeState(sweep, SweepState::kFinished, "", "sweep_finished");
  } else if (!over && state == SweepState::kFinished) {
    Replan(sweep);
    ChangeState(sweep, SweepState::kRunning, "", "sweep_reopened");
  }
}

void Ledger::On(const core::Recovered& event) {
  for (const core::SweepRow& row : event.sweeps) PutSweep(row).row = row;
  for (const core::PointRow& row : event.points) PutPoint(row);
  for (const core::RunningAttempt& attempt : event.running) Recover(attempt);
  for (auto& [id, sweep] : sweeps_) {
    if (sweep.row.state != SweepState::kFinished) Replan(sweep);
  }
  for (auto& [id, point] : points_) {
    const bool waits = point.state == PointState::kPending, cancelled = point.state == PointState::kCancelled;
    if (Wanted(point) ? cancelled : waits) Requeue(point);
  }
  for (auto& [id, sweep] : sweeps_) Settle(sweep);
}

void Ledger::Recover(const core::RunningAttempt& attempt) {
  Point* const point = Find(attempt.id.point.value());
  if (point == nullptr) return;
  const int32_t number = attempt.id.attempt.value();
  Worker* worker = FindWorker(attempt.worker);
  const bool fits = point->state == PointState::kPending && number >= point->last &&
                    (worker == nullptr || worker->incarnation == attempt.incarnation);
  point->last = std::max(point->last, number);
  if (!fits) {
    Write(EntryOf(
        core::AttemptEnded{attempt.id, core::AttemptOutcome::kLost, "", "not the point's current attempt", {}}));
    return;
  }
  if (worker == nullptr) {
    worker = &AddWorker(attempt.worker);
    worker->incarnation = attempt.incarnation;
    worker->lease_end = now_ + options_.recovery_grace;
  }
  Lease lease;
  lease.number = number;
  lease.worker = worker;
  lease.device = PutDevice(*worker, attempt.device);
  lease.started = lease.listed = now_;
  lease.recovered = true;
  leases_[point->id] = lease;
  SetState(*point, PointState::kRunning);
}

void Ledger::On(const core::SweepStored& event) {
  const int64_t id = event.sweep.sweep.value();
  const bool known = sweeps_.contains(id);
  Sweep& sweep = PutSweep(event.sweep);
  const SweepState state = known ? sweep.row.state : event.sweep.state;
  sweep.row = event.sweep;
  sweep.row.state = state;
  for (const core::PointRow& row : event.points) {
    PutPoint(row);
    Point& point = *Find(row.point.value());
    AddTo(point, id);
    if (point.state == PointState::kCancelled && state != SweepState::kCancelled) Requeue(point);
  }
  NoteIfWork(sweep);
  if (event.plans) Replan(sweep);
  if (sweep.row.state == SweepState::kCancelled) Cancel(id);
  Settle(sweep);
  Note(known ? "sweep_extended" : "sweep_stored", sweep.row.name);
}

void Ledger::On(const core::SweepPlanned& event) {
  const auto it = sweeps_.find(event.sweep.value());
  if (it == sweeps_.end()) return;
  Sweep& sweep = it->second;
  if (!event.error.empty()) {
    if (sweep.row.state == SweepState::kRunning && sweep.planning) {
      ChangeState(sweep, SweepState::kStopped, event.error, "sweep_stopped");
    }
    return;
  }
  sweep.cells = event.cells;
  sweep.settled = event.settled;
  if (!event.complete || sweep.changed || event.mark != sweep.mark) return;
  sweep.planning = false;
  Settle(sweep);
}

// ---- verbs

int64_t Ledger::Cancel(int64_t sweep) {
  int64_t affected = 0;
  for (auto& [id, point] : points_) {
    if (!point.Open() || !point.sweeps.contains(sweep) || Wanted(point)) continue;
    if (leases_.contains(id)) End(id, core::AttemptOutcome::kDropped, "", "sweep cancelled");
    SetState(point, PointState::kCancelled);
    WritePoint(point, "");
    ++affected;
  }
  return affected;
}

int64_t Ledger::Retry(int64_t sweep) {
  int64_t affected = 0;
  for (auto& [id, point] : points_) {
    if (point.state != PointState::kFailed || !point.sweeps.contains(sweep)) continue;
    point.failures = point.lost = 0;
    point.alone = false;
    SetState(point, PointState::kPending);
    WritePoint(point, "");
    ++affected;
  }
  return affected;
}

void Ledger::On(const core::ChangeSweep& event) {
  using absl::StatusCode;
  const auto it = sweeps_.find(event.sweep.value());
  if (it == sweeps_.end()) return SayToUser(event.token, StatusCode::kNotFound, 0);
  if (unwritable_) return SayToUser(event.token, StatusCode::kUnavailable, 0);
  Sweep& sweep = it->second;
  const SweepState state = sweep.row.state;
  const bool finished = state == SweepState::kFinished, cancelled = state == SweepState::kCancelled;
  int64_t affected = 0;
  switch (event.verb) {
    case core::SweepVerb::kPause:
      if (state != SweepState::kRunning && state != SweepState::kPaused) {
        return SayToUser(event.token, StatusCode::kFailedPrecondition, 0);
      }
      if (state == SweepState::kPaused) break;
      affected = Count(it->first, PointState::kPending);
      ChangeState(sweep, SweepState::kPaused, "operator", "sweep_paused");
      break;
    case core::SweepVerb::kResume:
      if (cancelled || finished) return SayToUser(event.token, StatusCode::kFailedPrecondition, 0);
      if (state == SweepState::kRunning) break;
      affected = Count(it->first, PointState::kPending);
      ChangeState(sweep, SweepState::kRunning, "", "sweep_resumed");
      Settle(sweep);
      break;
    case core::SweepVerb::kCancel:
      if (finished) return SayToUser(event.token, StatusCode::kFailedPrecondition, 0);
      if (cancelled) break;
      ChangeState(sweep, SweepState::kCancelled, "operator", "sweep_cancelled");
      sweep.planning = false;
      affected = Cancel(it->first);
      break;
    case core::SweepVerb::kRetryFailed:
      if (cancelled) return SayToUser(event.token, StatusCode::kFailedPrecondition, 0);
      affected = Retry(it->first);
      if (affected > 0) {
        Replan(sweep);
        Note("sweep_retried", sweep.row.name);
      }
      if (state == SweepState::kStopped) {
        ChangeState(sweep, SweepState::kRunning, "", "sweep_resumed");
        Settle(sweep);
      }
      break;
  }
  SayToUser(event.token, StatusCode::kOk, affected);
}

}  // namespace capsweep::simulation
