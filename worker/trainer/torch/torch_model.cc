#include "worker/trainer/torch/torch_model.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/status.h"
#include "worker/trainer/flush_denormals.h"
#include "worker/trainer/torch/boundary.h"
#include "worker/trainer/torch/model.h"
#include "worker/trainer/torch/optimizer.h"
#include "worker/trainer/torch/step_graph.h"

namespace capsweep::trainer {
namespace {

// Floats in the largest tensor of an evaluation chunk: 4 MB stay in a core's cache.
constexpr int64_t kEvaluationFloats = int64_t{1} << 20;
constexpr int64_t kEvaluationItems = 4096;
// Products in one block of distances: some 10 ms of a core.
constexpr int64_t kDistanceProducts = int64_t{1} << 27;

std::vector<float> ToHost(const torch::Tensor& tensor) {
  const torch::Tensor host = tensor.detach().to(torch::kCPU).contiguous();
  return std::vector<float>(host.data_ptr<float>(), host.data_ptr<float>() + host.numel());
}

torch::Tensor ToDevice(const std::vector<float>& values, torch::Device device) {
  return torch::tensor(values, torch::kFloat32).to(device);
}

// What of a library a model reads, on the device.
struct DeviceItems {
  torch::Tensor input;    // [D, N] int64, or [D, N, vector_dim]
  torch::Tensor targets;  // [D, T] int64

  DeviceItems(const PointSpec& point, const Library& library, torch::Device device) {
    const int64_t items = library.items, seq_len = library.seq_len;
    input = point.tokens == Tokens::kVectors
                ? ToDevice(library.vectors, device).view({items, seq_len, point.vector_dim})
                : torch::tensor(library.tokens).to(torch::kInt64).view({items, seq_len}).to(device);
    targets = torch::tensor(library.target_tokens).to(torch::kInt64).view({items, library.targets}).to(device);
  }
};

class TorchModel : public SlotModel {
 public:
  TorchModel(const PointSpec& point, const Library& library, torch::Device device, bool graphs)
      : point_(point),
        library_(library),
        device_(device),
        items_(point, library, device),
        weights_(MakeLayout(point), ToDevice(InitialWeights(MakeLayout(point), point.init_seed), device)),
        model_(MakeModel(weights_, point_, library.first_target)),
        optimizer_(point, weights_.trained(), weights_.grads()) {
    if (library.heldout != nullptr) {
      heldout_ = std::make_unique<DeviceItems>(point, *library.heldout, device);
    }
    if (graphs && point.dropout == 0) {  // masks are drawn on the host, which a graph cannot do
      graph_ = std::make_unique<StepGraph>(device);
      chosen_ = torch::zeros({std::min(point.batch_size, point.dataset_size)}, items_.targets.options());
      factors_ = torch::zeros({3}, weights_.values().options());
      loss_ = torch::zeros({}, weights_.values().options());
    }
  }

