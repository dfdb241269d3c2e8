#include "worker/trainer/torch/torch_backend.h"

#include <torch/torch.h>
#include <torch/version.h>

#include <charconv>
#include <cmath>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "common/build_info.h"
#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/data/order.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/torch/blas.h"
#include "worker/trainer/torch/xt_model.h"
#include "worker/trainer/training_run.h"

// Facts of a GPU need CUDA's own headers, which a LibTorch for CPUs comes without.
#if __has_include(<cuda_runtime_api.h>) && __has_include(<ATen/cuda/CUDAContext.h>)
#include <ATen/cuda/CUDAContext.h>
#define CAPSWEEP_TORCH_CUDA 1
#endif

namespace capsweep::trainer {
namespace {

constexpr std::string_view kName = "torch";
constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;
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

// Adam (Kingma and Ba, 2015) on the flat weights.
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
    const double correction1 = 1.0 - std::pow(kBeta1, static_cast<double>(t));
    const double correction2 = 1.0 - std::pow(kBeta2, static_cast<double>(t));
    first_.mul_(kBeta1).add_(grads_, 1.0 - kBeta1);
    second_.mul_(kBeta2).addcmul_(grads_, grads_, 1.0 - kBeta2);
    torch::sqrt_out(scratch_, second_).mul_(1.0 / std::sqrt(correction2)).add_(kEpsilon);
    weights_.addcdiv_(first_, scratch_, -lr / correction1);
  }

  torch::Tensor& first_moment() { return first_; }
  torch::Tensor& second_moment() { return second_; }

 private:
  torch::Tensor weights_, grads_, first_, second_, scratch_;  // each [layout.train]
};

// One point in training.
class Slot {
 public:
  Slot(const PointSpec& point, Library library, torch::Device device)
      : point_(point),
        library_(std::move(library)),
        device_(device),
        run_(point, library_.targets),
        tokens_(torch::tensor(library_.tokens).to(torch::kInt64).view({library_.items, library_.seq_len}).to(device)),
        targets_(torch::tensor(library_.target_tokens)
                     .to(torch::kInt64)
                     .view({library_.items, library_.targets})
                     .to(device)),
        weights_(MakeLayout(point), ToDevice(InitialWeights(MakeLayout(point), point.init_seed), device)),
        model_(weights_, point, library_.first_target),
        adam_(weights_.trained(), weights_.grads()) {}

  void Restore(CheckpointContent content) {
    weights_.values().copy_(ToDevice(content.weights, device_));
    adam_.first_moment().copy_(ToDevice(content.first_moment, device_));
    adam_.second_moment().copy_(ToDevice(content.second_moment, device_));
    resumed_from_step_ = content.run.step;
    run_ = TrainingRun(point_, library_.targets, std::move(content.run));
  }

  CheckpointContent Save() {
    return {std::string(kName),
            Build(),
            PointKey(point_),
            run_.state(),
            ToHost(weights_.values()),
            ToHost(adam_.first_moment()),
            ToHost(adam_.second_moment())};
  }

  bool active() const { return failure_.ok() && !run_.finished(); }
  void AddSetupSeconds(double seconds) { run_.mutable_state().seconds_setup += seconds; }

  // One step, or one chunk of an evaluation: short enough that the caller stays responsive.
  void Advance() {
    const bool evaluating = run_.evaluation_due();
    const Instant start = std::chrono::steady_clock::now();
    cause_ = FailureCause::kInternal;
    failure_ = AtBoundary([&] { return evaluating ? EvaluateChunk() : Step(); });
    if (absl::IsResourceExhausted(failure_)) {
      cause_ = FailureCause::kOutOfMemory;
    } else if (absl::IsInvalidArgument(failure_)) {
      cause_ = FailureCause::kNanLoss;
    }
    const double seconds = ToSeconds(std::chrono::steady_clock::now() - start);
    (evaluating ? run_.mutable_state().seconds_eval : run_.mutable_state().seconds_train) += seconds;
  }

  SlotView Look() const {
    SlotView view;
    view.finished = run_.finished();
    view.failure = failure_;
    view.cause = cause_;
    view.step = run_.state().step;
    view.budget_steps = BudgetSteps(point_);
    view.epoch = run_.EpochsDone();
    view.train_loss = run_.state().train_loss;
    if (!run_.state().curve.empty()) {
      view.last = run_.state().curve.back();
    }
    return view;
  }

  PointResult Result() const {
    PointResult result = run_.Result(library_);
    result.backend = kName;
    result.resumed_from_step = resumed_from_step_;
    return result;
  }

 private:
  absl::Status Step() {
    const Batch batch = run_.NextBatch();
    const torch::Tensor items = EpochItems(batch.epoch).narrow(0, batch.first, batch.size);  // [b]
    const torch::Tensor targets = targets_.index_select(0, items).view({-1});                // [b·T]
    weights_.grads().zero_();
    const torch::Tensor logits = model_->forward(tokens_.index_select(0, items));  // [b·T, V]
    const torch::Tensor loss = torch::cross_entropy_loss(logits, targets);
    loss.backward();
    adam_.Step(run_.state().step + 1, run_.LearningRate());
    return run_.FinishStep(static_cast<double>(loss.item<float>()));
  }

