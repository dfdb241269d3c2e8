// A GPU for tests: memory is the host's, and a launch runs the very kernels of the cuda back end, thread by thread.
#pragma once

#include <memory>

#include "worker/trainer/cuda/gpu.h"

namespace capsweep::trainer::cuda {

struct HostGpuOptions {
  int32_t threads = 32;             // of a block; its kernels' choice is ignored
  int64_t shared_floats = 1 << 16;  // of a block
  int blocks_at_once = 4;
  int64_t memory_bytes = int64_t{1} << 40;
  uint64_t looks_per_launch = 1;  // at the clock: a few per step, and a launch does at least one step
  int sick_after_launches = -1;   // then every call fails
};

std::unique_ptr<Gpu> MakeHostGpu(const HostGpuOptions& options = {});

}  // namespace capsweep::trainer::cuda
