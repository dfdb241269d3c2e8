#include "worker/agent/state.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "common/text.h"

namespace capsweep::agent {
namespace {

constexpr size_t kMaxReports = 4096;
// Under the message limit of 4 MiB with room for what is held.
constexpr size_t kMaxReportBytes = 5 << 19;
// A trainer that dies this often with work queued and none started is being killed by the first in the queue.
constexpr int kDeathsToBlameTheQueue = 2;

template <class T>
void Append(std::vector<T>& to, std::vector<T>&& from) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

}  // namespace

State::State(std::vector<std::string> device_names) : report_limit_(kMaxReports) {
  for (std::string& name : device_names) {
    DeviceState device;
    device.view.kind = name.substr(0, name.find(':'));
    device.view.reason = "its trainer is starting";
    device.view.name = std::move(name);
    devices_.push_back(std::move(device));
  }
}

std::string State::NameOf(const AttemptId& id) const {
  return generation_ == 0 ? ToText(id) : StrCat(ToText(id), "~", generation_);
}

State::Held* State::Find(const std::string& name) {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &devices_[it->second.device].held.at(it->second.serial);
}

void State::Forget(const std::string& name) {
  auto it = by_name_.find(name);
  if (it == by_name_.end()) return;
  devices_[it->second.device].held.erase(it->second.serial);
  by_name_.erase(it);
}

bool State::Idle() const {
  return by_name_.empty();
}

bool State::AnyDeviceIdle() const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [](const DeviceState& d) { return d.view.ready && d.held.empty(); });
}

double State::LeastHeldPerSlot() const {
  std::optional<double> least;
  for (const DeviceState& device : devices_) {
    const double held = static_cast<double>(device.held.size()) / std::max(device.view.slots, 1);
    if (device.view.ready) least = std::min(held, least.value_or(held));
  }
  return least.value_or(0);
}

std::vector<ReportPtr> State::Unacknowledged() const {
  std::vector<ReportPtr> reports;
  for (const auto& [serial, report] : unacknowledged_) reports.push_back(report);
  return reports;
}

void State::Restore(std::vector<Report> reports) {
  Changes already_spooled;
  for (Report& report : reports) AddReport(std::move(report), already_spooled);
}

void State::AddReport(Report report, Changes& changes) {
  if (unacknowledged_by_id_.contains(report.id)) return;
  auto shared = std::make_shared<const Report>(std::move(report));
  unacknowledged_by_id_[shared->id] = next_serial_;
  unacknowledged_[next_serial_++] = shared;
  changes.reports.push_back(std::move(shared));
}

SyncCall State::BuildCall(double max_wait_seconds, bool draining, bool leaving, double remaining_seconds) {
  SyncCall call;
  call.sequence = ++sequence_;
  call.database_id = database_id_;
  call.max_wait_seconds = max_wait_seconds;
  call.draining = draining || drained_;
  call.leaving = leaving;
  call.remaining_seconds = remaining_seconds;
  absl::flat_hash_map<std::string, size_t> index;
  for (const DeviceState& device : devices_) {
    index[device.view.name] = call.devices.size();
    DeviceView& view = call.devices.emplace_back(device.view);
    for (const auto& [serial, held] : device.held) view.held.push_back({held.id, held.progress, held.started});
    if (call.torch_version.empty()) call.torch_version = device.torch_version;
  }
  size_t bytes = 0;
  for (const auto& [serial, report] : unacknowledged_) {
    const size_t size = WireBytes(*report);
    const bool fits = call.reports.size() < report_limit_ && (bytes + size <= kMaxReportBytes || call.reports.empty());
    if (fits) {
      call.reports.push_back(report);
      bytes += size;
    } else {
      // A device that was renamed between two starts of the agent holds nothing; any device can vouch for the rest.
      auto it = index.find(report->device);
      call.devices[it == index.end() ? 0 : it->second].held.push_back({report->id, 1.0, false});
    }
  }
  return call;
}

void State::OnRefused(const SyncCall& call) {
  if (call.reports.empty()) return;
  if (call.reports.size() == 1) suspect_ = call.reports[0];
  report_limit_ = call.reports.size() / 2;
}

