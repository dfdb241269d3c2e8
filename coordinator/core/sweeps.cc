// What is to be done: recovery from the store, stored and extended sweeps, and the verbs on sweeps.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

void Core::State::On(const Recovered& event) {
  for (const SweepRow& row : event.sweeps) {
    PutSweep(row);
  }
  points.reserve(event.points.size());
  point_by_id.reserve(event.points.size());
  for (const PointRow& row : event.points) {
    PutPoint(row);
  }
  for (const RunningAttempt& attempt : event.running) {
    RecoverAttempt(attempt);
  }
  for (Sweep& sweep : sweeps) {
    if (sweep.row.state != SweepState::kFinished) {
      Replan(sweep);  // whether its planner had spoken is not stored; it says the same again
    }
  }
  // A sweep that was stored or extended, and another that was cancelled before the last process heard of the first.
  for (PointIndex i = 0; i < points.size(); ++i) {
    const Point& p = points[i];
    if ((p.state == PointState::kPending && !SweepsOf(p).empty() && !Wanted(p)) ||
        (p.state == PointState::kCancelled && Wanted(p))) {
      Requeue(i);
    }
  }
  for (Sweep& sweep : sweeps) {
    SettleSweep(sweep);
  }
}

void Core::State::Replan(Sweep& sweep) {
  if (sweep.row.searches && sweep.row.state != SweepState::kCancelled) {
    sweep.planning = true;
    ++sweep.mark;
  }
}

void Core::State::On(const SweepPlanned& event) {
  const auto found = sweep_by_id.find(event.sweep);
  if (found == sweep_by_id.end()) {
    return;
  }
  Sweep& sweep = sweeps[found->second];
  if (!event.error.empty()) {
    if (sweep.row.state == SweepState::kRunning && sweep.planning) {
      ChangeState(sweep, SweepState::kStopped, absl::StrCat("the search cannot go on: ", event.error), "sweep_stopped");
    }
    return;
  }
  sweep.cells = event.cells;
  sweep.cells_settled = event.settled;
  if (event.complete && event.mark == sweep.mark) {
    sweep.planning = false;
    SettleSweep(sweep);
  }
}

void Core::State::On(const SweepStored& event) {
  const bool known = sweep_by_id.contains(event.sweep.sweep);
  const SweepIndex index = PutSweep(event.sweep);
  points.reserve(points.size() + event.points.size());
  point_by_id.reserve(points.size() + event.points.size());
  for (const PointRow& row : event.points) {
    PutPoint(row);
    const PointIndex p = point_by_id.at(row.point.value());
    AddToSweep(p, index);
    if (points[p].state == PointState::kCancelled && sweeps[index].row.state != SweepState::kCancelled) {
      Requeue(p);  // cancelled for others; this sweep wants it
    }
  }
  Sweep& sweep = sweeps[index];
  if (event.plans) {
    Replan(sweep);
  }
  if (sweep.row.state == SweepState::kCancelled) {
    CancelSweep(index);  // extending does not bring a cancelled sweep back
  }
  SettleSweep(sweep);
  int64_t total = 0;
  for (int64_t n : sweep.counts) {
    total += n;
  }
  Note(known ? "sweep_extended" : "sweep_stored", sweep.row.name,
       absl::StrCat(total, " points, ", sweep.Open(), " to do", sweep.planning ? ", more may come" : ""));
}

// What the core knows of a sweep's state is newer than any row: the row may have been read before a batch was written.
SweepIndex Core::State::PutSweep(const SweepRow& row) {
  const auto [it, inserted] = sweep_by_id.try_emplace(row.sweep, static_cast<SweepIndex>(sweeps.size()));
  if (inserted) {
    sweeps.emplace_back().row = row;
    return it->second;
  }
  Sweep& sweep = sweeps[it->second];
  const SweepState state = sweep.row.state;
  sweep.row.state = SweepState::kPaused;  // leaves `ready` before the key of that order, its priority, changes
  RefreshReady(sweep);
  sweep.row = row;
  sweep.row.state = state;
  RefreshReady(sweep);
  return it->second;
}

void Core::State::PutPoint(const PointRow& row) {
  const auto [it, inserted] = point_by_id.try_emplace(row.point.value(), static_cast<PointIndex>(points.size()));
  if (inserted) {
    Point& p = points.emplace_back();
    p.id = row.point;
    p.key_prefix = row.key_prefix;
    p.cost_seconds = row.cost_seconds > 0 ? row.cost_seconds : 0;  // also turns NaN into 0
    p.shape = row.shape;
    p.pack_lanes = std::max<uint8_t>(row.pack_lanes, 1);
    p.sweep_set = InternSweeps({});
    p.last_attempt = row.last_attempt;
    p.reported = row.accepted_attempt;
    p.failures = row.failures;
    p.lost = row.lost;
    // Running is what has a lease; Recovered names those apart.
    p.state = row.state == PointState::kRunning ? PointState::kPending : row.state;
  }
  for (SweepId sweep : row.sweeps) {
    if (const auto found = sweep_by_id.find(sweep); found != sweep_by_id.end()) {
      AddToSweep(it->second, found->second);
    }
  }
}

