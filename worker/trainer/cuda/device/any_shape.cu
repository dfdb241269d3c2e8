// The kernel for any shape: its sizes are read at run time.
#include "worker/trainer/cuda/device/static_kernel.cuh"

namespace capsweep::trainer::cuda {
namespace {

template <class Phase>
__device__ __noinline__ void CallApart(const Phase& phase) {
  phase(Place{static_cast<int32_t>(threadIdx.x), static_cast<int32_t>(blockDim.x)});
}

// Every phase is a function of its own: with sizes at run time one function of all phases would need more registers
// than there are, and minutes to compile.
struct ApartRun : DeviceRun {
  template <class Phase>
  __device__ __forceinline__ void operator()(const Phase& phase) const {
    CallApart(phase);
    __syncthreads();
  }
};

struct AnyKernel {
  using Shape = RunShape;
  using Run = ApartRun;
  RunShape shape;
  const MemoryPlan& plan;
  float* shared;
  __device__ __forceinline__ const MemoryPlan& Plan() const { return plan; }
};

__global__ void __launch_bounds__(256)
    TrainAny(const Task* tasks, TaskState* states, const int32_t* slots, uint64_t nanoseconds) {
  const int32_t slot = slots[blockIdx.x];
  const Task& task = tasks[slot];
  ApartRun run{{DeviceRun::Now()}};
  const AnyKernel kernel{task.shape, task.plan, &shared_memory[0].x};
  Trainer<AnyKernel>(kernel, task, states[slot], run).RunFor(nanoseconds);
}

}  // namespace

KernelFunction AnyShapeKernel() {
  return &TrainAny;
}

}  // namespace capsweep::trainer::cuda
