// The cuda back end: own kernels, one model per thread block, many steps per launch.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/cuda/gpu.h"

namespace capsweep::trainer {

// `device`: "cuda:N". Unimplemented for a device of another kind and in a trainer without CUDA kernels. The back end
// belongs to the thread that calls it.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const std::string& device, int slots = 1);

std::unique_ptr<Backend> MakeGpuBackend(std::unique_ptr<cuda::Gpu> gpu);

// Kind, name and memory of the GPU "cuda:N".
absl::StatusOr<DeviceFacts> CudaDeviceFacts(const std::string& device);

}  // namespace capsweep::trainer
