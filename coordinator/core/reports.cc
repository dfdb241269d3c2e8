// What workers report about attempts: results, failures, hand-backs. Each gets one verdict, however often it is sent.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/core/state.h"

namespace capsweep::core {

namespace {

// The point itself is at fault, and would be again: no retry.
bool IsCertain(FailureCause cause) {
  return cause == FailureCause::kBadPoint || cause == FailureCause::kUnsupported || cause == FailureCause::kNanLoss;
}

}  // namespace

void Core::State::TakeReports(Worker& worker, const WorkerSync& sync, std::vector<Acknowledgement>& acks) {
  acks.reserve(sync.results.size() + sync.failures.size() + sync.handed_back.size());
  for (const ResultReport& report : sync.results) {
    acks.push_back(TakeResult(worker, report));
  }
  for (const FailureReport& report : sync.failures) {
    acks.push_back(TakeFailure(worker, report));
  }
  for (const HandBackReport& report : sync.handed_back) {
    acks.push_back(TakeHandBack(worker, report));
  }
}

// Reports that cannot be true.
std::optional<Acknowledgement> Core::State::Refuse(const Worker& worker, const AttemptRef& id) const {
  const auto rejected = [&id](std::string why) { return Acknowledgement{id, Verdict::kRejected, std::move(why)}; };
  const Point* p = FindPoint(id.point);
  if (p == nullptr) {
    return rejected(absl::StrCat("there is no point ", id.point.value(), " in this database"));
  }
  if (id.attempt.value() < 1 || id.attempt.value() > p->last_attempt) {
    return rejected(absl::StrCat(Describe(id), " was never given out; the latest is ", p->last_attempt));
  }
  const auto lease = leases.find(IndexOf(*p));
  if (lease != leases.end() && lease->second.number == id.attempt && lease->second.worker != worker.index) {
    return rejected(
        absl::StrCat(Describe(id), " belongs to worker ", worker_by_index.at(lease->second.worker)->id.value()));
  }
  return std::nullopt;
}

// A failure or hand-back of an attempt that is over changes nothing.
std::optional<Acknowledgement> Core::State::RefuseEnded(const Point& p, const AttemptRef& id) const {
  const auto lease = leases.find(IndexOf(p));
  if (lease != leases.end() && lease->second.number == id.attempt) {
    return std::nullopt;
  }
  if (id.attempt.value() == p.reported) {
    return Acknowledgement{id, Verdict::kDuplicate, ""};
  }
  return Acknowledgement{id, Verdict::kLate, absl::StrCat(Describe(id), " had ended before")};
}

Acknowledgement Core::State::TakeResult(Worker& worker, const ResultReport& report) {
  const AttemptRef& id = report.id;
  if (auto refused = Refuse(worker, id)) {
    return *refused;
  }
  Point& p = *FindPoint(id.point);
  const PointIndex index = IndexOf(p);
  if (report.result == nullptr || report.key_prefix != p.key_prefix) {
    return {id, Verdict::kRejected, absl::StrCat("the result's point_key is not that of point ", id.point.value())};
  }
  if (p.state == PointState::kDone) {
    // 0: accepted by an earlier process, which attempt is not known; every attempt was ended then.
    if (p.reported == 0 || p.reported == id.attempt.value()) {
      return {id, Verdict::kDuplicate, ""};
    }
    batch.push_back(
        AttemptEnded{id, AttemptOutcome::kLate, "", absl::StrCat("attempt ", p.reported, " was first"), report.result});
    return {id, Verdict::kLate, absl::StrCat("attempt ", p.reported, " delivered the point's result")};
  }
  // First wins: the measurement is as good as any other attempt's, whatever became of its lease.
  if (const auto lease = leases.find(index); lease != leases.end()) {
    if (lease->second.number == id.attempt) {
      RemoveLease(index);
    } else {
      EndLease(index, AttemptOutcome::kDropped, "", absl::StrCat("attempt ", id.attempt.value(), " was first"));
    }
  }
  p.reported = id.attempt.value();
  batch.push_back(ResultAccepted{id, worker.id, report.device, report.result});
  SetState(index, PointState::kDone);
  for (SweepIndex i : SweepsOf(p)) {
    sweeps[i].rate.Add(now);
    ++sweeps[i].uncommitted;
    uncommitted.emplace_back(NextTicket(), i);
  }
  Measure(worker, report, p);
  return {id, Verdict::kAccepted, ""};
}

void Core::State::Measure(Worker& worker, const ResultReport& report, const Point& p) {
  Device* device = FindDevice(worker, report.device);
  if (device == nullptr) {
    return;
  }
  ++device->points_done;
  device->failed_in_a_row.clear();
  const double seconds = report.result->seconds;
  // A resumed attempt took only part of the time.
  if (!std::isfinite(seconds) || seconds <= 0 || p.cost_seconds <= 0 || report.result->resumed_from_step > 0) {
    return;
  }
  Kind& kind = kinds[device->kind];
  ++kind.samples;
  // A plain mean at first, then one that forgets: the speed changes with the shapes that are trained.
  const double weight = std::max(0.05, 1.0 / static_cast<double>(kind.samples));
  const double ratio = std::clamp(seconds / p.cost_seconds, 1e-6, 1e6);
  kind.factor += weight * (ratio - kind.factor);
}

Acknowledgement Core::State::TakeFailure(Worker& worker, const FailureReport& report) {
  const AttemptRef& id = report.id;
  if (auto refused = Refuse(worker, id)) {
    return *refused;
  }
  Point& p = *FindPoint(id.point);
  if (auto ended = RefuseEnded(p, id)) {
    if (IsTwin(worker, id)) {
      RemoveTwin(IndexOf(p));
    }
    return *ended;
  }
  const PointIndex index = IndexOf(p);
  EndLease(index, AttemptOutcome::kFailed, Word(report.cause), report.message);
  p.reported = id.attempt.value();
  Device* device = FindDevice(worker, report.device);
  const bool certain = IsCertain(report.cause);
  // Not the point's fault alone, as long as something is left to try: a smaller pack, or none.
  const bool shared =
      !certain && report.pack_size > 1 &&
      (report.cause == FailureCause::kOutOfMemory ? device != nullptr && HalvePack(p, device->kind, report.pack_size)
                                                  : !std::exchange(p.alone, true));
  if (!shared) {
    p.failures = static_cast<uint16_t>(std::min<int>(p.failures + 1, UINT16_MAX));
    if (!certain && device != nullptr) {
      BlameDevice(worker, *device, index, report);
    }
  }
  if (certain || (!shared && p.failures >= AllowedFailures(p))) {
    FailPoint(index, absl::StrCat(Word(report.cause), ": ", report.message));
  } else {
    Requeue(index);
  }
  return {id, Verdict::kAccepted, ""};
}

// Every member of a pack reports it, so what ran is halved, not what is allowed. False: it was down to one before.
bool Core::State::HalvePack(const Point& p, const std::string& kind, int32_t pack_size) {
  const auto [limit, inserted] = slot_limits.try_emplace({p.shape, kind}, pack_size);
  if (limit->second <= 1) {
    return false;
  }
  limit->second = std::min(limit->second, pack_size / 2);
  return true;
}

// A device on which different points fail one after the other is broken, not they.
void Core::State::BlameDevice(Worker& worker, Device& device, PointIndex point, const FailureReport& report) {
  std::vector<PointIndex>& failed = device.failed_in_a_row;
  if (std::find(failed.begin(), failed.end(), point) == failed.end()) {
    failed.push_back(point);
  }
  if (static_cast<int64_t>(failed.size()) < options.quarantine_window) {
    return;
  }
  device.quarantine = absl::StrCat(
      failed.size(), " different points failed here in a row; the last: ", Word(report.cause), ": ", report.message);
  Note("device_quarantined", absl::StrCat(worker.id.value(), " ", device.name), device.quarantine);
  FreeDevice(worker, device, "its device was quarantined");
}

Acknowledgement Core::State::TakeHandBack(Worker& worker, const HandBackReport& report) {
  const AttemptRef& id = report.id;
  if (auto refused = Refuse(worker, id)) {
    return *refused;
  }
  Point& p = *FindPoint(id.point);
  if (auto ended = RefuseEnded(p, id)) {
    if (IsTwin(worker, id)) {
      RemoveTwin(IndexOf(p));
    }
    return *ended;
  }
  if (report.checkpoint != nullptr) {
    batch.push_back(CheckpointSaved{id, report.checkpoint});
  }
  EndLease(IndexOf(p), AttemptOutcome::kHandedBack, "", "");
  p.reported = id.attempt.value();
  Requeue(IndexOf(p));
  return {id, Verdict::kAccepted, ""};
}

}  // namespace capsweep::core
