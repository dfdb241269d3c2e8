// Workers, their leases, and the verbs on workers.
#include <algorithm>
#include <utility>

#include "tests/simulation/ledger/ledger.h"

namespace capsweep::simulation {

using core::AttemptOutcome;

Ledger::Worker* Ledger::FindWorker(const WorkerId& id) {
  const auto it = workers_.find(std::string(id.value()));
  return it == workers_.end() ? nullptr : it->second.get();
}

Ledger::Worker& Ledger::AddWorker(const WorkerId& id) {
  auto worker = std::make_shared<Worker>();
  worker->serial = ++workers_seen_;
  worker->name = id.value();
  worker->last_seen = worker->lease_end = now_;
  return *(workers_[worker->name] = worker);
}

Ledger::Device* Ledger::FindDevice(Worker& worker, const std::string& name) {
  for (Device& d : worker.devices) {
    if (d.name == name) return &d;
  }
  return nullptr;
}

size_t Ledger::PutDevice(Worker& worker, const std::string& name) {
  if (const Device* found = FindDevice(worker, name)) return static_cast<size_t>(found - worker.devices.data());
  worker.devices.emplace_back().name = name;
  return worker.devices.size() - 1;
}

std::vector<int64_t> Ledger::InOrder(std::vector<int64_t> points) const {
  std::sort(points.begin(), points.end(),
            [this](int64_t a, int64_t b) { return points_.at(a).order < points_.at(b).order; });
  return points;
}

std::vector<int64_t> Ledger::HeldBy(const Worker& worker) const {
  std::vector<int64_t> held;
  for (const auto& [point, lease] : leases_) {
    if (lease.worker == &worker) held.push_back(point);
  }
  return InOrder(std::move(held));
}

std::vector<int64_t> Ledger::TwinsOf(const Worker& worker) const {
  std::vector<int64_t> twins;
  for (const auto& [point, twin] : twins_) {
    if (twin.worker == &worker) twins.push_back(point);
  }
  return InOrder(std::move(twins));
}

void Ledger::ForgetTwinsOf(const Worker& worker) {
  std::erase_if(twins_, [&](const auto& twin) { return twin.second.worker == &worker; });
}

bool Ledger::Usable(const Worker& worker, const Device& device) const {
  return worker.heard && !worker.lost && !Drains(worker) && device.present && device.ready && device.quarantine == 0;
}

void Ledger::End(int64_t point, AttemptOutcome outcome, const std::string& cause, const std::string& mentions,
                 bool result) {
  const core::AttemptRef id{PointId(point), AttemptNumber(leases_.at(point).number)};
  if (!result) Write(EntryOf(core::AttemptEnded{id, outcome, cause, mentions, nullptr}));
  leases_.erase(point);
}

// The end of a lease counts against the point, unless it was only known from the last process.
void Ledger::Lose(int64_t id, const std::string& mentions) {
  Point& point = points_.at(id);
  const bool counts = !leases_.at(id).recovered;
  End(id, AttemptOutcome::kLost, "", mentions);
  point.lost += counts ? 1 : 0;
  if (counts && point.lost > options_.lost_limit) {
    Fail(point, mentions);
  } else {
    Requeue(point);
  }
}

int64_t Ledger::LoseAll(Worker& worker, const std::string& mentions) {
  const std::vector<int64_t> held = HeldBy(worker);
  for (const int64_t point : held) Lose(point, mentions);
  ForgetTwinsOf(worker);
  return static_cast<int64_t>(held.size());
}

void Ledger::Free(Worker& worker, const Device& device, const std::string& mentions) {
  for (const int64_t point : HeldBy(worker)) {
    if (&worker.devices[leases_.at(point).device] != &device) continue;
    End(point, AttemptOutcome::kDropped, "", mentions);
    Requeue(points_.at(point));
  }
}

void Ledger::Leave(Worker& worker) {
  for (const int64_t point : HeldBy(worker)) {
    End(point, AttemptOutcome::kHandedBack, "", "its worker left");
    Requeue(points_.at(point));
  }
  ForgetTwinsOf(worker);
  if (!worker.left) Note("worker_left", worker.name);
  worker.lost = worker.left = true;
  worker.lease_end = now_ + options_.lost_worker_kept;
}

void Ledger::Expire() {
  std::vector<std::pair<Instant, std::shared_ptr<Worker>>> due;
  for (const auto& [name, worker] : workers_) {
    if (worker->lease_end <= now_) due.emplace_back(worker->lease_end, worker);
  }
  for (const auto& [end, worker] : due) {
    if (worker->lost) {
      workers_.erase(worker->name);
    } else if (worker->waiting > 0) {
      worker->lease_end = now_ + options_.lease;
    } else {
      LoseAll(*worker, "not heard");
      worker->lost = true;
      worker->lease_end = now_ + options_.lost_worker_kept;
      Note("worker_lost", worker->name);
      WriteWorker(*worker);
    }
  }
}

core::WorkerState Ledger::StateOf(const Worker& worker) const {
  using core::WorkerState;
  if (worker.lost || !worker.heard) return WorkerState::kLost;
  if (Drains(worker)) return WorkerState::kDraining;
  int present = 0, broken = 0;
  for (const Device& d : worker.devices) {
    present += d.present ? 1 : 0;
    broken += d.present && d.quarantine > 0 ? 1 : 0;
  }
  if (present > 0 && broken == present) return WorkerState::kQuarantined;
  return HeldBy(worker).empty() && TwinsOf(worker).empty() ? WorkerState::kIdle : WorkerState::kBusy;
}

// Written when it says something new.
void Ledger::WriteWorker(Worker& worker) {
  core::WorkerChanged row{
      WorkerId(worker.name), worker.incarnation, worker.host, worker.version, StateOf(worker), "", {}};
  std::string why = worker.left    ? "left"
                    : worker.lost  ? "not heard"
                    : worker.stop  ? "removed"
                    : worker.drain ? "drained"
                                   : "";
  std::string fingerprint;
  for (const Device& d : worker.devices) {
    if (d.quarantine > 0 && row.state == core::WorkerState::kQuarantined) {
      why = "in a row";
      fingerprint = std::to_string(d.quarantine);
    }
  }
  for (const Device& d : worker.devices) {
    if (!d.present) continue;
    row.devices.push_back({d.name, d.kind, d.memory, d.slots, d.ready && d.quarantine == 0, "", {}});
    fingerprint += ";" + (d.quarantine > 0 ? std::to_string(d.quarantine) : d.reason);
  }
  row.reason = why;
  Entry entry = EntryOf(row);
  const Entry news{entry.subject, entry.what, why + fingerprint};
  if (news.subject == worker.persisted.subject && news.what == worker.persisted.what &&
      news.mentions == worker.persisted.mentions) {
    return;
  }
  worker.persisted = news;
  Write(std::move(entry));
}

void Ledger::On(const core::ChangeWorker& event) {
  Worker* const worker = FindWorker(event.worker);
  if (worker == nullptr || worker->left) return SayToUser(event.token, absl::StatusCode::kNotFound, 0);
  if (unwritable_) return SayToUser(event.token, absl::StatusCode::kUnavailable, 0);
  const bool removes = event.verb == core::WorkerVerb::kRemove;
  const auto held = static_cast<int64_t>(HeldBy(*worker).size());
  (removes ? worker->stop : worker->drain) = true;
  Note(removes ? "worker_removed" : "worker_drained", worker->name);
  WriteWorker(*worker);
  if (worker->parked) Release(*worker, options_.sync_interval);
  if (removes && worker->lost) workers_.erase(worker->name);
  SayToUser(event.token, absl::StatusCode::kOk, held);
}

}  // namespace capsweep::simulation