void Core::State::RecoverAttempt(const RunningAttempt& attempt) {
  Point* p = FindPoint(attempt.id.point);
  if (p == nullptr) {
    return;
  }
  p->last_attempt = std::max(p->last_attempt, attempt.id.attempt.value());
  Worker* worker = FindWorker(attempt.worker);
  const bool fits = p->state == PointState::kPending && attempt.id.attempt.value() == p->last_attempt &&
                    (worker == nullptr || worker->incarnation == attempt.incarnation);
  if (!fits) {
    batch.push_back(AttemptEnded{attempt.id, AttemptOutcome::kLost, "", "not the point's current attempt"});
    return;
  }
  if (worker == nullptr) {
    worker = &AddWorker(attempt.worker);
    worker->incarnation = attempt.incarnation;
    Renew(*worker, options.recovery_grace);
  }
  const PointIndex index = IndexOf(*p);
  PutDevice(*worker, attempt.device);
  uint32_t device = 0;
  while (worker->devices[device].name != attempt.device) {
    ++device;
  }
  leases[index] = {.number = attempt.id.attempt,
                   .worker = worker->index,
                   .device = device,
                   .ticket = 0,
                   .started = now,
                   .listed = now,
                   .progress = 0,
                   .recovered = true};
  worker->held.insert(index);
  SetState(index, PointState::kRunning);
}

void Core::State::ChangeState(Sweep& sweep, SweepState state, std::string reason, const char* audit) {
  sweep.row.state = state;
  sweep.reason = reason;
  RefreshReady(sweep);
  batch.push_back(SweepChanged{sweep.row.sweep, state, reason});
  Note(audit, sweep.row.name, std::move(reason));
}

void Core::State::SettleSweep(Sweep& sweep) {
  const SweepState state = sweep.row.state;
  const bool over = sweep.Open() == 0 && !sweep.planning;
  if (over && (state == SweepState::kRunning || state == SweepState::kPaused)) {
    ChangeState(sweep, SweepState::kFinished, "", "sweep_finished");
  } else if (!over && state == SweepState::kFinished) {
    Replan(sweep);  // what was found may change
    ChangeState(sweep, SweepState::kRunning, "", "sweep_reopened");
  }
}

// Settles points; afterwards each is cancelled, unless another sweep that is not cancelled wants it.
int64_t Core::State::CancelSweep(SweepIndex index) {
  int64_t affected = 0;
  for (PointIndex i = 0; i < points.size(); ++i) {
    const Point& p = points[i];
    const auto in = SweepsOf(p);
    const bool open = p.state == PointState::kPending || p.state == PointState::kRunning;
    if (!open || !std::binary_search(in.begin(), in.end(), index) || Wanted(p)) {
      continue;
    }
    if (p.state == PointState::kRunning) {
      EndLease(i, AttemptOutcome::kDropped, "", "sweep cancelled");
    }
    SetState(i, PointState::kCancelled);
    PersistPoint(p, "");
    ++affected;
  }
  return affected;
}

int64_t Core::State::RetryFailed(SweepIndex index) {
  int64_t affected = 0;
  for (PointIndex i = 0; i < points.size(); ++i) {
    Point& p = points[i];
    const auto in = SweepsOf(p);
    if (p.state != PointState::kFailed || !std::binary_search(in.begin(), in.end(), index)) {
      continue;
    }
    p.failures = 0;
    p.lost = 0;
    p.alone = false;
    SetState(i, PointState::kPending);
    PersistPoint(p, "");
    ++affected;
  }
  return affected;
}

void Core::State::On(const ChangeSweep& event) {
  const auto found = sweep_by_id.find(event.sweep);
  if (found == sweep_by_id.end()) {
    ReplyAdmin(event.token, absl::NotFoundError(absl::StrCat("there is no sweep with id ", event.sweep.value())), 0,
               false);
    return;
  }
  Sweep& sweep = sweeps[found->second];
  const SweepState state = sweep.row.state;
  const auto refuse = [&](const char* why) {
    ReplyAdmin(event.token,
               absl::FailedPreconditionError(absl::StrCat("sweep ", sweep.row.name, " is ", Word(state), ": ", why)), 0,
               false);
  };
  if (unwritable) {
    ReplyAdmin(event.token,
               absl::UnavailableError(absl::StrCat("the database cannot be written (", *unwritable,
                                                   "); nothing was changed, try again when it can")),
               0, false);
    return;
  }
  int64_t affected = 0;
  switch (event.verb) {
    case SweepVerb::kPause:
      if (state != SweepState::kRunning && state != SweepState::kPaused) {
        return refuse("only a running sweep can be paused");
      }
      if (state == SweepState::kRunning) {
        affected = sweep.Count(PointState::kPending);
        ChangeState(sweep, SweepState::kPaused, "paused by an operator", "sweep_paused");
      }
      break;
    case SweepVerb::kResume:
      if (state == SweepState::kCancelled || state == SweepState::kFinished) {
        return refuse("there is nothing to resume; submit or extend a sweep, or retry its failed points");
      }
      if (state != SweepState::kRunning) {
        affected = sweep.Count(PointState::kPending);
        ChangeState(sweep, SweepState::kRunning, "", "sweep_resumed");
        SettleSweep(sweep);
      }
      break;
    case SweepVerb::kCancel:
      if (state == SweepState::kFinished) {
        return refuse("all its points are settled");
      }
      if (state != SweepState::kCancelled) {
        ChangeState(sweep, SweepState::kCancelled, "cancelled by an operator", "sweep_cancelled");
        sweep.planning = false;
        affected = CancelSweep(found->second);
      }
      break;
    case SweepVerb::kRetryFailed:
      if (state == SweepState::kCancelled) {
        return refuse("submit its points under a new name to run them");
      }
      affected = RetryFailed(found->second);
      if (affected > 0) {
        Replan(sweep);
        Note("sweep_retried", sweep.row.name, absl::StrCat(affected, " failed points are pending again"));
      }
      if (state == SweepState::kStopped) {
        ChangeState(sweep, SweepState::kRunning, "", "sweep_resumed");
        SettleSweep(sweep);
      }
      break;
  }
  ReplyAdmin(event.token, absl::OkStatus(), affected, true);
}

}  // namespace capsweep::core
