// What is known about this host without any training library.
#pragma once

#include <cstdint>
#include <string>

namespace capsweep::trainer {

// "AMD EPYC 9R14", from /proc/cpuinfo; "unknown CPU" where it does not say.
std::string CpuModelName();

// Physical memory, or the memory limit of the control group if that is lower.
int64_t HostMemoryBytes();

}  // namespace capsweep::trainer
