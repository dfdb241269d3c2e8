// The worker's call: what it reports, and what it is told.
#include <algorithm>
#include <cmath>

#include "tests/simulation/ledger/ledger.h"

namespace capsweep::simulation {

using core::Verdict;

absl::StatusCode Ledger::Admit(const core::WorkerSync& sync) const {
  using absl::StatusCode;
  if (sync.worker.value().empty() || sync.incarnation.value().empty()) return StatusCode::kInvalidArgument;
  std::set<std::string> names;
  for (const core::DeviceReport& d : sync.devices) {
    if (d.slots < 1 || !names.insert(d.name).second) return StatusCode::kInvalidArgument;
  }
  const auto it = workers_.find(std::string(sync.worker.value()));
  if (it == workers_.end()) return StatusCode::kOk;
  const Worker& worker = *it->second;
  if (sync.incarnation < worker.incarnation) return StatusCode::kAlreadyExists;
  const bool outdated = worker.heard && sync.incarnation == worker.incarnation && sync.sequence <= worker.sequence;
  return outdated ? StatusCode::kFailedPrecondition : StatusCode::kOk;
}

Ledger::Worker& Ledger::Greet(const core::WorkerSync& sync) {
  Worker* worker = FindWorker(sync.worker);
  if (worker == nullptr) {
    worker = &AddWorker(sync.worker);
    worker->incarnation = sync.incarnation;
  }
  if (worker->incarnation != sync.incarnation) {
    worker->incarnation = sync.incarnation;
    worker->drain = worker->stop = false;
    Note("worker_restarted", worker->name);
  } else if (!worker->heard) {
    Note("worker_registered", worker->name);
  } else if (worker->lost && !sync.leaving) {
    Note("worker_back", worker->name);
  }
  worker->heard = true;
  worker->lost = worker->left = false;
  worker->sequence = sync.sequence;
  worker->last_seen = now_;
  worker->lease_end = now_ + options_.lease;
  worker->host = sync.host;
  worker->version = sync.version;
  worker->draining = sync.draining;
  worker->allocation_end.reset();
  if (sync.remaining_seconds > 0) worker->allocation_end = now_ + FromSeconds(sync.remaining_seconds);
  return *worker;
}

void Ledger::On(const core::WorkerSync& sync) {
  core::SyncReply reply;
  reply.token = sync.token;
  reply.sequence = sync.sequence;
  if (const absl::StatusCode code = Admit(sync); code != absl::StatusCode::kOk) {
    reply.status = absl::Status(code, "no");
    return Say(nullptr, reply);
  }
  const Worker* const before = FindWorker(sync.worker);
  const bool restarted = before != nullptr && before->incarnation != sync.incarnation;
  Worker& worker = Greet(sync);
  if (worker.parked) Release(worker, Duration::zero());
  for (const auto& report : sync.results) reply.acknowledged.push_back({report.id, TakeResult(worker, report), ""});
  for (const auto& report : sync.failures) reply.acknowledged.push_back({report.id, TakeFailure(worker, report), ""});
  for (const auto& report : sync.handed_back)
    reply.acknowledged.push_back({report.id, TakeHandBack(worker, report), ""});
  if (restarted) {
    LoseAll(worker, "started anew");
    for (Device& d : worker.devices) {
      d.quarantine = 0;
      d.failed.clear();
    }
  }
  TakeDevices(worker, sync);
  if (sync.leaving) {
    Leave(worker);
  } else {
    CompareHeld(worker, sync, reply);
    SendAgain(worker, reply);
  }
  Fill(worker, reply.assignments);
  WriteWorker(worker);
  if (Hold(worker, sync, reply)) return;
  reply.drain = Drains(worker);
  reply.stop = worker.stop;
  reply.next_call = NextCall(worker);
  reply.notice = WhyIdle(worker);
  Say(&worker, reply);
}

void Ledger::TakeDevices(Worker& worker, const core::WorkerSync& sync) {
  for (Device& d : worker.devices) d.present = false;
  for (const core::DeviceReport& report : sync.devices) {
    const bool is_new = FindDevice(worker, report.name) == nullptr;
    Device& d = worker.devices[PutDevice(worker, report.name)];
    if (is_new || report.ready) d.last_ready = now_;
    d.kind = report.kind;
    d.present = true;
    d.memory = report.memory_bytes;
    d.slots = report.slots;
    d.ready = report.ready;
    d.reason = report.reason;
    if (now_ - d.last_ready > options_.lease) Free(worker, d, "not ready");
  }
}

void Ledger::CompareHeld(Worker& worker, const core::WorkerSync& sync, core::SyncReply& reply) {
  for (const core::DeviceReport& report : sync.devices) {
    for (const core::HeldAttempt& held : report.held) {
      const int64_t point = held.id.point.value();
      const int32_t number = held.id.attempt.value();
      const auto lease = leases_.find(point);
      if (lease != leases_.end() && lease->second.number == number && lease->second.worker == &worker) {
        lease->second.listed = now_;
        lease->second.listed_in = sync.sequence;
        lease->second.device = PutDevice(worker, report.name);
        lease->second.progress = std::clamp(held.progress, 0.0, 1.0);
        lease->second.recovered = false;
        continue;
      }
      const auto twin = twins_.find(point);
      const bool may_go_on = twin != twins_.end() && twin->second.number == number && twin->second.worker == &worker;
      const bool reported = std::any_of(reply.acknowledged.begin(), reply.acknowledged.end(),
                                        [&](const core::Acknowledgement& a) { return a.id == held.id; });
      if (!may_go_on && !reported) reply.drop.push_back(held.id);
    }
  }
}

void Ledger::SendAgain(Worker& worker, core::SyncReply& reply) {
  for (const int64_t point : HeldBy(worker)) {
    Lease& lease = leases_.at(point);
    if (lease.listed_in == worker.sequence) continue;
    if (lease.ticket > committed_) lease.listed = now_;
    if (now_ - lease.listed > options_.lease) {
      Lose(point, "did not take it");
      continue;
    }
    const Device& device = worker.devices[lease.device];
    if (!device.present || static_cast<int32_t>(reply.assignments.size()) >= options_.max_assignments_per_sync)
      continue;
    reply.assignments.push_back(
        {{PointId(point), AttemptNumber(lease.number)}, device.name, Seconds(points_.at(point), device.kind)});
  }
}

bool Ledger::Hold(Worker& worker, const core::WorkerSync& sync, const core::SyncReply& reply) {
  const bool idle =
      HeldBy(worker).empty() && TwinsOf(worker).empty() && reply.drop.empty() && reply.acknowledged.empty();
  const Duration longest = std::min({sync.max_wait, options_.max_hold, options_.lease * 2 / 3});
  if (!idle || longest <= Duration::zero() || worker.lost || Drains(worker) || unwritable_) return false;
  worker.parked = core::SyncReply{};
  worker.parked->token = sync.token;
  worker.parked->sequence = sync.sequence;
  worker.deadline = now_ + longest;
  return true;
}

void Ledger::Release(Worker& worker, Duration next_call) {
  core::SyncReply reply = *std::exchange(worker.parked, std::nullopt);
  worker.lease_end = now_ + options_.lease;
  reply.drain = Drains(worker);
  reply.stop = worker.stop;
  reply.next_call = next_call;
  reply.notice = WhyIdle(worker);
  Say(&worker, reply);
}

// ---- reports

std::optional<Verdict> Ledger::Refusal(const Worker& worker, const core::AttemptRef& id) const {
  const auto point = points_.find(id.point.value());
  if (point == points_.end()) return Verdict::kRejected;
  if (id.attempt.value() < 1 || id.attempt.value() > point->second.last) return Verdict::kRejected;
  const auto lease = leases_.find(id.point.value());
  const bool anothers =
      lease != leases_.end() && lease->second.number == id.attempt.value() && lease->second.worker != &worker;
  return anothers ? std::optional(Verdict::kRejected) : std::nullopt;
}

Verdict Ledger::TakeResult(Worker& worker, const core::ResultReport& report) {
  if (const auto refusal = Refusal(worker, report.id)) return *refusal;
  Point& point = *Find(report.id.point.value());
  const int32_t number = report.id.attempt.value();
  if (report.result == nullptr || report.key_prefix != point.key_prefix) return Verdict::kRejected;
  if (point.state == core::PointState::kDone) {
    if (point.reported == 0 || point.reported == number) return Verdict::kDuplicate;
    Write(EntryOf(core::AttemptEnded{report.id, core::AttemptOutcome::kLate, "", "was first", report.result}));
    return Verdict::kLate;
  }
  if (const auto lease = leases_.find(point.id); lease != leases_.end()) {
    const bool own = lease->second.number == number;
    End(point.id, core::AttemptOutcome::kDropped, "", "was first", /*result=*/own);
  }
  point.reported = number;
  Write(EntryOf(core::ResultAccepted{report.id, WorkerId(worker.name), report.device, report.result}));
  SetState(point, core::PointState::kDone);
  for (const int64_t id : point.sweeps) {
    Sweep& sweep = sweeps_.at(id);
    if (!sweep.started) sweep.started = now_;
    sweep.results.push_back(now_);
    unstored_.emplace_back(last_ + 1, id);
  }
  Measure(worker, report, point);
  return Verdict::kAccepted;
}

void Ledger::Measure(Worker& worker, const core::ResultReport& report, const Point& point) {
  Device* const device = FindDevice(worker, report.device);
  if (device == nullptr) return;
  ++device->points_done;
  device->failed.clear();
  const double took = report.result->seconds;
  if (!(std::isfinite(took) && took > 0 && point.cost > 0) || report.result->resumed_from_step > 0) return;
  Kind& kind = kinds_[device->kind];
  ++kind.samples;
  const double weight = std::max(0.05, 1.0 / static_cast<double>(kind.samples));
  kind.factor += weight * (std::clamp(took / static_cast<double>(point.cost), 1e-6, 1e6) - kind.factor);
}

// Of an attempt that is over there is nothing left to end; nor of a twin, whose end is only noted.
std::optional<Verdict> Ledger::OfEnded(Worker& worker, const core::AttemptRef& id) {
  const int32_t number = id.attempt.value();
  const auto lease = leases_.find(id.point.value());
  if (lease != leases_.end() && lease->second.number == number) return std::nullopt;
  const auto twin = twins_.find(id.point.value());
  if (twin != twins_.end() && twin->second.number == number && twin->second.worker == &worker) twins_.erase(twin);
  return Find(id.point.value())->reported == number ? Verdict::kDuplicate : Verdict::kLate;
}

Verdict Ledger::TakeFailure(Worker& worker, const core::FailureReport& report) {
  if (const auto refusal = Refusal(worker, report.id)) return *refusal;
  if (const auto verdict = OfEnded(worker, report.id)) return *verdict;
  Point& point = *Find(report.id.point.value());
  const std::string cause(ToWord(report.cause));
  End(point.id, core::AttemptOutcome::kFailed, cause, report.message);
  point.reported = report.id.attempt.value();
  Device* const device = FindDevice(worker, report.device);
  const bool certain = report.cause == FailureCause::kBadPoint || report.cause == FailureCause::kUnsupported ||
                       report.cause == FailureCause::kNanLoss;
  bool excused = false;  // something smaller is left to try
  if (!certain && report.pack_size > 1) {
    if (report.cause == FailureCause::kOutOfMemory) {
      excused = device != nullptr && Halve(point, device->kind, report.pack_size);
    } else {
      excused = !point.alone;
      point.alone = true;
    }
  }
  if (!excused) ++point.failures;
  if (!excused && !certain && device != nullptr) Blame(worker, *device, point.id);
  if (certain || (!excused && point.failures >= AllowedFailures(point))) {
    Fail(point, cause);
  } else {
    Requeue(point);
  }
  return Verdict::kAccepted;
}

bool Ledger::Halve(const Point& point, const std::string& kind, int32_t pack_size) {
  const auto [limit, is_new] = limits_.try_emplace({point.shape, kind}, pack_size);
  if (limit->second <= 1) return false;
  limit->second = std::min(limit->second, pack_size / 2);
  return true;
}

void Ledger::Blame(Worker& worker, Device& device, int64_t point) {
  device.failed.insert(point);
  if (static_cast<int32_t>(device.failed.size()) < options_.quarantine_window) return;
  device.quarantine = ++quarantines_;
  Note("device_quarantined", worker.name + " " + device.name);
  Free(worker, device, "quarantined");
}

Verdict Ledger::TakeHandBack(Worker& worker, const core::HandBackReport& report) {
  if (const auto refusal = Refusal(worker, report.id)) return *refusal;
  if (const auto verdict = OfEnded(worker, report.id)) return *verdict;
  Point& point = *Find(report.id.point.value());
  if (report.checkpoint != nullptr) Write(EntryOf(core::CheckpointSaved{report.id, report.checkpoint}));
  End(point.id, core::AttemptOutcome::kHandedBack, "", "");
  point.reported = report.id.attempt.value();
  Requeue(point);
  return Verdict::kAccepted;
}

}  // namespace capsweep::simulation
