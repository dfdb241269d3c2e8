#include "worker/trainer/cuda/device/static_kernel.cuh"

namespace capsweep::trainer::cuda {

std::span<const StaticEntry> TinyShapes() {
  static const StaticEntry kEntries[] = {
      MakeEntry<StaticShape<TaskMode::kLabel, 1, 8, 8, 8, 16>, 128, 56>(),
      MakeEntry<StaticShape<TaskMode::kSeq, 1, 8, 8, 8, 16>, 128, 75>(),
  };
  return kEntries;
}

}  // namespace capsweep::trainer::cuda
