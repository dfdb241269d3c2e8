// Who gets which point. Work is given out by time, not by count: a device holds enough for its slots and for about two
// sync intervals, so that points of milliseconds never wait for a round trip and points of hours are not hoarded.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

// Most attempts a device may hold, in replies: bounds the size of the worker's next call.
constexpr int32_t kRepliesAhead = 4;
// The kind of a CPU core, as trainers name it.
constexpr std::string_view kCpuKind = "cpu";

}  // namespace

double Core::State::SecondsOn(const Point& p, const Kind& kind) const {
  return std::max(double{p.cost_seconds} * kind.factor, 1e-6);
}

double Core::State::Horizon() const {
  return 2 * ToSeconds(options.sync_interval);
}

double Core::State::Speed() const {
  double speed = 0;
  for (const auto& [name, kind] : kinds) {
    speed += static_cast<double>(kind.slots) / kind.factor;
  }
  return speed;
}

int32_t Core::State::PartsOfSlot(const Point& p, const Device& device) {
  return device.kind == kCpuKind ? p.pack_lanes : 1;
}

int32_t Core::State::SlotLimit(const Point& p, const Device& device) const {
  if (slot_limits.empty()) {
    return std::numeric_limits<int32_t>::max();
  }
  const auto it = slot_limits.find({p.shape, device.kind});
  return it == slot_limits.end() ? std::numeric_limits<int32_t>::max() : std::max(it->second, 1);
}

void Core::State::AddTo(Load& load, const Point& p, const Device& device, double progress) const {
  const double left = SecondsOn(p, kinds.at(device.kind)) * (1 - progress);
  ++load.count;
  load.slots += 1.0 / PartsOfSlot(p, device);
  load.seconds += left;
  load.within_horizon += std::min(left, Horizon());
  // Trainers pack whatever they hold up to their slots, so a smaller pack is had by giving less.
  const int32_t limit = p.alone ? 1 : SlotLimit(p, device);
  if (limit < device.slots * PartsOfSlot(p, device)) {
    load.cap = std::min(load.cap, limit);
  }
}

std::vector<Load> Core::State::Loads(const Worker& worker) const {
  std::vector<Load> loads(worker.devices.size());
  for (Load& load : loads) {
    load.cap = kRepliesAhead * options.max_assignments_per_sync;
  }
  for (PointIndex index : worker.held) {
    const Lease& lease = leases.at(index);
    const Device& device = worker.devices[lease.device];
    if (kinds.contains(device.kind)) {
      AddTo(loads[lease.device], points[index], device, lease.progress);
    }
  }
  for (PointIndex index : worker.twins) {
    const uint32_t device = twins.at(index).device;
    if (kinds.contains(worker.devices[device].kind)) {
      AddTo(loads[device], points[index], worker.devices[device], 0);
    }
  }
  return loads;
}

// Of a device that may get work. With much left to do: slots and horizon full. Near the end the points that are left
// are spread: over the slots of all devices first, then as equal amounts of time, so that no device queues what another
// could start.
bool Core::State::Hungry(const Device& device, const Load& load) const {
  if (ready_points <= 0 || load.count >= load.cap) {
    return false;
  }
  int64_t all_slots = 0;
  for (const auto& [name, kind] : kinds) {
    all_slots += kind.slots;
  }
  const double share_of_points = static_cast<double>(ready_points + static_cast<int64_t>(leases.size())) *
                                 device.slots / static_cast<double>(all_slots);
  const double slots = std::min<double>(device.slots, std::max(1.0, std::ceil(share_of_points)));
  if (load.slots < slots - 1e-6) {
    return true;
  }
  const double even_finish = static_cast<double>(ready_cost_us) * 1e-6 / std::max(Speed(), 1e-9);
  return load.within_horizon < slots * std::min(Horizon(), even_finish);
}

// Reference seconds of the longest point that ends before the worker's allocation does.
double Core::State::LongestFit(const Worker& worker, const Device& device, const Load& load) const {
  const Kind& kind = kinds.at(device.kind);
  if (!worker.allocation_end || kind.samples == 0) {
    return std::numeric_limits<double>::infinity();
  }
  const double queue = load.count < device.slots ? 0 : load.seconds / device.slots;
  return (ToSeconds(*worker.allocation_end - now) - queue) / kind.factor;
}

std::optional<PointIndex> Core::State::Pick(const Worker& worker, const Device& device, const Load& load) const {
  const auto longest = static_cast<float>(LongestFit(worker, device, load));
  const auto best_of = [&](const Group& group) -> std::optional<PointIndex> {
    const auto it = group.points.lower_bound(QueueKey{longest, 0});
    if (it == group.points.end()) {
      return std::nullopt;
    }
    const Point& p = points[it->point];
    const int32_t limit = SlotLimit(p, device);
    if (load.count > 0 && load.count >= limit && limit < device.slots * PartsOfSlot(p, device)) {
      return std::nullopt;  // this shape runs in smaller packs here
    }
    return it->point;
  };
  for (const auto& [priority, sweep_index] : ready) {
    const Sweep& sweep = sweeps[sweep_index];
    if (device.shape) {
      if (const auto same = sweep.groups.find(*device.shape); same != sweep.groups.end()) {
        if (const auto found = best_of(same->second)) {
          return found;
        }
      }
    }
    bool waits_to_run_alone = false;
    for (const auto& [cost, key] : sweep.by_cost) {
      if (key == kAloneGroup && (device.slots > 1 || device.kind == kCpuKind)) {
        waits_to_run_alone = true;  // after the points that can share
        continue;
      }
      if (const auto found = best_of(sweep.groups.at(key))) {
        return found;
      }
    }
    if (waits_to_run_alone) {
      // An empty device takes one. Any other gets nothing of lower priority, so that it becomes empty.
      return load.count == 0 ? best_of(sweep.groups.at(kAloneGroup)) : std::nullopt;
    }
  }
  return std::nullopt;
}

