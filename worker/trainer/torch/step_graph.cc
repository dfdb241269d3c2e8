#include "worker/trainer/torch/step_graph.h"

#include <torch/version.h>

#if TORCH_VERSION_MAJOR >= 2 && __has_include(<cuda_runtime_api.h>) && __has_include(<ATen/cuda/CUDAGraph.h>)
#define CAPSWEEP_CUDA_GRAPHS 1
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>

#include <exception>
#include <string>

#include "common/logging.h"
#include "common/text.h"
#endif

namespace capsweep::trainer {

#ifdef CAPSWEEP_CUDA_GRAPHS

// cuBLAS and the allocator settle in the first steps; what they allocate then must not be captured.
constexpr int kWarmUpSteps = 3;

struct StepGraph::Impl {
  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  at::cuda::CUDAGraph graph;
  int warm = 0;
  bool captured = false, failed = false;

  void Capture(const std::function<void()>& step) {
    stream.synchronize();
    graph.capture_begin();
    try {
      step();
    } catch (...) {
      try {
        graph.capture_end();
      } catch (...) {  // the first error says why
      }
      throw;
    }
    graph.capture_end();
    captured = true;
  }
};

bool StepGraph::Possible(torch::Device device) {
  return device.is_cuda();
}

void StepGraph::Run(const std::function<void()>& before, const std::function<void()>& step) {
  if (impl_ == nullptr) {
    before();
    step();
    return;
  }
  Impl& impl = *impl_;
  const c10::cuda::CUDAStreamGuard guard(impl.stream);
  before();
  if (!impl.captured && !impl.failed && impl.warm == kWarmUpSteps) {
    try {
      impl.Capture(step);
    } catch (const std::exception& error) {
      const std::string text(error.what());
      LogWarning(
          StrCat("steps are not captured in a CUDA graph, training is slower: ", text.substr(0, text.find('\n'))));
      impl.failed = true;
    }
  }
  if (impl.captured) {
    impl.graph.replay();
  } else {
    step();
    ++impl.warm;
  }
  impl.stream.synchronize();
}

#else

struct StepGraph::Impl {};

bool StepGraph::Possible(torch::Device /*device*/) {
  return false;
}

void StepGraph::Run(const std::function<void()>& before, const std::function<void()>& step) {
  before();
  step();
}

#endif

StepGraph::StepGraph(torch::Device device) : impl_(Possible(device) ? std::make_unique<Impl>() : nullptr) {}
StepGraph::~StepGraph() = default;

}  // namespace capsweep::trainer
