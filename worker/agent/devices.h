// Which devices this worker drives.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::agent {

struct DeviceName {
  std::string name;      // "cpu:3", "cuda:1": unique within the worker
  std::string argument;  // what the trainer is told: "cpu", "cuda:1"

  friend bool operator==(const DeviceName&, const DeviceName&) = default;
};

// What the host offers.
struct HostDevices {
  int cores = 1;  // this process may use at once
  int gpus = 0;   // visible NVIDIA devices
};
// Cores: CPU affinity, at most the cgroup's quota (v2 or v1), at least 1. GPUs: /dev/nvidia<N>, at most what
// CUDA_VISIBLE_DEVICES leaves.
HostDevices FindHostDevices();

// `cpu` and `cpu:N` (N trainers of one core each), `cuda:0,1`, `all` (every GPU and every core). InvalidArgument names
// what was given and what may be. `auto` is resolved by the caller: it depends on what the trainer can do.
absl::StatusOr<std::vector<DeviceName>> ParseDevices(const std::string& text, const HostDevices& host);

// From the texts of cgroup files: "200000 100000" (cpu.max) → 2; "max …" or unreadable → 0, no limit.
int CoresOfQuota(const std::string& cpu_max);

}  // namespace capsweep::agent
