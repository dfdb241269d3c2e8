// Which kernel serves a shape, and its launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "worker/trainer/cuda/task.h"

namespace capsweep::trainer::cuda {

// The rule: a kernel made for the shape if its shared memory fits, else the one for any shape. Depends on the shape,
// the batch (the largest one or, if less, items) and the shared memory that a block of the device may have; nothing is
// timed.
KernelChoice ChooseKernel(const RunShape& shape, int64_t batch, int64_t shared_bytes);

int32_t KernelCount();

// Blocks of this choice that one multiprocessor of the current device holds at once. Also lets the kernel have up to
// `shared_bytes`.
cudaError_t BlocksPerMultiprocessor(const KernelChoice& choice, int64_t shared_bytes, int* blocks);

// Trains tasks[slots[i]] with states[slots[i]] for i < count, each for about `nanoseconds`. The pointers are the
// device's. Returns at once.
cudaError_t LaunchKernel(int32_t kernel, int32_t threads, int64_t shared_bytes, const Task* tasks, TaskState* states,
                         const int32_t* slots, int32_t count, uint64_t nanoseconds, cudaStream_t stream);

}  // namespace capsweep::trainer::cuda
