#include "worker/trainer/torch/torch_backend.h"

#include <torch/torch.h>
#include <torch/version.h>

#include <charconv>
#include <exception>
#include <new>
#include <span>
#include <utility>

#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/adam.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/slot_backend.h"
#include "worker/trainer/torch/blas.h"
#include "worker/trainer/torch/step_graph.h"
#include "worker/trainer/torch/xt_model.h"

// Facts of a GPU need CUDA's own headers, which a LibTorch for CPUs comes without.
#if __has_include(<cuda_runtime_api.h>) && __has_include(<ATen/cuda/CUDAContext.h>)
#include <ATen/cuda/CUDAContext.h>
#define CAPSWEEP_TORCH_CUDA 1
#endif

namespace capsweep::trainer {
namespace {

constexpr std::string_view kName = "torch";
// Floats in the largest tensor of an evaluation chunk: 4 MB stay in a core's cache.
constexpr int64_t kEvaluationFloats = int64_t{1} << 20;
constexpr int64_t kEvaluationItems = 4096;

// The one boundary at which LibTorch's exceptions become statuses. `f` returns absl::Status.
template <class F>
absl::Status AtBoundary(const F& f) {
  const auto from_message = [](std::string_view text) {
    const std::string message(text.substr(0, text.find('\n')));
    const bool memory =
        message.find("out of memory") != std::string::npos || message.find("allocate memory") != std::string::npos;
    return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
  };
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of host memory");
  } catch (const c10::Error& error) {
    return from_message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return from_message(error.what());
  }
}

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

std::vector<float> ToHost(const torch::Tensor& tensor) {
  const torch::Tensor host = tensor.detach().to(torch::kCPU).contiguous();
  return std::vector<float>(host.data_ptr<float>(), host.data_ptr<float>() + host.numel());
}

torch::Tensor ToDevice(const std::vector<float>& values, torch::Device device) {
  return torch::tensor(values, torch::kFloat32).to(device);
}

// Adam on the flat weights.
class Adam {
 public:
  Adam(torch::Tensor weights, torch::Tensor grads)
      : weights_(std::move(weights)),
        grads_(std::move(grads)),
        first_(torch::zeros_like(weights_)),
        second_(torch::zeros_like(weights_)),
        scratch_(torch::empty_like(weights_)) {}

  // Update number t, from 1.
  void Step(int64_t t, double lr) {
    const AdamFactors factors = MakeAdamFactors(t, lr);
    UpdateMoments();
    torch::sqrt_out(scratch_, second_).mul_(factors.correction2).add_(kEpsilon);
    weights_.addcdiv_(first_, scratch_, -factors.rate);
  }

  // The same by factors on the device: a captured step must find them where they change.
  static torch::Tensor Factors(int64_t t, double lr) {
    const AdamFactors factors = MakeAdamFactors(t, lr);
    return torch::tensor({static_cast<float>(factors.correction2), static_cast<float>(-factors.rate)});
  }
  void Step(const torch::Tensor& factors) {
    UpdateMoments();
    torch::sqrt_out(scratch_, second_).mul_(factors[0]).add_(kEpsilon);
    torch::div_out(scratch_, first_, scratch_).mul_(factors[1]);
    weights_.add_(scratch_);
  }

  torch::Tensor& first_moment() { return first_; }
  torch::Tensor& second_moment() { return second_; }

 private:
  void UpdateMoments() {
    first_.mul_(kBeta1).add_(grads_, 1.0 - kBeta1);
    second_.mul_(kBeta2).addcmul_(grads_, grads_, 1.0 - kBeta2);
  }

  torch::Tensor weights_, grads_, first_, second_, scratch_;  // each [layout.train]
};

class TorchModel : public SlotModel {
 public:
  TorchModel(const PointSpec& point, const Library& library, torch::Device device, bool graphs)
      : point_(point),
        library_(library),
        device_(device),
        tokens_(torch::tensor(library.tokens).to(torch::kInt64).view({library.items, library.seq_len}).to(device)),
        targets_(
            torch::tensor(library.target_tokens).to(torch::kInt64).view({library.items, library.targets}).to(device)),
        weights_(MakeLayout(point), ToDevice(InitialWeights(MakeLayout(point), point.init_seed), device)),
        model_(weights_, point, library.first_target),
        adam_(weights_.trained(), weights_.grads()) {
    if (graphs) {
      graph_ = std::make_unique<StepGraph>(device);
      items_ = torch::zeros({std::min(point.batch_size, point.dataset_size)}, tokens_.options());
      factors_ = torch::zeros({2}, weights_.values().options());
      loss_ = torch::zeros({}, weights_.values().options());
    }
  }