Changes State::ApplyReply(const SyncCall& call, const SyncReply& reply, bool accept_work) {
  Changes changes;
  if (reply.database_id != database_id_) {
    // Verdicts and attempts of a coordinator that took our numbers for its own mean nothing. A first contact, with
    // nothing said, is sound.
    const bool first_contact = call.database_id.empty();
    SwitchDatabase(reply.database_id, changes);
    if (!first_contact) return changes;
  }
  if (suspect_ != nullptr) {
    // The call that carried only this report was refused and one without reports was not.
    if (call.reports.empty()) {
      refused_ = std::exchange(suspect_, nullptr);
      Acknowledge({refused_->id, Verdict::kRejected, "every call that carries it is refused"}, changes);
    } else {
      suspect_ = nullptr;
    }
  }
  drained_ = drained_ || reply.drain;
  report_limit_ = std::clamp<size_t>(report_limit_ * 2, 1, kMaxReports);
  for (const Acknowledgement& acknowledgement : reply.acknowledged) Acknowledge(acknowledgement, changes);
  for (const AttemptId& id : reply.drop) {
    const std::string name = NameOf(id);
    auto it = by_name_.find(name);
    if (it == by_name_.end()) continue;  // it ended meanwhile; its report is delivered all the same
    changes.cancel.push_back({it->second.device, name});
    Forget(name);
  }
  if (accept_work) {
    for (const Assignment& assignment : reply.assignments) Assign(assignment, changes);
  }
  return changes;
}

void State::SwitchDatabase(const std::string& database_id, Changes& changes) {
  if (!database_id_.empty()) ++generation_;
  DropAll(changes);
  for (auto& [serial, report] : unacknowledged_) changes.parked.push_back(report);
  unacknowledged_.clear();
  unacknowledged_by_id_.clear();
  suspect_ = nullptr;
  drained_ = false;
  database_id_ = database_id;
  changes.new_database = true;
}

void State::DropAll(Changes& changes) {
  for (size_t i = 0; i < devices_.size(); ++i) {
    for (const auto& [serial, held] : devices_[i].held) changes.cancel.push_back({i, held.name});
    devices_[i].held.clear();
  }
  by_name_.clear();
}

void State::Acknowledge(const Acknowledgement& acknowledgement, Changes& changes) {
  auto it = unacknowledged_by_id_.find(acknowledgement.id);
  if (it == unacknowledged_by_id_.end()) return;  // said twice
  if (acknowledgement.verdict == Verdict::kRejected) {
    spdlog::warn(
        "{}", WithIds(StrCat("the coordinator did not take a report: ", acknowledgement.reason), acknowledgement.id));
  } else if (acknowledgement.verdict == Verdict::kLate) {
    spdlog::info("{}", WithIds(StrCat("a report came too late: ", acknowledgement.reason), acknowledgement.id));
  }
  auto report = unacknowledged_.find(it->second);
  changes.settled.push_back(report->second);
  unacknowledged_.erase(report);
  unacknowledged_by_id_.erase(it);
}

void State::Assign(const Assignment& assignment, Changes& changes) {
  const std::string name = NameOf(assignment.id);
  if (by_name_.contains(name) || unacknowledged_by_id_.contains(assignment.id)) return;  // said twice
  auto device = std::find_if(devices_.begin(), devices_.end(),
                             [&](const DeviceState& d) { return d.view.name == assignment.device; });
  Report refusal{
      .kind = ReportKind::kFailure, .database_id = database_id_, .id = assignment.id, .device = assignment.device};
  refusal.cause = FailureCause::kBadPoint;
  if (device == devices_.end()) {
    refusal.cause = FailureCause::kInternal;
    refusal.message = StrCat("this worker has no device '", assignment.device, "'");
  } else if (!assignment.point_status.ok()) {
    refusal.message = StrCat("the point cannot be read: ", assignment.point_status.message());
  } else if (absl::Status valid = ValidatePoint(assignment.point); !valid.ok()) {
    refusal.message = StrCat("the point breaks a rule: ", valid.message());
  } else if (const std::string key = PointKey(assignment.point); key != assignment.point_key) {
    refusal.message = StrCat("coordinator and worker give the point different keys (", assignment.point_key, " and ",
                             key, "); install the same version of both");
  } else {
    const auto index = static_cast<size_t>(device - devices_.begin());
    Held held{assignment.id, name, assignment.point, assignment.point_key, assignment.checkpoint};
    changes.train.push_back({index, name, held.point, held.checkpoint});
    by_name_[name] = {index, next_serial_};
    device->held.emplace(next_serial_++, std::move(held));
    return;
  }
  if (device == devices_.end()) refusal.device = devices_.front().view.name;
  AddReport(std::move(refusal), changes);
}

