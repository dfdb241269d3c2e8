#include "coordinator/service/sync_request.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "common/point.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/limits.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

bool IsAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool AllOf(std::string_view text, size_t max, std::string_view marks, bool upper) {
  return !text.empty() && text.size() <= max && std::all_of(text.begin(), text.end(), [&](char c) {
    return (IsAlnum(c) && (upper || !(c >= 'A' && c <= 'Z'))) || marks.find(c) != std::string_view::npos;
  });
}

// What was sent, short enough and clean enough to stand in an error.
std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 40)) {
    out.push_back(static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e ? '?' : c);
  }
  return out + (text.size() > 40 ? "…'" : "'");
}

// Protobuf has checked that it is UTF-8. Control characters would garble logs and tables.
absl::Status CheckText(std::string_view field, std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return Bad(field, StrCat("has ", text.size(), " bytes; at most ", max_bytes, " are allowed"));
  }
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
    return Bad(field, StrCat(Quoted(text), " has control characters"));
  }
  return absl::OkStatus();
}

// Free text is for people: cut at a character's border and flattened to one line rather than refused.
std::string CleanText(std::string_view text) {
  size_t size = std::min(text.size(), kMaxFreeTextBytes);
  while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) {
    --size;
  }
  std::string out(text.substr(0, size));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
      c = ' ';
    }
  }
  return out;
}

absl::Status CheckCount(std::string_view field, int count, int max) {
  return count <= max ? absl::OkStatus()
                      : Bad(field, StrCat(count, " entries; at most ", max, " in a call, send the rest in the next"));
}

absl::Status CheckSeconds(std::string_view field, double value, double max) {
  return std::isfinite(value) && value >= 0 && value <= max
             ? absl::OkStatus()
             : Bad(field, StrCat(value, " is not a number of seconds in 0..", max));
}

absl::StatusOr<core::AttemptRef> CheckId(std::string_view field, bool present, const v1::AttemptId& id) {
  if (!present || id.point_id() <= 0) {
    return Bad(StrCat(field, ".id.point_id"), StrCat(id.point_id(), " is not the id of a point (1 or more)"));
  }
  if (id.attempt() <= 0) {
    return Bad(StrCat(field, ".id.attempt"), StrCat(id.attempt(), " is not an attempt's number (1 or more)"));
  }
  return core::AttemptRef{PointId(id.point_id()), AttemptNumber(id.attempt())};
}

// An attempt is held at one place. (A report that is repeated within a call is harmless: the core calls it a
// duplicate.)
class HeldAttempts {
 public:
  absl::Status Add(std::string_view field, const core::AttemptRef& id) {
    if (!seen_.emplace(id.point.value(), id.attempt.value()).second) {
      return Bad(StrCat(field, ".id"), StrCat("attempt ", id.attempt.value(), " of point ", id.point.value(),
                                              " is held at more than one place"));
    }
    return absl::OkStatus();
  }

 private:
  absl::flat_hash_set<std::pair<int64_t, int32_t>> seen_;
};

absl::Status CheckDeviceName(std::string_view field, std::string_view name) {
  return IsDeviceName(name)
             ? absl::OkStatus()
             : Bad(field, StrCat(Quoted(name), " is not a device name ([a-z0-9:_-], 1 to 32 characters)"));
}

absl::Status CheckIdentity(const v1::SyncRequest& r) {
  if (!IsWorkerId(r.worker_id())) {
    return Bad("worker_id",
               StrCat(Quoted(r.worker_id()), " is not a worker id ([A-Za-z0-9._:@-], 1 to 128 characters)"));
  }
  if (!AllOf(r.incarnation(), 64, "._-", true)) {
    return Bad("incarnation", StrCat(Quoted(r.incarnation()), " is not 1 to 64 characters of [A-Za-z0-9._-]"));
  }
  if (r.sequence() < 1) {
    return Bad("sequence", StrCat(r.sequence(), " is not 1 or more"));
  }
  if (!r.database_id().empty() && !AllOf(r.database_id(), 64, "-", true)) {
    return Bad("database_id", StrCat(Quoted(r.database_id()), " is not the id of a database"));
  }
  RETURN_IF_ERROR(CheckText("host", r.host(), kMaxHostBytes));
  if (r.pid() < 0) {
    return Bad("pid", StrCat(r.pid(), " is negative"));
  }
  RETURN_IF_ERROR(CheckText("version", r.version(), kMaxNameBytes));
  RETURN_IF_ERROR(CheckText("torch_version", r.torch_version(), kMaxNameBytes));
  RETURN_IF_ERROR(CheckCount("labels", static_cast<int>(r.labels_size()), kMaxLabels));
  for (const auto& [key, value] : r.labels()) {
    if (!AllOf(key, 63, "._/-", true)) {
      return Bad("labels", StrCat(Quoted(key), " is not a label's name ([A-Za-z0-9._/-], 1 to 63 characters)"));
    }
    RETURN_IF_ERROR(CheckText(StrCat("labels.", key), value, kMaxHostBytes));
  }
  RETURN_IF_ERROR(CheckSeconds("max_wait_seconds", r.max_wait_seconds(), kMaxWaitSeconds));
  return CheckSeconds("remaining_seconds", r.remaining_seconds(), 1e9);
}