  absl::StatusOr<double> Step(const StepOrder& order) override {
    const FlushDenormals flush;
    if (graph_ != nullptr && static_cast<int64_t>(order.chosen.size()) == chosen_.numel()) {
      return StepByGraph(order);
    }
    double loss_value = 0;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      torch::Tensor items = torch::empty({static_cast<int64_t>(order.chosen.size())}, torch::kInt64);  // [b]
      std::copy(order.chosen.begin(), order.chosen.end(), items.data_ptr<int64_t>());
      const torch::Tensor loss = Backward(items.to(device_), order.t);
      if (graph_ != nullptr) {
        optimizer_.Step(optimizer_.Factors(order.t, order.lr).to(device_));  // the arithmetic of a captured step
      } else {
        optimizer_.Step(order.t, order.lr);
      }
      loss_value = static_cast<double>(loss.item<float>());
      return absl::OkStatus();
    }));
    return loss_value;
  }

  absl::Status Evaluate(Tally& tally) override {
    const FlushDenormals flush;
    return AtBoundary([&]() -> absl::Status {
      AddChunk(library_, items_, tally);
      return absl::OkStatus();
    });
  }

  absl::Status EvaluateHeldout(HeldoutTally& tally) override {
    return AtBoundary([&]() -> absl::Status {
      const Library& heldout = *library_.heldout;
      if (point_.loss == Loss::kMse) {
        const at::NoGradGuard no_grad;
        const int64_t count = std::min(ChunkItems(), heldout.items - tally.items);
        const auto outputs = model_->Forward(heldout_->input.narrow(0, tally.items, count));
        const auto targets = heldout_->targets.narrow(0, tally.items, count).view({-1});
        const auto mean = MeanLoss(point_, outputs.to(torch::kFloat64), targets).item<double>();
        tally.Add(count, mean * static_cast<double>(count * heldout.targets));
      } else {
        Tally chunk;
        chunk.items = tally.items;
        AddChunk(heldout, *heldout_, chunk);
        tally.Add(chunk.items - tally.items, chunk.nll_nats);
      }
      return absl::OkStatus();
    });
  }

  absl::Status MeasureNeighbours(std::vector<double>& distances) override {
    return AtBoundary([&]() -> absl::Status {
      const at::NoGradGuard no_grad;
      const int64_t items = NeighbourItems(library_.items);
      if (activation_rows_ < items) {
        AddActivations(items);
        return absl::OkStatus();
      }
      if (!points_.defined()) {
        points_ = torch::cat(activations_, 0);   // [items, A]
        squares_ = points_.mul(points_).sum(1);  // [items]
        activations_.clear();
      }
      AddNearest(static_cast<int64_t>(distances.size()), distances);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Parameters> Save() override {
    Parameters parameters;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      parameters = {ToHost(weights_.values()), ToHost(optimizer_.first_moment()), ToHost(optimizer_.second_moment())};
      return absl::OkStatus();
    }));
    return parameters;
  }

  absl::Status Restore(const Parameters& parameters) override {
    return AtBoundary([&]() -> absl::Status {
      weights_.values().copy_(ToDevice(parameters.weights, device_));
      optimizer_.first_moment().copy_(ToDevice(parameters.first_moment, device_));
      optimizer_.second_moment().copy_(ToDevice(parameters.second_moment, device_));
      return absl::OkStatus();
    });
  }

 private:
  // The gradients and the loss of these items [b] in step number t.
  torch::Tensor Backward(const torch::Tensor& items, int64_t t) {
    const torch::Tensor targets = items_.targets.index_select(0, items).view({-1});  // [b·T]
    weights_.grads().zero_();
    const Dropout dropout(point_, t);
    const torch::Tensor outputs =
        model_->Forward(items_.input.index_select(0, items), point_.dropout > 0 ? &dropout : nullptr);  // [b·T, O]
    torch::Tensor loss = MeanLoss(point_, outputs, targets);
    loss.backward();
    return loss.detach();
  }

  absl::StatusOr<double> StepByGraph(const StepOrder& order) {
    double loss_value = 0;
    RETURN_IF_ERROR(AtBoundary([&]() -> absl::Status {
      graph_->Run(
          [&] {
            chosen_.copy_(torch::tensor(at::ArrayRef<int64_t>(order.chosen.data(), order.chosen.size())));
            factors_.copy_(optimizer_.Factors(order.t, order.lr));
          },
          [&] {
            loss_.copy_(Backward(chosen_, order.t));
            optimizer_.Step(factors_);
          });
      loss_value = static_cast<double>(loss_.item<float>());
      return absl::OkStatus();
    }));
    return loss_value;
  }

  // The next chunk of items from tally.items on.
  void AddChunk(const Library& library, const DeviceItems& items, Tally& tally) const {
    const at::NoGradGuard no_grad;
    const int64_t first = tally.items, targets = library.targets;
    const int64_t count = std::min(ChunkItems(), library.items - first);
    const torch::Tensor logits =
        AsLogits(point_, model_->Forward(items.input.narrow(0, first, count))).to(torch::kCPU).contiguous();
    tally.Add({logits.data_ptr<float>(), static_cast<size_t>(logits.numel())},
              {library.target_tokens.data() + first * targets, static_cast<size_t>(count * targets)}, targets,
              point_.vocab);
  }

  // The next chunk of what the head reads at the last position.
  void AddActivations(int64_t items) {
    const int64_t count = std::min(ChunkItems(), items - activation_rows_);
    const auto all = model_->Activations(items_.input.narrow(0, activation_rows_, count), nullptr);  // [b·T, A]
    const auto last = all.view({count, -1, all.size(1)}).select(1, all.size(0) / count - 1);         // [b, A]
    activations_.push_back(last.to(torch::kFloat64));
    activation_rows_ += count;
  }

  // Distances of the next block of items to their nearest others. In double, where |a|² + |b|² − 2ab is exact enough.
  void AddNearest(int64_t first, std::vector<double>& distances) const {
    const int64_t items = points_.size(0);
    const int64_t at_once = std::min(kEvaluationFloats / items, kDistanceProducts / (items * points_.size(1)));
    const int64_t count = std::clamp(at_once, int64_t{1}, items - first);
    const auto block = points_.narrow(0, first, count);
    auto squares = squares_.narrow(0, first, count).unsqueeze(1) + squares_ - 2 * torch::mm(block, points_.t());
    squares.diagonal(first).fill_(std::numeric_limits<double>::infinity());  // itself
    const auto nearest = std::get<0>(squares.min(1)).clamp_min(0).sqrt().to(torch::kCPU).contiguous();
    distances.insert(distances.end(), nearest.data_ptr<double>(), nearest.data_ptr<double>() + count);
  }

  // A function of the point alone: how a matrix product rounds may depend on its size.
  int64_t ChunkItems() const {
    const int64_t per_token =
        std::max({MlpWidth(point_), 3 * point_.heads * point_.head_dim, point_.vocab, point_.heads * point_.seq_len});
    return std::clamp(kEvaluationFloats / (point_.seq_len * per_token), int64_t{1}, kEvaluationItems);
  }

  PointSpec point_;
  const Library& library_;
  torch::Device device_;
  DeviceItems items_;
  std::unique_ptr<DeviceItems> heldout_;
  FlatWeights weights_;
  std::unique_ptr<Model> model_;
  FlatOptimizer optimizer_;
  // Where steps of whole batches are captured; all on the device.
  std::unique_ptr<StepGraph> graph_;
  torch::Tensor chosen_;   // [batch] int64
  torch::Tensor factors_;  // [3] of the optimizer
  torch::Tensor loss_;     // scalar
  // Of the search for neighbours, which comes once, at the end.
  std::vector<torch::Tensor> activations_;
  int64_t activation_rows_ = 0;
  torch::Tensor points_, squares_;
};

}  // namespace

std::unique_ptr<SlotModel> MakeTorchModel(const PointSpec& point, const Library& library, torch::Device device,
                                          bool graphs) {
  return std::make_unique<TorchModel>(point, library, device, graphs);
}

}  // namespace capsweep::trainer
