// Dispatch of events and the law "persist, then reply": handlers collect row changes and replies, Finish() turns them
// into effects in the one order that is safe.
#include "coordinator/core/core.h"

#include <algorithm>
#include <utility>

#include "coordinator/core/state.h"

namespace capsweep::core {

Core::Core(Options options) : state_(std::make_unique<State>(options)) {}
Core::~Core() = default;

Effects Core::Apply(const Event& event, Instant now) {
  State& s = *state_;
  s.now = now;
  std::visit([&s](const auto& e) { s.On(e); }, event);
  if (s.work_added) {
    s.Dispatch();
  }
  return s.Finish();
}

Effects Core::State::Finish() {
  Effects effects = std::exchange(released, {});
  if (!batch.empty()) {
    effects.push_back(Persist{++last_ticket, std::exchange(batch, {})});
  }
  for (Waiting& w : replies) {
    if (w.ticket == 0 || last_ticket == committed) {
      effects.push_back(std::move(w.reply));
      continue;
    }
    // Everything told so far may rest on any earlier batch (a duplicate on the batch of the original, say), so a reply
    // waits for the latest one.
    w.ticket = last_ticket;
    if (w.worker && worker_by_index.contains(*w.worker)) {
      ++worker_by_index.at(*w.worker)->waiting;
    }
    waiting.push_back(std::move(w));
  }
  replies.clear();
  work_added = false;
  return effects;
}

void Core::State::Reply(Worker* worker, SyncReply reply) {
  const bool depends = !reply.assignments.empty() || !reply.drop.empty() || !reply.acknowledged.empty();
  Waiting w{.ticket = depends ? NextTicket() : 0, .worker = {}, .reply = std::move(reply)};
  if (worker != nullptr) {
    w.worker = worker->index;
  }
  replies.push_back(std::move(w));
}

void Core::State::ReplyAdmin(Token token, absl::Status status, int64_t affected, bool depends) {
  replies.push_back({.ticket = depends ? NextTicket() : 0,
                     .worker = {},
                     .reply = AdminReply{.token = token, .status = std::move(status), .points_affected = affected}});
}

void Core::State::Note(std::string kind, std::string subject, std::string message) {
  batch.push_back(Audit{std::move(kind), std::move(subject), std::move(message)});
}

void Core::State::On(const SyncAbandoned& event) {
  for (const auto& [deadline, index] : parked) {
    Worker& worker = *worker_by_index.at(index);
    if (worker.parked->token == event.token) {
      worker.parked.reset();
      parked.erase({deadline, index});
      return;
    }
  }
  for (auto it = waiting.begin(); it != waiting.end(); ++it) {
    const auto* reply = std::get_if<SyncReply>(&it->reply);
    if (reply == nullptr || reply->token != event.token) {
      continue;
    }
    // Only replies that say something wait, and these have a worker.
    if (auto found = worker_by_index.find(*it->worker); found != worker_by_index.end()) {
      --found->second->waiting;
    }
    waiting.erase(it);
    return;
  }
}

void Core::State::On(const Tick&) {
  while (!parked.empty() && parked.begin()->first <= now) {
    // It waited long enough already; the next call may come at once and be held again.
    Unpark(*worker_by_index.at(parked.begin()->second), Duration::zero());
  }
  ExpireLeases();
}

void Core::State::On(const StoreCommitted& event) {
  committed = std::max(committed, std::min(event.ticket, last_ticket));
  while (!waiting.empty() && waiting.front().ticket <= committed) {
    Waiting w = std::move(waiting.front());
    waiting.pop_front();
    if (w.worker) {
      if (auto found = worker_by_index.find(*w.worker); found != worker_by_index.end()) {
        Worker& worker = *found->second;
        --worker.waiting;
        if (!worker.lost) {
          Renew(worker, options.lease);  // it could not call before it had this answer
        }
      }
    }
    released.push_back(std::move(w.reply));
  }
  while (!uncommitted.empty() && uncommitted.front().first <= committed) {
    --sweeps[uncommitted.front().second].uncommitted;
    uncommitted.pop_front();
  }
  On(StoreWritable{});
}

void Core::State::On(const StoreUnwritable& event) {
  unwritable = event.reason;
}

void Core::State::On(const StoreWritable&) {
  if (unwritable) {
    unwritable.reset();
    work_added = true;  // what was held back may go out now
  }
}

std::vector<SweepCounts> Core::Sweeps(Instant now) const {
  const State& s = *state_;
  const double speed = s.Speed();
  std::vector<SweepCounts> out;
  for (const Sweep& sweep : s.sweeps) {
    SweepCounts c;
    c.sweep = sweep.row.sweep;
    c.name = sweep.row.name;
    c.state = sweep.row.state;
    c.reason = sweep.reason;
    if (c.state == SweepState::kFinished && sweep.uncommitted > 0) {
      c.state = SweepState::kRunning;
    }
    for (int64_t n : sweep.counts) {
      c.points += n;
    }
    c.pending = sweep.Count(PointState::kPending);
    c.running = sweep.Count(PointState::kRunning) + sweep.uncommitted;
    c.done = sweep.Count(PointState::kDone) - sweep.uncommitted;
    c.failed = sweep.Count(PointState::kFailed);
    c.cancelled = sweep.Count(PointState::kCancelled);
    c.rate_per_second = sweep.rate.PerSecond(now);
    c.planning = sweep.planning;
    c.cells = sweep.cells;
    c.cells_settled = sweep.cells_settled;
    if (sweep.planning) {
      c.eta_seconds = -1;  // nobody knows how many points are to come
    } else if (sweep.Open() == 0) {
      c.eta_seconds = 0;
    } else if (sweep.row.state == SweepState::kRunning && speed > 0) {
      // Sweeps that go first use the same devices.
      int64_t cost_us = sweep.open_cost_us;
      for (const Sweep& other : s.sweeps) {
        if (other.row.state == SweepState::kRunning && other.row.priority > sweep.row.priority) {
          cost_us += other.open_cost_us;
        }
      }
      c.eta_seconds = static_cast<double>(cost_us) * 1e-6 / speed;
    }
    out.push_back(std::move(c));
  }
  return out;
}

std::vector<Searching> Core::SearchingSweeps() const {
  std::vector<Searching> out;
  for (const Sweep& sweep : state_->sweeps) {
    if (sweep.planning && sweep.row.state == SweepState::kRunning) {
      out.push_back({sweep.row.sweep, sweep.mark});
    }
  }
  return out;
}

int64_t Core::Slots() const {
  int64_t slots = 0;
  for (const auto& [name, kind] : state_->kinds) {
    slots += kind.slots;
  }
  return slots;
}

double Core::EstimateWallSeconds(double cost_seconds) const {
  const double speed = state_->Speed();
  return speed > 0 ? cost_seconds / speed : -1;
}

}  // namespace capsweep::core
