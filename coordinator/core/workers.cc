// Workers and their leases: registration, renewal, expiry, loss, and the verbs on workers.
#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

// Whether the row says anything new; `held` is never in it.
bool SameRow(const WorkerChanged& a, const WorkerChanged& b) {
  const auto same_device = [](const DeviceReport& x, const DeviceReport& y) {
    return x.name == y.name && x.kind == y.kind && x.memory_bytes == y.memory_bytes && x.slots == y.slots &&
           x.ready == y.ready && x.reason == y.reason;
  };
  return a.incarnation == b.incarnation && a.host == b.host && a.version == b.version && a.state == b.state &&
         a.reason == b.reason &&
         std::equal(a.devices.begin(), a.devices.end(), b.devices.begin(), b.devices.end(), same_device);
}

}  // namespace

Worker* Core::State::FindWorker(const WorkerId& id) {
  const auto it = workers.find(id.value());
  return it == workers.end() ? nullptr : it->second.get();
}

// The caller gives it its lease, with Renew.
Worker& Core::State::AddWorker(const WorkerId& id) {
  auto made = std::make_unique<Worker>();
  Worker& worker = *made;
  worker.index = next_worker++;
  worker.id = id;
  worker.last_seen = now;
  worker_by_index[worker.index] = &worker;
  workers[id.value()] = std::move(made);
  return worker;
}

// Finds or makes the record of the worker that calls, and notes what kind of call it is: its first, the first of a new
// start, or one after its lease ran out. What an old start held is not touched here: its spooled results come first.
Worker& Core::State::Register(const WorkerSync& sync) {
  Worker* worker = FindWorker(sync.worker);
  if (worker == nullptr) {
    worker = &AddWorker(sync.worker);
    worker->incarnation = sync.incarnation;
  }
  if (worker->incarnation != sync.incarnation) {
    worker->incarnation = sync.incarnation;
    worker->drain = false;
    worker->stop = false;
    Note("worker_restarted", sync.worker.value(), absl::StrCat("a new start on ", sync.host));
  } else if (!worker->heard) {
    Note("worker_registered", sync.worker.value(), absl::StrCat("on ", sync.host, ", version ", sync.version));
  } else if (worker->lost && !sync.leaving) {
    Note("worker_back", sync.worker.value(), "heard again after its lease ran out");
  }
  worker->heard = true;
  worker->lost = false;
  worker->left = false;
  worker->sequence = sync.sequence;
  worker->last_seen = now;
  worker->host = sync.host;
  worker->version = sync.version;
  worker->draining = sync.draining;
  worker->allocation_end.reset();
  if (sync.remaining_seconds > 0) {
    // Cut: a century is as good as no limit, and keeps the clock's integer from overflowing.
    worker->allocation_end = now + FromSeconds(std::min(sync.remaining_seconds, 3e9));
  }
  Renew(*worker, options.lease);
  return *worker;
}

void Core::State::Renew(Worker& worker, Duration lease) {
  lease_ends.erase({worker.lease_end, worker.index});
  worker.lease_end = now + lease;
  lease_ends.insert({worker.lease_end, worker.index});
}

void Core::State::Forget(Worker& worker) {
  lease_ends.erase({worker.lease_end, worker.index});
  worker_by_index.erase(worker.index);
  workers.erase(std::string(worker.id.value()));
}

void Core::State::ExpireLeases() {
  while (!lease_ends.empty() && lease_ends.begin()->first <= now) {
    Worker& worker = *worker_by_index.at(lease_ends.begin()->second);
    if (worker.lost) {
      Forget(worker);
    } else if (worker.waiting > 0) {
      Renew(worker, options.lease);  // it waits for an answer that the store still holds up
    } else {
      LoseWorker(worker);
    }
  }
}

void Core::State::LoseWorker(Worker& worker) {
  const std::string silent =
      worker.heard ? absl::StrCat("not heard for ", static_cast<int64_t>(ToSeconds(now - worker.last_seen)), " s")
                   : "not heard since the coordinator started";
  const int64_t attempts = LoseAll(worker, /*counts=*/true, silent);
  worker.lost = true;
  Note("worker_lost", worker.id.value(), absl::StrCat(silent, "; ", attempts, " attempts lost"));
  Renew(worker, options.lost_worker_kept);
  CountSlots(worker);
  PersistWorker(worker);
}

int64_t Core::State::LoseAll(Worker& worker, bool counts, const std::string& why) {
  const std::vector<PointIndex> held(worker.held.begin(), worker.held.end());
  for (PointIndex index : held) {
    LoseAttempt(index, counts, why);
  }
  for (PointIndex index : std::vector<PointIndex>(worker.twins.begin(), worker.twins.end())) {
    RemoveTwin(index);
  }
  return static_cast<int64_t>(held.size());
}

// Leaves the point running without a lease: the caller changes its state next.
void Core::State::RemoveLease(PointIndex index) {
  const auto it = leases.find(index);
  worker_by_index.at(it->second.worker)->held.erase(index);
  leases.erase(it);
}

void Core::State::EndLease(PointIndex index, AttemptOutcome outcome, std::string cause, std::string message) {
  batch.push_back(
      AttemptEnded{{points[index].id, leases.at(index).number}, outcome, std::move(cause), std::move(message)});
  RemoveLease(index);
}

// Takes back what the device holds; nobody is to blame.
void Core::State::FreeDevice(Worker& worker, const Device& device, const std::string& why) {
  const std::vector<PointIndex> held(worker.held.begin(), worker.held.end());
  for (PointIndex index : held) {
    if (&worker.devices[leases.at(index).device] == &device) {
      EndLease(index, AttemptOutcome::kDropped, "", why);
      Requeue(index);
    }
  }
}