Assignment Core::State::Assign(PointIndex index, Worker& worker, uint32_t device_index) {
  Point& p = points[index];
  Device& device = worker.devices[device_index];
  const AttemptNumber number{++p.last_attempt};
  Lease lease;
  lease.number = number;
  lease.worker = worker.index;
  lease.device = device_index;
  lease.ticket = NextTicket();
  lease.started = now;
  lease.listed = now;
  leases[index] = lease;
  worker.held.insert(index);
  device.shape = p.shape;
  batch.push_back(AttemptStarted{{p.id, number}, worker.id, worker.incarnation, device.name});
  SetState(index, PointState::kRunning);
  for (SweepIndex i : SweepsOf(p)) {
    sweeps[i].rate.Start(now);
  }
  return {{p.id, number}, device.name, SecondsOn(p, kinds.at(device.kind))};
}

void Core::State::Fill(Worker& worker, std::vector<Assignment>& out) {
  if (unwritable) {
    return;
  }
  std::vector<Load> loads = Loads(worker);
  // One point each in turn, so that the devices of a worker share what is left and what fits into a reply.
  for (bool gave = true; gave;) {
    gave = false;
    for (uint32_t d = 0; d < loads.size(); ++d) {
      const Device& device = worker.devices[d];
      if (device.counted_slots == 0 || static_cast<int32_t>(out.size()) >= options.max_assignments_per_sync ||
          !Hungry(device, loads[d])) {
        continue;
      }
      if (const auto index = Pick(worker, device, loads[d])) {
        out.push_back(Assign(*index, worker, d));
        AddTo(loads[d], points[*index], device, 0);
        gave = true;
      }
    }
  }
  for (uint32_t d = 0; d < loads.size() && ready_points == 0; ++d) {
    const Device& device = worker.devices[d];
    if (device.counted_slots == 0 || loads[d].count > 0 ||
        static_cast<int32_t>(out.size()) >= options.max_assignments_per_sync) {
      continue;
    }
    if (const auto index = FindStraggler(worker, device)) {
      MakeTwin(*index);
      out.push_back(Assign(*index, worker, d));
    }
  }
}

// New work for calls that are held open, the longest waiting first.
void Core::State::Dispatch() {
  std::vector<WorkerIndex> waiting_workers;
  for (const auto& [deadline, index] : parked) {
    waiting_workers.push_back(index);
  }
  for (WorkerIndex index : waiting_workers) {
    if (ready.empty() || unwritable) {
      return;
    }
    Worker& worker = *worker_by_index.at(index);
    SyncReply reply;
    Fill(worker, reply.assignments);
    if (reply.assignments.empty()) {
      continue;
    }
    reply.token = worker.parked->token;
    reply.sequence = worker.parked->sequence;
    parked.erase({worker.parked->deadline, index});
    worker.parked.reset();
    Renew(worker, options.lease);
    reply.next_call = NextCall(worker);
    PersistWorker(worker);
    Reply(&worker, std::move(reply));
  }
}

Duration Core::State::NextCall(const Worker& worker) const {
  const double interval = ToSeconds(options.sync_interval);
  double seconds = interval;
  // A planner is about to follow what was just reported: whoever has nothing else to do calls at once and is held.
  const bool more_may_come = std::any_of(sweeps.begin(), sweeps.end(), [](const Sweep& sweep) {
    return sweep.planning && sweep.row.state == SweepState::kRunning;
  });
  if (more_may_come && ready_points == 0) {
    seconds = worker.held.empty() ? 0 : interval / 4;
  }
  const std::vector<Load> loads = Loads(worker);
  for (size_t d = 0; d < loads.size(); ++d) {
    const Device& device = worker.devices[d];
    if (loads[d].count == 0 || device.counted_slots == 0) {
      continue;
    }
    const double dry = loads[d].seconds / std::min(device.slots, loads[d].count);
    if (ready_points == 0) {
      seconds = std::min(seconds, dry);
      continue;
    }
    seconds = std::min(seconds, dry / 2);
    if (kinds.at(device.kind).samples == 0) {
      seconds = std::min(seconds, interval / 4);  // the estimate is not yet to be trusted
    }
  }
  return std::max(kShortestCall, FromSeconds(seconds));
}

std::string Core::State::WhyNoWork(const Worker& worker) const {
  if (unwritable) {
    return absl::StrCat("the coordinator cannot write its database (", *unwritable, "); no new work until it can");
  }
  if (StateOf(worker) == WorkerState::kQuarantined) {
    for (const Device& d : worker.devices) {
      if (d.present && !d.quarantine.empty()) {
        return absl::StrCat("quarantined, restart the worker when it is mended: ", d.name, ": ", d.quarantine);
      }
    }
  }
  return "";
}

}  // namespace capsweep::core