absl::StatusOr<core::DeviceReport> CheckDevice(const std::string& field, const v1::Device& d, HeldAttempts& seen) {
  RETURN_IF_ERROR(CheckDeviceName(StrCat(field, ".name"), d.name()));
  RETURN_IF_ERROR(CheckText(StrCat(field, ".kind"), d.kind(), kMaxNameBytes));
  if (d.kind().empty() && d.ready()) {
    return Bad(StrCat(field, ".kind"), "is empty; a device that is ready says \"cpu\" or the GPU's model");
  }
  if (d.memory_bytes() < 0) {
    return Bad(StrCat(field, ".memory_bytes"), StrCat(d.memory_bytes(), " is negative"));
  }
  if (d.slots() < 1 || d.slots() > kMaxSlots) {
    return Bad(StrCat(field, ".slots"), StrCat(d.slots(), " is not in 1..", kMaxSlots));
  }
  RETURN_IF_ERROR(CheckCount(StrCat(field, ".held"), d.held_size(), kMaxHeldPerDevice));
  core::DeviceReport out{.name = d.name(),
                         .kind = d.kind(),
                         .memory_bytes = d.memory_bytes(),
                         .slots = d.slots(),
                         .ready = d.ready(),
                         .reason = CleanText(d.reason())};
  out.held.reserve(static_cast<size_t>(d.held_size()));
  for (int i = 0; i < d.held_size(); ++i) {
    const v1::HeldAttempt& held = d.held(i);
    const std::string where = StrCat(field, ".held[", i, "]");
    ASSIGN_OR_RETURN(const core::AttemptRef id, CheckId(where, held.has_id(), held.id()));
    RETURN_IF_ERROR(seen.Add(where, id));
    if (!(held.progress() >= 0 && held.progress() <= 1)) {
      return Bad(StrCat(where, ".progress"), StrCat(held.progress(), " is not in 0..1"));
    }
    out.held.push_back({id, held.progress(), held.running()});
  }
  return out;
}

absl::Status CheckDevices(const v1::SyncRequest& r, HeldAttempts& seen, core::WorkerSync& out) {
  RETURN_IF_ERROR(CheckCount("devices", r.devices_size(), kMaxDevices));
  absl::flat_hash_set<std::string> names;
  out.devices.reserve(static_cast<size_t>(r.devices_size()));
  for (int i = 0; i < r.devices_size(); ++i) {
    const std::string field = StrCat("devices[", i, "]");
    ASSIGN_OR_RETURN(core::DeviceReport device, CheckDevice(field, r.devices(i), seen));
    if (!names.insert(device.name).second) {
      return Bad(StrCat(field, ".name"), StrCat(Quoted(device.name), " is named twice"));
    }
    out.devices.push_back(std::move(device));
  }
  return absl::OkStatus();
}

absl::Status CheckResults(const v1::SyncRequest& r, core::WorkerSync& out) {
  RETURN_IF_ERROR(CheckCount("results", r.results_size(), kMaxReports));
  out.results.reserve(static_cast<size_t>(r.results_size()));
  for (int i = 0; i < r.results_size(); ++i) {
    const v1::DeliveredResult& report = r.results(i);
    const std::string field = StrCat("results[", i, "]");
    ASSIGN_OR_RETURN(const core::AttemptRef id, CheckId(field, report.has_id(), report.id()));
    RETURN_IF_ERROR(CheckDeviceName(StrCat(field, ".device"), report.device()));
    if (!report.has_result()) {
      return Bad(StrCat(field, ".result"), "is missing");
    }
    RETURN_IF_ERROR(CheckCount(StrCat(field, ".result.curve"), report.result().curve_size(), kMaxCurveRows));
    auto result = std::make_shared<const PointResult>(ResultFromProto(report.result()));
    out.results.push_back({id, report.device(), KeyPrefix(result->point_key), result});
  }
  return absl::OkStatus();
}

