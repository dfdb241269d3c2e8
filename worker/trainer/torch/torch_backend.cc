#include "worker/trainer/torch/torch_backend.h"

#include <torch/torch.h>
#include <torch/version.h>

#include <charconv>
#include <utility>

#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/slot_backend.h"
#include "worker/trainer/torch/blas.h"
#include "worker/trainer/torch/boundary.h"
#include "worker/trainer/torch/step_graph.h"
#include "worker/trainer/torch/torch_model.h"

// Facts of a GPU need CUDA's own headers, which a LibTorch for CPUs comes without.
#if __has_include(<cuda_runtime_api.h>) && __has_include(<ATen/cuda/CUDAContext.h>)
#include <ATen/cuda/CUDAContext.h>
#define CAPSWEEP_TORCH_CUDA 1
#endif

namespace capsweep::trainer {
namespace {

constexpr std::string_view kName = "torch";

std::string Build() {
  return StrCat(kVersion, " torch ", TORCH_VERSION, " ", BlasName(at::hasMKL()));
}

absl::StatusOr<torch::Device> OpenDevice(const std::string& name) {
  if (name == "cpu") {
    return torch::Device(torch::kCPU);
  }
  int index = 0;
  const std::string_view digits = std::string_view(name).substr(std::min<size_t>(5, name.size()));
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (name.rfind("cuda:", 0) != 0 || error != std::errc() || end != digits.data() + digits.size() || index < 0) {
    return absl::InvalidArgumentError(StrCat("device '", name, "' is unknown; use cpu or cuda:N"));
  }
  if (!at::hasCUDA()) {
    return absl::UnimplementedError(StrCat("device ", name, ": LibTorch ", TORCH_VERSION,
                                           " finds no CUDA; use a LibTorch built with CUDA on a host with a GPU, or "
                                           "--device cpu:0"));
  }
  if (index >= static_cast<int>(torch::cuda::device_count())) {
    return absl::NotFoundError(StrCat("device ", name, ": this host has ",
                                      static_cast<int64_t>(torch::cuda::device_count()), " GPUs; use a lower number"));
  }
  return torch::Device(torch::kCUDA, static_cast<torch::DeviceIndex>(index));
}

void DescribeGpu(torch::Device device, DeviceFacts& facts) {
  facts.kind = "cuda";
  facts.name = device.str();
#ifdef CAPSWEEP_TORCH_CUDA
  const auto* properties = at::cuda::getDeviceProperties(device.index());
  facts.kind = properties->name;
  facts.name = StrCat(properties->name, " (", device.str(), ")");
  facts.memory_bytes = static_cast<int64_t>(properties->totalGlobalMem);
#endif
}

class TorchEngine : public SlotEngine {
 public:
  TorchEngine(torch::Device device, int64_t memory_bytes, int slots, bool graphs)
      : device_(device), memory_bytes_(memory_bytes), slots_(slots), graphs_(graphs) {}

  const std::string& name() const override { return name_; }
  const std::string& build() const override { return build_; }
  int64_t memory_bytes() const override { return memory_bytes_; }
  absl::Status Serves(const PointSpec& /*point*/) const override { return absl::OkStatus(); }
  int Slots(const PointSpec&) const override { return slots_; }

  absl::StatusOr<std::unique_ptr<SlotModel>> Make(int, const PointSpec& point, const Library& library) override {
    std::unique_ptr<SlotModel> model;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      model = MakeTorchModel(point, library, device_, graphs_);
      return absl::OkStatus();
    }));
    return model;
  }

 private:
  const std::string name_{kName};
  const std::string build_ = Build();
  torch::Device device_;
  int64_t memory_bytes_;
  int slots_;
  bool graphs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeTorchBackend(const std::string& device, int slots) {
  return MakeTorchBackend(device, slots, StepGraphs::kWherePossible);
}

absl::StatusOr<std::unique_ptr<Backend>> MakeTorchBackend(const std::string& device, int slots, StepGraphs graphs) {
  std::unique_ptr<Backend> backend;
  RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
    at::set_num_threads(1);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    ASSIGN_OR_RETURN(const torch::Device opened, OpenDevice(device));
    ASSIGN_OR_RETURN(const DeviceFacts facts, TorchDeviceFacts(device));
    backend = MakeSlotBackend(std::make_unique<TorchEngine>(
        opened, facts.memory_bytes, slots, graphs == StepGraphs::kAlways || StepGraph::Possible(opened)));
    return absl::OkStatus();
  }));
  return backend;
}

absl::StatusOr<DeviceFacts> TorchDeviceFacts(const std::string& device) {
  DeviceFacts facts;
  RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const torch::Device opened, OpenDevice(device));
    facts.torch_version = TORCH_VERSION;
    facts.blas = BlasName(at::hasMKL());
    facts.kind = "cpu";
    facts.name = CpuModelName();
    facts.memory_bytes = HostMemoryBytes();
    if (opened.is_cuda()) {
      DescribeGpu(opened, facts);
    }
    return absl::OkStatus();
  }));
  return facts;
}

}  // namespace capsweep::trainer
