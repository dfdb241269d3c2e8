#include "worker/agent/devices.h"

#include <sched.h>
#include <stdlib.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::agent {
namespace {

constexpr int kMaxDevices = 1024;
constexpr std::string_view kChoices = "use auto, all, cpu, cpu:N (N trainers) or cuda:0,1";

bool ParseInt(std::string_view text, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

int CoresOfCgroup() {
  // The group's own folder as seen from inside a container is the root; outside, /proc/self/cgroup names it.
  std::string group = FirstLine("/proc/self/cgroup");
  group = group.rfind("0::", 0) == 0 ? group.substr(3) : "";
  int cores = 0;
  for (std::string folder = group; !folder.empty() && folder != "/"; folder = folder.substr(0, folder.rfind('/'))) {
    const int quota = CoresOfQuota(FirstLine(StrCat("/sys/fs/cgroup", folder, "/cpu.max")));
    if (quota > 0) cores = cores == 0 ? quota : std::min(cores, quota);
  }
  for (const std::string& text :
       {FirstLine("/sys/fs/cgroup/cpu.max"), StrCat(FirstLine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), " ",
                                                    FirstLine("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))}) {
    const int quota = CoresOfQuota(text);
    if (quota > 0) cores = cores == 0 ? quota : std::min(cores, quota);
  }
  return cores;
}

int CountGpus() {
  int count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename().string();
    int index = 0;
    if (name.rfind("nvidia", 0) == 0 && ParseInt(std::string_view(name).substr(6), index)) ++count;
  }
  if (const char* visible = getenv("CUDA_VISIBLE_DEVICES"); visible != nullptr) {
    const std::string text(visible);
    const bool none = text.empty() || text == "-1" || text == "NoDevFiles";
    const int listed = none ? 0 : static_cast<int>(std::count(text.begin(), text.end(), ',')) + 1;
    count = std::min(count, listed);
  }
  return count;
}

std::vector<DeviceName> Cores(int count) {
  std::vector<DeviceName> devices;
  for (int i = 0; i < count; ++i) devices.push_back({StrCat("cpu:", i), "cpu"});
  return devices;
}

absl::StatusOr<std::vector<DeviceName>> Gpus(const std::string& list) {
  std::vector<DeviceName> devices;
  std::set<int> seen;
  std::stringstream items(list);
  for (std::string item; std::getline(items, item, ',');) {
    int index = -1;
    if (!ParseInt(item, index) || index < 0 || index >= kMaxDevices) {
      return absl::InvalidArgumentError(
          StrCat("--devices cuda:", list, ": '", item, "' is not a GPU number; ", kChoices));
    }
    if (!seen.insert(index).second) {
      return absl::InvalidArgumentError(StrCat("--devices cuda:", list, ": GPU ", index, " is listed twice"));
    }
    devices.push_back({StrCat("cuda:", index), StrCat("cuda:", index)});
  }
  if (devices.empty()) return absl::InvalidArgumentError(StrCat("--devices cuda: names no GPU; ", kChoices));
  return devices;
}

}  // namespace

int CoresOfQuota(const std::string& cpu_max) {
  std::istringstream fields(cpu_max);
  double quota = 0, period = 0;
  if (!(fields >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(quota / period - 1e-9)));
}

HostDevices FindHostDevices() {
  HostDevices host;
  cpu_set_t set;
  CPU_ZERO(&set);
  host.cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                           : static_cast<int>(std::thread::hardware_concurrency());
  if (const int quota = CoresOfCgroup(); quota > 0) host.cores = std::min(host.cores, quota);
  host.cores = std::clamp(host.cores, 1, kMaxDevices);
  host.gpus = CountGpus();
  return host;
}

absl::StatusOr<std::vector<DeviceName>> ParseDevices(const std::string& text, const HostDevices& host) {
  if (text == "cpu") return Cores(host.cores);
  if (text.rfind("cpu:", 0) == 0) {
    int count = 0;
    if (!ParseInt(std::string_view(text).substr(4), count) || count < 1 || count > kMaxDevices) {
      return absl::InvalidArgumentError(
          StrCat("--devices ", text, ": the number of trainers must be 1 to ", kMaxDevices, "; ", kChoices));
    }
    return Cores(count);
  }
  if (text.rfind("cuda:", 0) == 0) return Gpus(text.substr(5));
  if (text == "all") {
    std::vector<DeviceName> devices;
    for (int i = 0; i < host.gpus; ++i) devices.push_back({StrCat("cuda:", i), StrCat("cuda:", i)});
    for (DeviceName& core : Cores(host.cores)) devices.push_back(std::move(core));
    return devices;
  }
  return absl::InvalidArgumentError(StrCat("--devices ", text, ": unknown; ", kChoices));
}

}  // namespace capsweep::agent