// Said goodbye: what it still holds is free at once, and nobody is to blame. The record stays for a while, so that a
// delayed older call does not make it a worker again.
void Core::State::Leave(Worker& worker) {
  const std::vector<PointIndex> held(worker.held.begin(), worker.held.end());
  for (PointIndex index : held) {
    EndLease(index, AttemptOutcome::kHandedBack, "", "its worker left");
    Requeue(index);
  }
  for (PointIndex index : std::vector<PointIndex>(worker.twins.begin(), worker.twins.end())) {
    RemoveTwin(index);
  }
  if (!worker.left) {
    Note("worker_left", worker.id.value(), absl::StrCat("gave up ", held.size(), " attempts"));
  }
  worker.lost = true;
  worker.left = true;
  Renew(worker, options.lost_worker_kept);
}

void Core::State::LoseAttempt(PointIndex index, bool counts, const std::string& why) {
  Point& p = points[index];
  const Lease& lease = leases.at(index);
  // An attempt of the last process that nobody confirmed says nothing about the point: the coordinator itself ended.
  counts = counts && !lease.recovered;
  EndLease(index, AttemptOutcome::kLost, "", why);
  if (counts && p.lost < UINT16_MAX) {
    ++p.lost;
  }
  if (counts && p.lost > options.lost_limit) {
    FailPoint(index, absl::StrCat("its worker was lost ", p.lost, " times; the last time: ", why));
  } else {
    Requeue(index);
  }
}

Device* Core::State::FindDevice(Worker& worker, const std::string& name) {
  for (Device& d : worker.devices) {
    if (d.name == name) {
      return &d;
    }
  }
  return nullptr;
}

Device& Core::State::PutDevice(Worker& worker, const std::string& name) {
  if (Device* found = FindDevice(worker, name)) {
    return *found;
  }
  worker.devices.emplace_back().name = name;
  return worker.devices.back();
}

WorkerState Core::State::StateOf(const Worker& worker) const {
  if (worker.lost || !worker.heard) {
    return WorkerState::kLost;
  }
  if (DrainsOrStops(worker)) {
    return WorkerState::kDraining;
  }
  bool any = false, all_quarantined = true;
  for (const Device& d : worker.devices) {
    any = any || d.present;
    all_quarantined = all_quarantined && (!d.present || !d.quarantine.empty());
  }
  if (any && all_quarantined) {
    return WorkerState::kQuarantined;
  }
  return worker.held.empty() && worker.twins.empty() ? WorkerState::kIdle : WorkerState::kBusy;
}

void Core::State::PersistWorker(Worker& worker) {
  WorkerChanged row{.worker = worker.id,
                    .incarnation = worker.incarnation,
                    .host = worker.host,
                    .version = worker.version,
                    .state = StateOf(worker),
                    .reason = "",
                    .devices = {}};
  if (worker.left) {
    row.reason = "left";
  } else if (worker.lost) {
    row.reason = "not heard any more";
  } else if (worker.stop) {
    row.reason = "removed by an operator";
  } else if (worker.drain) {
    row.reason = "drained by an operator";
  }
  for (const Device& d : worker.devices) {
    if (!d.quarantine.empty()) {
      row.reason = row.state == WorkerState::kQuarantined ? d.quarantine : row.reason;
    }
    if (d.present) {
      row.devices.push_back({.name = d.name,
                             .kind = d.kind,
                             .memory_bytes = d.memory_bytes,
                             .slots = d.slots,
                             .ready = d.ready && d.quarantine.empty(),
                             .reason = d.quarantine.empty() ? d.reason : d.quarantine,
                             .held = {}});
    }
  }
  if (worker.persisted.worker == worker.id && SameRow(row, worker.persisted)) {
    return;
  }
  worker.persisted = row;
  batch.push_back(std::move(row));
}

void Core::State::CountSlots(Worker& worker) {
  const bool available = worker.heard && !worker.lost && !DrainsOrStops(worker);
  for (Device& d : worker.devices) {
    const int32_t counts = available && d.present && d.ready && d.quarantine.empty() ? d.slots : 0;
    if (counts != d.counted_slots) {
      kinds[d.kind].slots += counts - d.counted_slots;
      d.counted_slots = counts;
    }
  }
}

void Core::State::On(const ChangeWorker& event) {
  Worker* worker = FindWorker(event.worker);
  if (worker == nullptr || worker->left) {
    ReplyAdmin(event.token,
               absl::NotFoundError(absl::StrCat("there is no worker ", event.worker.value(),
                                                "; `capsweep workers` lists those connected")),
               0, false);
    return;
  }
  if (unwritable) {
    ReplyAdmin(event.token,
               absl::UnavailableError(absl::StrCat("the database cannot be written (", *unwritable,
                                                   "); nothing was changed, try again when it can")),
               0, false);
    return;
  }
  const int64_t held = static_cast<int64_t>(worker->held.size());
  if (event.verb == WorkerVerb::kDrain) {
    worker->drain = true;
    Note("worker_drained", event.worker.value(), "by an operator");
  } else {
    // A live worker is told to hand back what it holds, with its checkpoints; its attempts end by that or by its lease.
    worker->stop = true;
    Note("worker_removed", event.worker.value(), "by an operator");
  }
  CountSlots(*worker);
  PersistWorker(*worker);
  if (worker->parked) {
    Unpark(*worker, options.sync_interval);
  }
  if (worker->lost && event.verb == WorkerVerb::kRemove) {
    Forget(*worker);
  }
  ReplyAdmin(event.token, absl::OkStatus(), held, true);
}

}  // namespace capsweep::core
