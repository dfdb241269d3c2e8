// The one worker call: the worker states what is, the reply states what should be.
#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

absl::Status Core::State::Admit(const WorkerSync& sync) const {
  if (sync.worker.value().empty() || sync.incarnation.value().empty()) {
    return absl::InvalidArgumentError("worker_id and incarnation must not be empty");
  }
  absl::flat_hash_set<std::string_view> names;
  for (const DeviceReport& d : sync.devices) {
    if (d.slots < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("device ", d.name, ": slots is ", d.slots, ", must be at least 1"));
    }
    if (!names.insert(d.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("device ", d.name, " is listed twice"));
    }
  }
  const auto it = workers.find(sync.worker.value());
  if (it == workers.end()) {
    return absl::OkStatus();
  }
  const Worker& worker = *it->second;
  // Later starts have later names: so a call of an old start that was under way for long cannot replace the live one,
  // whatever this process has seen of either.
  if (sync.incarnation < worker.incarnation) {
    return absl::AlreadyExistsError(
        absl::StrCat("worker ", sync.worker.value(), " was replaced by a newer start; give each agent its own name"));
  }
  if (worker.heard && worker.incarnation == sync.incarnation && sync.sequence <= worker.sequence) {
    return absl::FailedPreconditionError(absl::StrCat("call ", sync.sequence, " of worker ", sync.worker.value(),
                                                      " is not newer than call ", worker.sequence));
  }
  return absl::OkStatus();
}

void Core::State::On(const WorkerSync& sync) {
  SyncReply reply;
  reply.token = sync.token;
  reply.sequence = sync.sequence;
  reply.status = Admit(sync);
  if (!reply.status.ok()) {
    Reply(nullptr, std::move(reply));
    return;
  }
  const Worker* before = FindWorker(sync.worker);
  const bool restarted = before != nullptr && before->incarnation != sync.incarnation;
  Worker& worker = Register(sync);
  if (worker.parked) {
    Unpark(worker, Duration::zero());
  }
  // Reports before losses: what a dead start has spooled still counts.
  TakeReports(worker, sync, reply.acknowledged);
  if (restarted) {
    LoseAll(worker, /*counts=*/true, "its worker was started anew");
    for (Device& d : worker.devices) {
      d.quarantine.clear();
      d.failed_in_a_row.clear();
    }
  }
  TakeDevices(worker, sync);
  if (sync.leaving) {
    Leave(worker);
  } else {
    CompareHeld(worker, sync, reply);
    Resend(worker, reply);
  }
  CountSlots(worker);
  Fill(worker, reply.assignments);
  PersistWorker(worker);
  if (Park(worker, sync, reply)) {
    return;
  }
  reply.drain = DrainsOrStops(worker);
  reply.stop = worker.stop;
  reply.next_call = NextCall(worker);
  reply.notice = WhyNoWork(worker);
  Reply(&worker, std::move(reply));
}

void Core::State::TakeDevices(Worker& worker, const WorkerSync& sync) {
  for (Device& d : worker.devices) {
    d.present = false;
  }
  for (const DeviceReport& report : sync.devices) {
    const bool is_new = FindDevice(worker, report.name) == nullptr;
    Device& d = PutDevice(worker, report.name);
    if (is_new || report.ready) {
      d.last_ready = now;
    }
    if (d.kind != report.kind) {
      kinds[d.kind].slots -= std::exchange(d.counted_slots, 0);
      d.kind = report.kind;
    }
    d.present = true;
    d.memory_bytes = report.memory_bytes;
    d.slots = report.slots;
    d.ready = report.ready;
    d.reason = report.reason;
    if (now - d.last_ready > options.lease) {
      FreeDevice(worker, d, "its device is not ready");  // a trainer that was to be back long ago
    }
  }
}

void Core::State::CompareHeld(Worker& worker, const WorkerSync& sync, SyncReply& reply) {
  absl::flat_hash_set<std::pair<int64_t, int32_t>> settled;
  for (const Acknowledgement& ack : reply.acknowledged) {
    settled.insert({ack.id.point.value(), ack.id.attempt.value()});
  }
  for (const DeviceReport& report : sync.devices) {
    const auto device = static_cast<uint32_t>(FindDevice(worker, report.name) - worker.devices.data());
    for (const HeldAttempt& held : report.held) {
      const Point* p = FindPoint(held.id.point);
      const auto lease = p == nullptr ? leases.end() : leases.find(IndexOf(*p));
      if (lease != leases.end() && lease->second.number == held.id.attempt && lease->second.worker == worker.index) {
        Lease& l = lease->second;
        l.listed = now;
        l.listed_in = sync.sequence;
        l.device = device;
        l.progress = held.progress > 0 ? std::min(held.progress, 1.0) : 0;
        l.recovered = false;
      } else if (!settled.contains({held.id.point.value(), held.id.attempt.value()}) && !IsTwin(worker, held.id)) {
        reply.drop.push_back(held.id);
      }
    }
  }
}

// What it should hold but did not list: its reply was lost, or is still under way. After a whole lease of calls that do
// not list it, the worker will not.
void Core::State::Resend(Worker& worker, SyncReply& reply) {
  const std::vector<PointIndex> held(worker.held.begin(), worker.held.end());
  for (PointIndex index : held) {
    Lease& lease = leases.at(index);
    if (lease.listed_in == worker.sequence) {
      continue;
    }
    if (lease.ticket > committed) {
      lease.listed = now;  // the reply that gives it is still waiting for the store
    }
    if (now - lease.listed > options.lease) {
      LoseAttempt(index, /*counts=*/true, "its worker did not take it");
      continue;
    }
    const Device& device = worker.devices[lease.device];
    if (device.present && static_cast<int32_t>(reply.assignments.size()) < options.max_assignments_per_sync) {
      const Point& p = points[index];
      reply.assignments.push_back({{p.id, lease.number}, device.name, SecondsOn(p, kinds[device.kind])});
    }
  }
}

bool Core::State::Park(Worker& worker, const WorkerSync& sync, const SyncReply& reply) {
  const bool idle = worker.held.empty() && worker.twins.empty() && reply.drop.empty() && reply.acknowledged.empty();
  // Held open no longer than keeps its lease alive.
  const Duration hold = std::min({sync.max_wait, options.max_hold, options.lease * 2 / 3});
  if (!idle || hold <= Duration::zero() || worker.lost || DrainsOrStops(worker) || unwritable) {
    return false;
  }
  worker.parked = Parked{sync.token, sync.sequence, now + hold};
  parked.insert({now + hold, worker.index});
  return true;
}

void Core::State::Unpark(Worker& worker, Duration next_call) {
  SyncReply reply;
  reply.token = worker.parked->token;
  reply.sequence = worker.parked->sequence;
  parked.erase({worker.parked->deadline, worker.index});
  worker.parked.reset();
  Renew(worker, options.lease);
  reply.drain = DrainsOrStops(worker);
  reply.stop = worker.stop;
  reply.next_call = next_call;
  reply.notice = WhyNoWork(worker);
  Reply(&worker, std::move(reply));
}

}  // namespace capsweep::core
