// The table of kernels: every group of shapes is a file of its own, compiled by nvcc.
#pragma once

#include <cstdint>
#include <span>

#include "worker/trainer/cuda/task.h"

namespace capsweep::trainer::cuda {

using KernelFunction = void (*)(const Task*, TaskState*, const int32_t*, uint64_t);

// A kernel for one shape, its sizes known to the compiler.
struct StaticEntry {
  KernelFunction function;
  RunShape shape;
  int32_t threads;
  MemoryPlan plan;
};

KernelFunction AnyShapeKernel();
std::span<const StaticEntry> TinyShapes();
std::span<const StaticEntry> SmallShapes();
std::span<const StaticEntry> MiddleShapes();

}  // namespace capsweep::trainer::cuda