  absl::StatusOr<double> Step(const StepOrder& order) override {
    if (graph_ != nullptr && static_cast<int64_t>(order.chosen.size()) == items_.numel()) {
      return StepByGraph(order);
    }
    double loss_value = 0;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      torch::Tensor items = torch::empty({static_cast<int64_t>(order.chosen.size())}, torch::kInt64);  // [b]
      std::copy(order.chosen.begin(), order.chosen.end(), items.data_ptr<int64_t>());
      const torch::Tensor loss = Backward(items.to(device_));
      if (graph_ != nullptr) {
        adam_.Step(Adam::Factors(order.t, order.lr).to(device_));  // the arithmetic of a captured step
      } else {
        adam_.Step(order.t, order.lr);
      }
      loss_value = static_cast<double>(loss.item<float>());
      return absl::OkStatus();
    }));
    return loss_value;
  }

  absl::Status Evaluate(Tally& tally) override {
    return AtBoundary([&]() -> absl::Status {
      const torch::NoGradGuard no_grad;
      const int64_t first = tally.items;
      const int64_t count = std::min(ChunkItems(), library_.items - first);
      const torch::Tensor logits = model_->forward(tokens_.narrow(0, first, count)).to(torch::kCPU).contiguous();
      const int64_t targets = library_.targets;
      tally.Add({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
                {library_.target_tokens.data() + first * targets, static_cast<size_t>(count * targets)}, targets,
                point_.vocab);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Parameters> Save() override {
    Parameters parameters;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      parameters = {ToHost(weights_.values()), ToHost(adam_.first_moment()), ToHost(adam_.second_moment())};
      return absl::OkStatus();
    }));
    return parameters;
  }

  absl::Status Restore(const Parameters& parameters) override {
    return AtBoundary([&]() -> absl::Status {
      weights_.values().copy_(ToDevice(parameters.weights, device_));
      adam_.first_moment().copy_(ToDevice(parameters.first_moment, device_));
      adam_.second_moment().copy_(ToDevice(parameters.second_moment, device_));
      return absl::OkStatus();
    });
  }

 private:
  // The gradients and the loss of these items [b].
  torch::Tensor Backward(const torch::Tensor& items) {
    const torch::Tensor targets = targets_.index_select(0, items).view({-1});  // [b·T]
    weights_.grads().zero_();
    const torch::Tensor logits = model_->forward(tokens_.index_select(0, items));  // [b·T, V]
    torch::Tensor loss = torch::cross_entropy_loss(logits, targets);
    loss.backward();
    return loss.detach();
  }

  absl::StatusOr<double> StepByGraph(const StepOrder& order) {
    double loss_value = 0;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      graph_->Run(
          [&] {
            items_.copy_(torch::tensor(at::ArrayRef<int64_t>(order.chosen.data(), order.chosen.size())));
            factors_.copy_(Adam::Factors(order.t, order.lr));
          },
          [&] {
            loss_.copy_(Backward(items_));
            adam_.Step(factors_);
          });
      loss_value = static_cast<double>(loss_.item<float>());
      return absl::OkStatus();
    }));
    return loss_value;
  }

  // A function of the point alone: how a matrix product rounds may depend on its size.
  int64_t ChunkItems() const {
    const int64_t per_token =
        std::max({4 * point_.width, 3 * point_.heads * point_.head_dim, point_.vocab, point_.heads * point_.seq_len});
    return std::clamp(kEvaluationFloats / (point_.seq_len * per_token), int64_t{1}, kEvaluationItems);
  }

  PointSpec point_;
  const Library& library_;
  torch::Device device_;
  torch::Tensor tokens_;   // [D, N] int64
  torch::Tensor targets_;  // [D, T] int64
  FlatWeights weights_;
  XtModel model_;
  Adam adam_;
  // Where steps of whole batches are captured; all on the device.
  std::unique_ptr<StepGraph> graph_;
  torch::Tensor items_;    // [batch] int64
  torch::Tensor factors_;  // [2] of Adam
  torch::Tensor loss_;     // scalar
};

class TorchEngine : public SlotEngine {
 public:
  TorchEngine(torch::Device device, int64_t memory_bytes, int slots, bool graphs)
      : device_(device), memory_bytes_(memory_bytes), slots_(slots), graphs_(graphs) {}

  const std::string& name() const override { return name_; }
  const std::string& build() const override { return build_; }
  int64_t memory_bytes() const override { return memory_bytes_; }
  absl::Status Serves(const PointSpec& point) const override { return CheckKernelsServe(point, name_); }
  int Slots(const PointSpec&) const override { return slots_; }

  absl::StatusOr<std::unique_ptr<SlotModel>> Make(int, const PointSpec& point, const Library& library) override {
    std::unique_ptr<SlotModel> model;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      model = std::make_unique<TorchModel>(point, library, device_, graphs_);
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