absl::Status CheckFailures(const v1::SyncRequest& r, core::WorkerSync& out) {
  RETURN_IF_ERROR(CheckCount("failures", r.failures_size(), kMaxReports));
  out.failures.reserve(static_cast<size_t>(r.failures_size()));
  for (int i = 0; i < r.failures_size(); ++i) {
    const v1::DeliveredFailure& report = r.failures(i);
    const std::string field = StrCat("failures[", i, "]");
    ASSIGN_OR_RETURN(const core::AttemptRef id, CheckId(field, report.has_id(), report.id()));
    RETURN_IF_ERROR(CheckDeviceName(StrCat(field, ".device"), report.device()));
    core::FailureReport failure{.id = id, .device = report.device(), .message = CleanText(report.message())};
    if (!FromWord(report.cause(), failure.cause)) {
      return Bad(StrCat(field, ".cause"), StrCat(Quoted(report.cause()),
                                                 " is none of nan_loss, out_of_memory, unsupported, bad_point, "
                                                 "trainer_died, trainer_hung, internal"));
    }
    if (report.pack_size() < 1 || report.pack_size() > kMaxSlots) {
      return Bad(StrCat(field, ".pack_size"), StrCat(report.pack_size(), " is not in 1..", kMaxSlots));
    }
    failure.pack_size = report.pack_size();
    out.failures.push_back(std::move(failure));
  }
  return absl::OkStatus();
}

absl::Status CheckHandedBack(const v1::SyncRequest& r, core::WorkerSync& out) {
  RETURN_IF_ERROR(CheckCount("handed_back", r.handed_back_size(), kMaxReports));
  out.handed_back.reserve(static_cast<size_t>(r.handed_back_size()));
  for (int i = 0; i < r.handed_back_size(); ++i) {
    const v1::HandedBack& report = r.handed_back(i);
    const std::string field = StrCat("handed_back[", i, "]");
    ASSIGN_OR_RETURN(const core::AttemptRef id, CheckId(field, report.has_id(), report.id()));
    std::shared_ptr<const Checkpoint> checkpoint;
    if (!report.checkpoint().empty()) {
      if (!AllOf(report.checkpoint_backend(), 32, "_-", false)) {
        return Bad(
            StrCat(field, ".checkpoint_backend"),
            StrCat(Quoted(report.checkpoint_backend()), " is not a back end's name; it must say which wrote it"));
      }
      checkpoint = std::make_shared<const Checkpoint>(Checkpoint{report.checkpoint_backend(), report.checkpoint()});
    }
    out.handed_back.push_back({id, std::move(checkpoint)});
  }
  return absl::OkStatus();
}

}  // namespace

bool IsWorkerId(std::string_view text) {
  return AllOf(text, kMaxNameBytes, "._:@-", true);
}
bool IsDeviceName(std::string_view text) {
  return AllOf(text, 32, ":_-", false);
}

absl::StatusOr<core::WorkerSync> CheckSyncRequest(const v1::SyncRequest& r) {
  RETURN_IF_ERROR(CheckIdentity(r));
  core::WorkerSync out;
  out.worker = WorkerId(r.worker_id());
  out.incarnation = Incarnation(r.incarnation());
  out.sequence = r.sequence();
  out.host = r.host();
  out.version = r.version();
  out.draining = r.draining();
  out.leaving = r.leaving();
  out.max_wait = FromSeconds(r.max_wait_seconds());
  out.remaining_seconds = r.remaining_seconds();
  HeldAttempts seen;
  RETURN_IF_ERROR(CheckDevices(r, seen, out));
  RETURN_IF_ERROR(CheckResults(r, out));
  RETURN_IF_ERROR(CheckFailures(r, out));
  RETURN_IF_ERROR(CheckHandedBack(r, out));
  return out;
}

absl::Status CheckResult(const DetailsPtr& details, const core::ResultReport& report) {
  if (details == nullptr) {
    return absl::NotFoundError(StrCat("there is no point ", report.id.point.value(), " in this database"));
  }
  const PointResult& result = *report.result;
  if (result.point_key != details->point_key) {
    return absl::InvalidArgumentError(StrCat("point_key: ", Quoted(result.point_key), " is not that of point ",
                                             report.id.point.value(), " (", details->point_key, ")"));
  }
  const std::pair<const char*, const std::string*> texts[] = {{"backend", &result.backend},
                                                              {"device_kind", &result.device_kind},
                                                              {"device_name", &result.device_name},
                                                              {"version", &result.version},
                                                              {"blas", &result.blas},
                                                              {"stop_reason", &result.stop_reason},
                                                              {"torch_version", &result.torch_version}};
  for (const auto& [name, text] : texts) {
    RETURN_IF_ERROR(CheckText(name, *text, kMaxProvenanceBytes));
  }
  if (result.threads < 0 || result.resumed_from_step < 0 || result.seconds < 0) {
    return absl::InvalidArgumentError("threads, resumed_from_step or seconds: is negative");
  }
  return ValidateMeasures(details->point, result);
}

}  // namespace capsweep::service
