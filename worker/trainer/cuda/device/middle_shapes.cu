#include "worker/trainer/cuda/device/static_kernel.cuh"

namespace capsweep::trainer::cuda {

std::span<const StaticEntry> MiddleShapes() {
  static const StaticEntry kEntries[] = {
      MakeEntry<StaticShape<TaskMode::kLabel, 8, 8, 64, 64, 256>, 256, 226>(),
      MakeEntry<StaticShape<TaskMode::kSeq, 8, 8, 64, 64, 256>, 256, 226>(),
  };
  return kEntries;
}

}  // namespace capsweep::trainer::cuda
