#include "worker/trainer/cuda/device/static_kernel.cuh"

namespace capsweep::trainer::cuda {

std::span<const StaticEntry> SmallShapes() {
  static const StaticEntry kEntries[] = {
      MakeEntry<StaticShape<TaskMode::kLabel, 4, 8, 32, 16, 64>, 256, 226>(),
      MakeEntry<StaticShape<TaskMode::kSeq, 4, 8, 32, 16, 64>, 256, 226>(),
  };
  return kEntries;
}

}  // namespace capsweep::trainer::cuda
