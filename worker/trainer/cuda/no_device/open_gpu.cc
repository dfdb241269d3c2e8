// For builds without nvcc.
#include "worker/trainer/cuda/gpu.h"

namespace capsweep::trainer::cuda {

absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu(int /*index*/) {
  return absl::UnimplementedError(
      "this trainer was built without CUDA kernels, because no nvcc was found; put nvcc 12.8 or newer on PATH, or run "
      "'./dev build --preset cuda', which fetches one, and build again (docs/gpu.md)");
}

}  // namespace capsweep::trainer::cuda
