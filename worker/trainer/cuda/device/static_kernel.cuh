// Kernels whose shape the compiler knows. For .cu files.
#pragma once

#include "worker/trainer/cuda/device/entry.h"
#include "worker/trainer/cuda/trainer.h"

namespace capsweep::trainer::cuda {

extern __shared__ Float4 shared_memory[];

struct DeviceRun {
  uint64_t start;

  __device__ static uint64_t Now() {
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
  }
  __device__ __forceinline__ uint64_t Nanoseconds() const { return Now() - start; }
};

// The chunk is the one for large batches.
inline constexpr int64_t kAnyBatch = int64_t{1} << 30;

// Phases for the threads of a block, with a barrier behind each.
template <int kThreads>
struct StaticRun : DeviceRun {
  template <class Phase>
  __device__ __forceinline__ void operator()(const Phase& phase) const {
    phase(Place{static_cast<int32_t>(threadIdx.x), kThreads});
    __syncthreads();
  }
};

template <class S, int kThreads, int64_t kSharedFloats>
struct StaticKernel {
  using Shape = S;
  using Run = StaticRun<kThreads>;
  Shape shape;
  float* shared;
  __device__ __forceinline__ MemoryPlan Plan() const {
    constexpr MemoryPlan plan = MakeMemoryPlan(S{}, kAnyBatch, kSharedFloats);
    return plan;
  }
};

template <class S, int kThreads, int64_t kSharedFloats>
__global__ void __launch_bounds__(kThreads)
    TrainStatic(const Task* tasks, TaskState* states, const int32_t* slots, uint64_t nanoseconds) {
  using Kernel = StaticKernel<S, kThreads, kSharedFloats>;
  StaticRun<kThreads> run{{DeviceRun::Now()}};
  const Kernel kernel{S{}, &shared_memory[0].x};
  const int32_t slot = slots[blockIdx.x];
  Trainer<Kernel>(kernel, tasks[slot], states[slot], run).RunFor(nanoseconds);
}

// With at most so many kilobytes of shared memory.
template <class S, int kThreads, int kKilobytes>
StaticEntry MakeEntry() {
  constexpr int64_t kFloats = kKilobytes * 256;
  return {&TrainStatic<S, kThreads, kFloats>,
          {S::mode, S::layers, S::heads, S::head_dim, S::width, S::seq_len, S::vocab, S::freeze_mlp},
          kThreads,
          MakeMemoryPlan(S{}, kAnyBatch, kFloats)};
}

}  // namespace capsweep::trainer::cuda