void State::FailHeld(size_t device, const Held& held, FailureCause cause, const std::string& message, int32_t pack_size,
                     Changes& changes) {
  Report report{
      .kind = ReportKind::kFailure, .database_id = database_id_, .id = held.id, .device = devices_[device].view.name};
  report.cause = cause;
  report.message = message;
  report.pack_size = pack_size;
  const std::string name = held.name;
  AddReport(std::move(report), changes);
  Forget(name);
}

Changes State::OnTrainerMessage(size_t device, const TrainerMessage& message) {
  Changes changes;
  DeviceState& state = devices_[device];
  // A name belongs to one device: a message about another device's attempt would be a trainer's error.
  auto mine = [&](const std::string& name) -> Held* {
    auto it = by_name_.find(name);
    return it != by_name_.end() && it->second.device == device ? Find(name) : nullptr;
  };
  if (const auto* hello = std::get_if<Hello>(&message)) {
    state.view.kind = hello->device_kind.empty() ? state.view.kind : hello->device_kind;
    state.view.memory_bytes = hello->memory_bytes;
    state.view.slots = hello->slots;
    state.view.ready = true;
    state.view.reason.clear();
    state.torch_version = hello->torch_version;
    for (const auto& [serial, held] : state.held)
      changes.train.push_back({device, held.name, held.point, held.checkpoint});
  } else if (const auto* started = std::get_if<Started>(&message)) {
    state.deaths_before_start = 0;
    if (Held* held = mine(started->attempt)) held->started = true;
  } else if (const auto* progress = std::get_if<Progress>(&message)) {
    if (Held* held = mine(progress->attempt)) held->progress = progress->fraction;
  } else if (const auto* finished = std::get_if<Finished>(&message)) {
    Held* held = mine(finished->attempt);
    if (held == nullptr) return changes;
    if (finished->result->point_key != held->point_key) {
      FailHeld(
          device, *held, FailureCause::kInternal,
          StrCat("the trainer's result is of point ", finished->result->point_key, ", asked was ", held->point_key), 1,
          changes);
      return changes;
    }
    Report report{.kind = ReportKind::kResult, .database_id = database_id_, .id = held->id, .device = state.view.name};
    report.result = finished->result;
    AddReport(std::move(report), changes);
    Forget(finished->attempt);
  } else if (const auto* failed = std::get_if<Failed>(&message)) {
    if (Held* held = mine(failed->attempt)) {
      FailHeld(device, *held, failed->cause, failed->message, failed->pack_size, changes);
    }
  } else if (const auto* complaint = std::get_if<Complaint>(&message)) {
    spdlog::warn("{}: the trainer complains: {}", state.view.name, complaint->message);
  }
  return changes;  // Cancelled needs nothing, Stopped is the agent's (it reads the checkpoint file)
}

Changes State::OnTrainerLost(size_t device, FailureCause cause, const std::string& message, bool said_hello,
                             bool give_up) {
  Changes changes;
  DeviceState& state = devices_[device];
  state.view.ready = false;
  state.view.reason = message;
  std::vector<std::string> running;
  for (const auto& [serial, held] : state.held) {
    if (held.started) running.push_back(held.name);
  }
  if (running.empty() && said_hello && !state.held.empty() && ++state.deaths_before_start >= kDeathsToBlameTheQueue) {
    running.push_back(state.held.begin()->second.name);
    state.deaths_before_start = 0;
  }
  for (const std::string& name : running) {
    FailHeld(device, *Find(name), cause, message, static_cast<int32_t>(running.size()), changes);
  }
  if (give_up) {
    Changes handed_back = HandBackAll(device);
    Append(changes.reports, std::move(handed_back.reports));
  }
  return changes;
}

Changes State::HandBack(const std::string& attempt, std::shared_ptr<const Checkpoint> checkpoint) {
  Changes changes;
  auto it = by_name_.find(attempt);
  if (it == by_name_.end()) return changes;
  Held* held = Find(attempt);
  Report report{.kind = ReportKind::kHandBack,
                .database_id = database_id_,
                .id = held->id,
                .device = devices_[it->second.device].view.name};
  // A queued attempt that came with a checkpoint keeps it: the coordinator still has that one.
  report.checkpoint = std::move(checkpoint);
  AddReport(std::move(report), changes);
  Forget(attempt);
  return changes;
}

Changes State::HandBackAll(size_t device) {
  Changes changes;
  std::vector<std::string> names;
  for (const auto& [serial, held] : devices_[device].held) names.push_back(held.name);
  for (const std::string& name : names) {
    Changes one = HandBack(name, nullptr);
    Append(changes.reports, std::move(one.reports));
  }
  return changes;
}

}  // namespace capsweep::agent
