// A training step as a CUDA graph: a step of a few hundred small kernels is launched at once instead of one by one.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>

namespace capsweep::trainer {

class StepGraph {
 public:
  // Whether this LibTorch can capture on this device: 2.x with CUDA, compiled where CUDA's headers were found.
  static bool Possible(torch::Device device);

  // On a device where it is not possible every step is called.
  explicit StepGraph(torch::Device device);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // Does `step` on the stream of this graph: called the first few times, then captured, then replayed. `step` must work
  // on the same memory every time, wait for nothing and read nothing back; what differs from call to call must lie in
  // tensors that are filled by `before`, which is always called. If capturing fails, steps are called for ever.
  void Run(const std::function<void()>& before, const std::function<void()>& step);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::trainer
