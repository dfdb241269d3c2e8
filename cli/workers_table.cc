#include "cli/workers_table.h"

#include <algorithm>
#include <map>

#include "cli/table.h"
#include "common/clock.h"
#include "common/text.h"
#include "nlohmann/json.hpp"

namespace capsweep::cli {
namespace {

// v_workers.devices_json: [{"device", "kind", "state", "slots", "running", "points_done", "reason"}, …].
absl::StatusOr<std::vector<core::DeviceView>> DevicesFromJson(const std::string& text) {
  std::vector<core::DeviceView> devices;
  const nlohmann::json array = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!array.is_array()) {
    return absl::DataLossError(StrCat("v_workers.devices_json is not a JSON array: ", text));
  }
  try {
    for (const nlohmann::json& entry : array) {
      core::DeviceView device;
      device.name = entry.value("device", "");
      device.kind = entry.value("kind", "");
      device.state = entry.value("state", "");
      device.reason = entry.value("reason", "");
      device.slots = entry.value("slots", 0);
      device.running = entry.value("running", 0);
      device.points_done = entry.value("points_done", int64_t{0});
      devices.push_back(std::move(device));
    }
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(StrCat("v_workers.devices_json: ", error.what()));
  }
  return devices;
}

}  // namespace

core::WorkerState WorkerStateFromWord(std::string_view word) {
  for (auto state : {core::WorkerState::kIdle, core::WorkerState::kBusy, core::WorkerState::kDraining,
                     core::WorkerState::kQuarantined}) {
    if (core::ToWord(state) == word) {
      return state;
    }
  }
  return core::WorkerState::kLost;
}

absl::StatusOr<std::vector<core::WorkerView>> WorkersFromTable(const store::Table& table) {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    index[table.columns[i]] = i;
  }
  for (const char* name : {"worker", "host", "state", "reason", "last_seen_ms", "devices_json"}) {
    if (!index.contains(name)) {
      return absl::InternalError(StrCat("v_workers has no column ", name));
    }
  }
  std::vector<core::WorkerView> workers;
  for (const auto& row : table.rows) {
    const auto text = [&](const char* name) {
      const auto* value = std::get_if<std::string>(&row[index[name]]);
      return value == nullptr ? std::string() : *value;
    };
    core::WorkerView view;
    view.worker = WorkerId(text("worker"));
    view.host = text("host");
    view.state = WorkerStateFromWord(text("state"));
    view.reason = text("reason");
    const auto* seen_ms = std::get_if<int64_t>(&row[index["last_seen_ms"]]);
    const int64_t now_ms = Clock::Real().WallMillis();
    view.last_seen_seconds = static_cast<double>(std::max<int64_t>(0, now_ms - (seen_ms ? *seen_ms : now_ms))) / 1000;
    if (const std::string devices = text("devices_json"); !devices.empty()) {
      auto parsed = DevicesFromJson(devices);
      if (!parsed.ok()) {
        return parsed.status();
      }
      view.devices = *std::move(parsed);
    }
    workers.push_back(std::move(view));
  }
  return workers;
}

store::Table WorkersToTable(const std::vector<core::WorkerView>& workers) {
  store::Table table;
  table.columns = {"worker",       "host",  "state",   "last_seen_seconds", "device", "kind",
                   "device_state", "slots", "running", "points_done",       "reason"};
  for (const core::WorkerView& worker : workers) {
    const std::string state(core::ToWord(worker.state));
    if (worker.devices.empty()) {
      table.rows.push_back({worker.worker.value(), worker.host, state, worker.last_seen_seconds, std::monostate(),
                            std::monostate(), std::monostate(), std::monostate(), std::monostate(), std::monostate(),
                            worker.reason});
    }
    for (const core::DeviceView& device : worker.devices) {
      table.rows.push_back({worker.worker.value(), worker.host, state, worker.last_seen_seconds, device.name,
                            device.kind, device.state, int64_t{device.slots}, int64_t{device.running},
                            device.points_done, device.reason.empty() ? worker.reason : device.reason});
    }
  }
  return table;
}

std::vector<std::string> WorkersToJson(const std::vector<core::WorkerView>& workers) {
  std::vector<std::string> objects;
  for (const core::WorkerView& worker : workers) {
    std::string devices;
    for (const core::DeviceView& device : worker.devices) {
      StrAppend(&devices, devices.empty() ? "" : ", ", "{\"device\": ", JsonString(device.name),
                ", \"kind\": ", JsonString(device.kind), ", \"state\": ", JsonString(device.state),
                ", \"slots\": ", device.slots, ", \"running\": ", device.running,
                ", \"points_done\": ", device.points_done, ", \"reason\": ", JsonString(device.reason), "}");
    }
    objects.push_back(StrCat("{\"worker\": ", JsonString(worker.worker.value()), ", \"host\": ",
                             JsonString(worker.host), ", \"state\": ", JsonString(core::ToWord(worker.state)),
                             ", \"last_seen_seconds\": ", JsonNumber(worker.last_seen_seconds),
                             ", \"reason\": ", JsonString(worker.reason), ", \"devices\": [", devices, "]}"));
  }
  return objects;
}

}  // namespace capsweep::cli
