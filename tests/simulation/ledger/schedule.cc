// Who is to get which point.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/simulation/ledger/ledger.h"

namespace capsweep::simulation {

using core::PointState;

namespace {

// As the scheduler weighs it: microseconds, and never nothing.
int64_t Weight(float cost) {
  return static_cast<int64_t>(std::min(static_cast<double>(cost), 1e6) * 1e6) + 1;
}
constexpr uint64_t kAlone = uint64_t{1} << 32;  // the group of points that run by themselves

}  // namespace

// ---- sums

Ledger::Kind Ledger::KindOf(const std::string& name) const {
  const auto it = kinds_.find(name);
  return it == kinds_.end() ? Kind{} : it->second;
}

double Ledger::Seconds(const Point& point, const std::string& kind) const {
  return std::max(static_cast<double>(point.cost) * KindOf(kind).factor, 1e-6);
}

double Ledger::Horizon() const {
  return 2 * ToSeconds(options_.sync_interval);
}

int64_t Ledger::AllSlots() const {
  int64_t slots = 0;
  for (const auto& [name, worker] : workers_) {
    for (const Device& d : worker->devices) slots += Usable(*worker, d) ? d.slots : 0;
  }
  return slots;
}

double Ledger::Speed() const {
  std::map<std::string, int64_t> slots;
  for (const auto& [name, worker] : workers_) {
    for (const Device& d : worker->devices) slots[d.kind] += Usable(*worker, d) ? d.slots : 0;
  }
  double speed = 0;
  for (const auto& [kind, n] : slots) speed += static_cast<double>(n) / KindOf(kind).factor;
  return speed;
}

std::vector<const Ledger::Sweep*> Ledger::ReadySweeps() const {
  std::vector<const Sweep*> ready;
  for (const auto& [id, sweep] : sweeps_) {
    if (sweep.row.state == core::SweepState::kRunning && Count(id, PointState::kPending) > 0) ready.push_back(&sweep);
  }
  std::sort(ready.begin(), ready.end(), [](const Sweep* a, const Sweep* b) {
    return a->row.priority != b->row.priority ? a->row.priority > b->row.priority : a->order < b->order;
  });
  return ready;
}

int64_t Ledger::ReadyPoints() const {
  int64_t points = 0;
  for (const Sweep* sweep : ReadySweeps()) points += Count(sweep->row.sweep.value(), PointState::kPending);
  return points;
}

int64_t Ledger::ReadyCost() const {
  int64_t cost = 0;
  for (const Sweep* sweep : ReadySweeps()) {
    for (const auto& [id, point] : points_) {
      const bool counts = point.state == PointState::kPending && point.sweeps.contains(sweep->row.sweep.value());
      cost += counts ? Weight(point.cost) : 0;
    }
  }
  return cost;
}

int64_t Ledger::OpenCost(int64_t sweep) const {
  int64_t cost = 0;
  for (const auto& [id, point] : points_) cost += point.Open() && point.sweeps.contains(sweep) ? Weight(point.cost) : 0;
  return cost;
}

// ---- devices

int32_t Ledger::Limit(const Point& point, const Device& device) const {
  const auto it = limits_.find({point.shape, device.kind});
  return it == limits_.end() ? std::numeric_limits<int32_t>::max() : std::max(it->second, 1);
}

void Ledger::AddTo(Load& load, const Point& point, const Device& device, double progress) const {
  const int32_t share = device.kind == "cpu" ? point.lanes : 1;
  const double left = Seconds(point, device.kind) * (1 - progress);
  ++load.count;
  load.slots += 1.0 / share;
  load.seconds += left;
  load.within_horizon += std::min(left, Horizon());
  const int32_t limit = point.alone ? 1 : Limit(point, device);
  if (limit < device.slots * share) load.cap = std::min(load.cap, limit);
}

std::vector<Ledger::Load> Ledger::Loads(const Worker& worker) const {
  std::vector<Load> loads(worker.devices.size());
  for (Load& load : loads) load.cap = 4 * options_.max_assignments_per_sync;
  for (const int64_t point : HeldBy(worker)) {
    const Lease& lease = leases_.at(point);
    AddTo(loads[lease.device], points_.at(point), worker.devices[lease.device], lease.progress);
  }
  for (const int64_t point : TwinsOf(worker)) {
    const size_t device = twins_.at(point).device;
    AddTo(loads[device], points_.at(point), worker.devices[device], 0);
  }
  return loads;
}

bool Ledger::Hungry(const Device& device, const Load& load) const {
  const int64_t points = ReadyPoints();
  if (points == 0 || load.count >= load.cap) return false;
  const auto all_slots = static_cast<double>(std::max<int64_t>(AllSlots(), 1));
  const double share = static_cast<double>(points + static_cast<int64_t>(leases_.size())) * device.slots / all_slots;
  const double slots = std::clamp<double>(std::ceil(share), 1, device.slots);
  if (load.slots < slots - 1e-6) return true;
  const double even_finish = static_cast<double>(ReadyCost()) * 1e-6 / std::max(Speed(), 1e-9);
  return load.within_horizon < slots * std::min(Horizon(), even_finish);
}

double Ledger::LongestFit(const Worker& worker, const Device& device, const Load& load) const {
  const Kind kind = KindOf(device.kind);
  if (!worker.allocation_end || kind.samples == 0) return std::numeric_limits<double>::infinity();
  const double queue = load.count < device.slots ? 0 : load.seconds / device.slots;
  return (ToSeconds(*worker.allocation_end - now_) - queue) / kind.factor;
}

// ---- points

// The costliest that fits; of equals the oldest.
Ledger::Point* Ledger::PickOf(const std::vector<Point*>& group, const Device& device, const Load& load,
                              float longest) const {
  Point* best = nullptr;
  for (Point* point : group) {
    if (point->cost > longest) continue;
    if (best == nullptr || point->cost > best->cost || (point->cost == best->cost && point->order < best->order))
      best = point;
  }
  if (best == nullptr) return nullptr;
  const int32_t limit = Limit(*best, device);
  const bool smaller_packs = limit < device.slots * (device.kind == "cpu" ? best->lanes : 1);
  return smaller_packs && load.count >= limit && load.count > 0 ? nullptr : best;
}

Ledger::Point* Ledger::Pick(const Worker& worker, const Device& device, const Load& load) {
  const auto longest = static_cast<float>(LongestFit(worker, device, load));
  for (const Sweep* sweep : ReadySweeps()) {
    std::map<uint64_t, std::vector<Point*>> groups;
    std::map<uint64_t, int64_t> weights;
    for (auto& [id, point] : points_) {
      if (point.state != PointState::kPending || !point.sweeps.contains(sweep->row.sweep.value())) continue;
      const uint64_t group = point.alone ? kAlone : point.shape;
      groups[group].push_back(&point);
      weights[group] += Weight(point.cost);
    }
    const bool shares = device.slots > 1 || device.kind == "cpu";
    std::vector<std::pair<int64_t, uint64_t>> order;  // the shape it trained last, then by weight
    for (const auto& [group, weight] : weights) {
      const bool same = device.shape && *device.shape == group;
      if (group != kAlone || !shares) order.emplace_back(same ? std::numeric_limits<int64_t>::min() : -weight, group);
    }
    std::sort(order.begin(), order.end());
    for (const auto& [weight, group] : order) {
      if (Point* found = PickOf(groups.at(group), device, load, longest)) return found;
    }
    if (shares && groups.contains(kAlone)) {
      return load.count == 0 ? PickOf(groups.at(kAlone), device, load, longest) : nullptr;
    }
  }
  return nullptr;
}

Ledger::Point* Ledger::Straggler(const Worker& worker, const Device& device) {
  if (KindOf(device.kind).samples == 0) return nullptr;
  Point* slowest = nullptr;
  double most_left = 0;
  for (const auto& [id, lease] : leases_) {
    Point& point = points_.at(id);
    if (lease.worker == &worker || twins_.contains(id) || lease.ticket > committed_ || point.alone ||
        !InRunningSweep(point)) {
      continue;
    }
    const double age = ToSeconds(now_ - lease.started);
    const double left = lease.progress > 0.01 ? age * (1 - lease.progress) / lease.progress : age;
    const bool slow = age >= 3 * Seconds(point, lease.worker->devices[lease.device].kind) + Horizon();
    const bool worth_it = Seconds(point, device.kind) + Horizon() <= 0.6 * left;
    if (!slow || !worth_it || point.cost > LongestFit(worker, device, Load{})) continue;
    if (slowest == nullptr || left > most_left || (left == most_left && point.order < slowest->order)) {
      slowest = &point;
      most_left = left;
    }
  }
  return slowest;
}

// ---- giving

core::Assignment Ledger::Give(Point& point, Worker& worker, size_t device_index) {
  Device& device = worker.devices[device_index];
  Lease lease;
  lease.number = ++point.last;
  lease.worker = &worker;
  lease.device = device_index;
  lease.ticket = last_ + 1;
  lease.started = lease.listed = now_;
  leases_[point.id] = lease;
  device.shape = point.shape;
  const core::AttemptRef id{PointId(point.id), AttemptNumber(lease.number)};
  Write(EntryOf(core::AttemptStarted{id, WorkerId(worker.name), worker.incarnation, device.name}));
  SetState(point, PointState::kRunning);
  for (const int64_t sweep : point.sweeps) {
    if (!sweeps_.at(sweep).started) sweeps_.at(sweep).started = now_;
  }
  return {id, device.name, Seconds(point, device.kind)};
}

void Ledger::Fill(Worker& worker, std::vector<core::Assignment>& out) {
  if (unwritable_ || worker.lost || Drains(worker)) return;
  const auto full = [&] { return static_cast<int32_t>(out.size()) >= options_.max_assignments_per_sync; };
  std::vector<Load> loads = Loads(worker);
  for (bool gave = true; gave;) {
    gave = false;
    for (size_t d = 0; d < loads.size(); ++d) {
      const Device& device = worker.devices[d];
      if (full() || !Usable(worker, device) || !Hungry(device, loads[d])) continue;
      Point* const point = Pick(worker, device, loads[d]);
      if (point == nullptr) continue;
      out.push_back(Give(*point, worker, d));
      AddTo(loads[d], *point, device, 0);
      gave = true;
    }
  }
  for (size_t d = 0; d < loads.size(); ++d) {
    if (full() || ReadyPoints() > 0 || loads[d].count > 0 || !Usable(worker, worker.devices[d])) continue;
    Point* const point = Straggler(worker, worker.devices[d]);
    if (point == nullptr) continue;
    const Lease& slow = leases_.at(point->id);
    twins_[point->id] = {slow.number, slow.worker, slow.device};
    Note("point_doubled", "point " + std::to_string(point->id));
    End(point->id, core::AttemptOutcome::kDropped, "", "slow");
    out.push_back(Give(*point, worker, d));
  }
}

void Ledger::Dispatch() {
  std::vector<Worker*> held;
  for (const auto& [name, worker] : workers_) {
    if (worker->parked) held.push_back(worker.get());
  }
  std::sort(held.begin(), held.end(), [](const Worker* a, const Worker* b) {
    return std::pair(a->deadline, a->serial) < std::pair(b->deadline, b->serial);
  });
  for (Worker* worker : held) {
    if (ReadyPoints() == 0 || unwritable_) return;
    core::SyncReply reply = *worker->parked;
    Fill(*worker, reply.assignments);
    if (reply.assignments.empty()) continue;
    worker->parked.reset();
    worker->lease_end = now_ + options_.lease;
    reply.next_call = NextCall(*worker);
    WriteWorker(*worker);
    Say(worker, reply);
  }
}

Duration Ledger::NextCall(const Worker& worker) const {
  const double interval = ToSeconds(options_.sync_interval);
  const int64_t ready = ReadyPoints();
  const bool planning = std::any_of(sweeps_.begin(), sweeps_.end(), [](const auto& s) {
    return s.second.planning && s.second.row.state == core::SweepState::kRunning;
  });
  double soon = interval;
  if (planning && ready == 0) soon = HeldBy(worker).empty() ? 0 : interval / 4;
  const std::vector<Load> loads = Loads(worker);
  for (size_t d = 0; d < loads.size(); ++d) {
    const Device& device = worker.devices[d];
    if (loads[d].count == 0 || !Usable(worker, device)) continue;
    const double dry = loads[d].seconds / std::min(device.slots, loads[d].count);
    soon = std::min(soon, ready == 0 ? dry : dry / 2);
    if (ready > 0 && KindOf(device.kind).samples == 0) soon = std::min(soon, interval / 4);
  }
  return std::max<Duration>(std::chrono::milliseconds(50), FromSeconds(soon));
}

}  // namespace capsweep::simulation
