// A thread block of the cuda back end on the host: the phases of its kernels, called for one thread after another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "worker/trainer/cuda/trainer.h"

namespace capsweep::trainer::cuda {

enum class ThreadOrder { kForward, kReversed, kShuffled };

// Calls every phase for all threads, in an order that no result may depend on. A barrier can be left out: then a thread
// goes on from the phase before it to the one after it while the others have not begun.
class HostRun {
 public:
  HostRun(int32_t threads, ThreadOrder order) : threads_(threads), order_(order) {}

  void LeaveOut(int64_t barrier) { left_out_ = barrier; }
  int64_t barriers() const { return barriers_; }

  template <class Phase>
  void operator()(const Phase& phase) {
    const int64_t barrier = barriers_++;
    if (barrier == left_out_) {
      held_ = [phase](Place at) { phase(at); };
      return;
    }
    for (const int32_t thread : Threads()) {
      if (held_) held_({thread, threads_});
      phase(Place{thread, threads_});
    }
    held_ = nullptr;
  }

  // A clock for tests: every look at it is a microsecond.
  uint64_t Nanoseconds() const { return 1000 * looks_++; }

 private:
  std::vector<int32_t> Threads() {
    std::vector<int32_t> order(static_cast<size_t>(threads_));
    std::iota(order.begin(), order.end(), 0);
    if (order_ == ThreadOrder::kReversed) std::reverse(order.begin(), order.end());
    if (order_ == ThreadOrder::kShuffled) std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  int32_t threads_;
  ThreadOrder order_;
  std::mt19937 random_{1};
  int64_t barriers_ = 0;
  int64_t left_out_ = -1;
  mutable uint64_t looks_ = 0;
  std::function<void(Place)> held_;
};

struct HostKernel {
  using Shape = RunShape;
  using Run = HostRun;
  RunShape shape;
  const MemoryPlan* plan;
  float* shared;
  const MemoryPlan& Plan() const { return *plan; }
};

// Memory as a fresh launch finds it: nothing that was not written may be read.
inline std::vector<Float4> Poisoned(int64_t floats) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  return std::vector<Float4>(static_cast<size_t>(floats / 4 + 1), Float4{kNan, kNan, kNan, kNan});
}

}  // namespace capsweep::trainer::cuda
