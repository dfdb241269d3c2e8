// What the cuda back end asks of a GPU. The real one speaks to the CUDA runtime (device/); tests bring one that runs
// the same kernels on the host.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/trainer/cuda/task.h"

namespace capsweep::trainer::cuda {

struct GpuFacts {
  std::string kind;  // model
  std::string name;  // model and index
  int64_t memory_bytes = 0;
};

// One launch of one kernel.
struct LaunchGroup {
  int32_t kernel = 0;
  int32_t threads = 0;
  int64_t shared_bytes = 0;
  std::vector<int32_t> slots;  // of the arrays of tasks and states
};

// Belongs to one thread. Any error but ResourceExhausted means that the device is sick: nothing works afterwards.
class Gpu {
 public:
  virtual ~Gpu() = default;

  virtual const GpuFacts& facts() const = 0;

  // `batch`: the largest batch or, if less, items.
  virtual KernelChoice Choose(const RunShape& shape, int64_t batch) const = 0;
  // Blocks of this choice that the whole device runs at once, at least 1. Unimplemented: none fits.
  virtual absl::StatusOr<int> BlocksAtOnce(const KernelChoice& choice) const = 0;

  // Memory of the device, aligned for anything. ResourceExhausted if there is not enough. A launch may go on meanwhile.
  virtual absl::StatusOr<void*> Allocate(int64_t bytes) = 0;
  virtual void Free(void* memory) = 0;
  // Done on return. A launch may go on meanwhile; it must not use what is written.
  virtual absl::Status Upload(void* to, const void* from, int64_t bytes) = 0;
  virtual absl::Status Download(void* to, const void* from, int64_t bytes) = 0;

  // Begins to train the slots of all groups side by side, each for about `nanoseconds`, and returns. `tasks` and
  // `states` are the device's. One launch at a time.
  virtual absl::Status Launch(const std::vector<LaunchGroup>& groups, const Task* tasks, TaskState* states,
                              uint64_t nanoseconds) = 0;
  // Until the launch has ended.
  virtual absl::Status Wait() = 0;
};

// GPU number `index` of this process. The error says what is missing: a trainer with CUDA kernels, a driver, a newer
// driver, a GPU, or a newer GPU.
absl::StatusOr<std::unique_ptr<Gpu>> OpenGpu(int index);

}  // namespace capsweep::trainer::cuda