  absl::Status EvaluateChunk() {
    const torch::NoGradGuard no_grad;
    const int64_t first = tally_.items;
    const int64_t count = std::min(ChunkItems(), library_.items - first);
    const torch::Tensor logits = model_->forward(tokens_.narrow(0, first, count)).to(torch::kCPU).contiguous();
    const int64_t targets = library_.targets;
    tally_.Add({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
               {library_.target_tokens.data() + first * targets, static_cast<size_t>(count * targets)}, targets,
               point_.vocab);
    if (tally_.items < library_.items) {
      return absl::OkStatus();
    }
    return run_.FinishEvaluation(std::exchange(tally_, Tally()));
  }

  // A function of the point alone: how a matrix product rounds may depend on its size.
  int64_t ChunkItems() const {
    const int64_t per_token =
        std::max({4 * point_.width, 3 * point_.heads * point_.head_dim, point_.vocab, point_.heads * point_.seq_len});
    return std::clamp(kEvaluationFloats / (point_.seq_len * per_token), int64_t{1}, kEvaluationItems);
  }

  // The order of the items in an epoch, [D] int64.
  const torch::Tensor& EpochItems(int64_t epoch) {
    if (epoch != order_epoch_) {
      const EpochOrder order(point_.init_seed, epoch, library_.items);
      torch::Tensor items = torch::empty({library_.items}, torch::kInt64);
      int64_t* out = items.data_ptr<int64_t>();
      for (int64_t place = 0; place < library_.items; ++place) {
        out[place] = order.At(place);
      }
      order_ = items.to(device_);
      order_epoch_ = epoch;
    }
    return order_;
  }

  PointSpec point_;
  Library library_;
  torch::Device device_;
  TrainingRun run_;
  torch::Tensor tokens_;   // [D, N] int64
  torch::Tensor targets_;  // [D, T] int64
  FlatWeights weights_;
  XtModel model_;
  Adam adam_;
  torch::Tensor order_;  // [D] int64, of order_epoch_
  int64_t order_epoch_ = -1;
  Tally tally_;  // of the evaluation under way
  int64_t resumed_from_step_ = 0;
  absl::Status failure_;
  FailureCause cause_ = FailureCause::kInternal;
};

class TorchBackend : public Backend {
 public:
  TorchBackend(torch::Device device, int64_t memory_bytes, int slots)
      : device_(device), memory_bytes_(memory_bytes), slots_(static_cast<size_t>(slots)) {}

  std::string_view name() const override { return kName; }

  absl::Status CanTrain(const PointSpec& point) const override {
    if (!point.backend.empty() && point.backend != kName) {
      return absl::UnimplementedError(StrCat("backend: the point asks for '", point.backend, "', this is ", kName));
    }
    return absl::OkStatus();
  }

  int Slots(const PointSpec&) const override { return static_cast<int>(slots_.size()); }

  absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) override {
    const Instant start = std::chrono::steady_clock::now();
    if (EstimateBytes(point) > static_cast<double>(memory_bytes_)) {
      return absl::ResourceExhaustedError(StrCat("the point needs about ",
                                                 static_cast<int64_t>(EstimateBytes(point) / 1e6),
                                                 " MB, the device has ", memory_bytes_ / 1'000'000));
    }
    CheckpointContent content;
    if (checkpoint != nullptr) {
      ASSIGN_OR_RETURN(content, DecodeCheckpoint(checkpoint->bytes));
      RETURN_IF_ERROR(CheckResumable(content, point, kName, Build()));
    }
    return AtBoundary([&]() -> absl::Status {
      ASSIGN_OR_RETURN(Library library, MakeLibrary(point));
      auto loaded = std::make_unique<Slot>(point, std::move(library), device_);
      if (checkpoint != nullptr) {
        loaded->Restore(std::move(content));
      }
      loaded->AddSetupSeconds(ToSeconds(std::chrono::steady_clock::now() - start));
      At(slot) = std::move(loaded);
      return absl::OkStatus();
    });
  }

  void Run(Duration budget) override {
    const Instant deadline = std::chrono::steady_clock::now() + budget;
    do {
      bool any_active = false;
      for (const auto& slot : slots_) {
        if (slot == nullptr || !slot->active()) {
          continue;
        }
        slot->Advance();
        if (!slot->active()) {
          return;
        }
        any_active = true;
      }
      if (!any_active) {
        return;
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }

  SlotView Look(int slot) const override { return At(slot)->Look(); }

  absl::StatusOr<PointResult> Result(int slot) const override {
    if (!At(slot)->Look().finished) {
      return absl::FailedPreconditionError(StrCat("slot ", slot, " has not finished"));
    }
    return At(slot)->Result();
  }

  absl::StatusOr<Checkpoint> Save(int slot) const override {
    Checkpoint checkpoint;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      checkpoint = {std::string(kName), EncodeCheckpoint(At(slot)->Save())};
      return absl::OkStatus();
    }));
    return checkpoint;
  }

  void Unload(int slot) override { At(slot).reset(); }

 private:
  std::unique_ptr<Slot>& At(int slot) { return slots_.at(static_cast<size_t>(slot)); }
  const std::unique_ptr<Slot>& At(int slot) const { return slots_.at(static_cast<size_t>(slot)); }

  torch::Device device_;
  int64_t memory_bytes_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeTorchBackend(const std::string& device, int slots) {
  std::unique_ptr<Backend> backend;
  RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
    at::set_num_threads(1);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    ASSIGN_OR_RETURN(const torch::Device opened, OpenDevice(device));
    ASSIGN_OR_RETURN(const DeviceFacts facts, TorchDeviceFacts(device));
    backend = std::make_unique<TorchBackend>(opened, facts.memory_bytes, slots);
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
