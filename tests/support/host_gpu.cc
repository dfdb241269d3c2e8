#include "tests/support/host_gpu.h"

#include <cstdlib>
#include <cstring>
#include <map>

#include "common/text.h"
#include "tests/support/host_block.h"

namespace capsweep::trainer::cuda {
namespace {

class HostGpu : public Gpu {
 public:
  explicit HostGpu(const HostGpuOptions& options) : options_(options) {
    facts_ = {"host", "host (cuda:0)", options.memory_bytes};
  }
  ~HostGpu() override {
    for (const auto& [memory, bytes] : allocated_) std::free(memory);
  }

  const GpuFacts& facts() const override { return facts_; }

  KernelChoice Choose(const RunShape& shape, int64_t batch) const override {
    return {0, options_.threads, MakeMemoryPlan(shape, batch, options_.shared_floats)};
  }
  absl::StatusOr<int> BlocksAtOnce(const KernelChoice&) const override { return options_.blocks_at_once; }

  absl::StatusOr<void*> Allocate(int64_t bytes) override {
    if (used_ + bytes > options_.memory_bytes) {
      return absl::ResourceExhaustedError(StrCat("out of memory: ", bytes, " bytes"));
    }
    void* memory = std::aligned_alloc(256, static_cast<size_t>((bytes + 255) / 256 * 256));
    std::memset(memory, 0xFF, static_cast<size_t>(bytes));  // NaN
    allocated_[memory] = bytes;
    used_ += bytes;
    return memory;
  }
  void Free(void* memory) override {
    used_ -= allocated_.at(memory);
    allocated_.erase(memory);
    std::free(memory);
  }
  absl::Status Upload(void* to, const void* from, int64_t bytes) override { return Copy(to, from, bytes); }
  absl::Status Download(void* to, const void* from, int64_t bytes) override { return Copy(to, from, bytes); }

  // The results of a launch are there at once, and the back end must not notice.
  absl::Status Launch(const std::vector<LaunchGroup>& groups, const Task* tasks, TaskState* states,
                      uint64_t /*nanoseconds*/) override {
    if (launches_++ == options_.sick_after_launches) sick_ = true;
    for (const LaunchGroup& group : groups) {
      for (const int32_t slot : group.slots) {
        if (!sick_) RunBlock(tasks[slot], states[slot]);
      }
    }
    return Health();
  }
  absl::Status Wait() override { return Health(); }

 private:
  absl::Status Health() const {
    return sick_ ? absl::InternalError("cuda:0: an illegal memory access was encountered") : absl::OkStatus();
  }
  absl::Status Copy(void* to, const void* from, int64_t bytes) const {
    if (!sick_) std::memcpy(to, from, static_cast<size_t>(bytes));
    return Health();
  }
  void RunBlock(const Task& task, TaskState& state) const {
    std::vector<Float4> shared = Poisoned(task.plan.shared_floats);
    const HostKernel kernel{task.shape, &task.plan, &shared.data()->x};
    HostRun run(options_.threads, ThreadOrder::kForward);
    Trainer<HostKernel>(kernel, task, state, run).RunFor(1000 * options_.looks_per_launch);
  }

  HostGpuOptions options_;
  GpuFacts facts_;
  std::map<void*, int64_t> allocated_;
  int64_t used_ = 0;
  int launches_ = 0;
  bool sick_ = false;
};

}  // namespace

std::unique_ptr<Gpu> MakeHostGpu(const HostGpuOptions& options) {
  return std::make_unique<HostGpu>(options);
}

}  // namespace capsweep::trainer::cuda
