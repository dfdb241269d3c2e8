#include "worker/trainer/cuda/device/kernels.h"

#include <vector>

#include "worker/trainer/cuda/device/entry.h"

namespace capsweep::trainer::cuda {
namespace {

const std::vector<StaticEntry>& StaticKernels() {
  static const std::vector<StaticEntry> kernels = [] {
    std::vector<StaticEntry> all;
    for (const auto group : {TinyShapes(), SmallShapes(), MiddleShapes()}) {
      all.insert(all.end(), group.begin(), group.end());
    }
    return all;
  }();
  return kernels;
}

KernelFunction FunctionOf(int32_t kernel) {
  return kernel == 0 ? AnyShapeKernel() : StaticKernels()[static_cast<size_t>(kernel - 1)].function;
}

}  // namespace

int32_t KernelCount() {
  return 1 + static_cast<int32_t>(StaticKernels().size());
}

KernelChoice ChooseKernel(const RunShape& shape, int64_t batch, int64_t shared_bytes) {
  int32_t kernel = 0;
  for (const StaticEntry& entry : StaticKernels()) {
    ++kernel;
    if (entry.shape == shape && entry.plan.shared_floats * static_cast<int64_t>(sizeof(float)) <= shared_bytes) {
      return {kernel, entry.threads, entry.plan};
    }
  }
  const int32_t threads = shape.width <= 16 ? 128 : 256;
  return {0, threads, MakeMemoryPlan(shape, batch, shared_bytes / static_cast<int64_t>(sizeof(float)))};
}

cudaError_t BlocksPerMultiprocessor(const KernelChoice& choice, int64_t shared_bytes, int* blocks) {
  const auto* function = reinterpret_cast<const void*>(FunctionOf(choice.kernel));
  const cudaError_t error =
      cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (error != cudaSuccess) {
    return error;
  }
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, choice.threads,
                                                       static_cast<size_t>(choice.plan.shared_floats) * sizeof(float));
}

cudaError_t LaunchKernel(int32_t kernel, int32_t threads, int64_t shared_bytes, const Task* tasks, TaskState* states,
                         const int32_t* slots, int32_t count, uint64_t nanoseconds, cudaStream_t stream) {
  void* arguments[] = {&tasks, &states, &slots, &nanoseconds};
  return cudaLaunchKernel(reinterpret_cast<const void*>(FunctionOf(kernel)), dim3(static_cast<unsigned>(count)),
                          dim3(static_cast<unsigned>(threads)), arguments, static_cast<size_t>(shared_bytes), stream);
}

}  // namespace capsweep::trainer::cuda
