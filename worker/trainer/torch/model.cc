#include "worker/trainer/torch/model.h"

#include <utility>

#include "worker/trainer/data/dropout_mask.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {

FlatWeights::FlatWeights(ParamLayout layout, torch::Tensor values)
    : layout_(std::move(layout)),
      values_(std::move(values)),
      trained_(values_.narrow(0, 0, layout_.train)),
      grads_(torch::zeros_like(trained_)) {}

torch::Tensor FlatWeights::Leaf(Role first, Role last, int64_t layer) const {
  const int begin = layout_.Find(first, layer);
  const int end = layout_.Find(last, layer);
  if (begin < 0 || end < begin) {
    return {};
  }
  const TensorSpec& spec = layout_.tensors[static_cast<size_t>(begin)];
  int64_t rows = 0;
  for (int i = begin; i <= end; ++i) {
    rows += layout_.tensors[static_cast<size_t>(i)].rows;
  }
  const auto shape =
      IsVector(spec.role) ? std::vector<int64_t>{rows * spec.cols} : std::vector<int64_t>{rows, spec.cols};
  torch::Tensor leaf = values_.narrow(0, spec.offset, rows * spec.cols).view(shape).detach();
  if (!spec.frozen) {
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = grads_.narrow(0, spec.offset, rows * spec.cols).view(shape);
  }
  return leaf;
}

torch::Tensor Dropout::Apply(const torch::Tensor& x, int64_t layer, Place place, bool last_only) const {
  if (point_.dropout == 0) {
    return x;
  }
  torch::Tensor mask = torch::empty({x.size(0), x.size(1)}, torch::kFloat32);
  const DropoutKey key{point_.init_seed, step_, layer, place == Place::kAttention ? 0 : 1};
  const int64_t stride = last_only ? point_.seq_len : 1;
  FillDropoutMask(key, point_.dropout, /*first_row=*/stride - 1, stride, x.size(1),
                  {mask.data_ptr<float>(), static_cast<size_t>(mask.numel())});
  return x * mask.to(x.options());
}

std::unique_ptr<Model> MakeModel(const FlatWeights& weights, const PointSpec& point, int64_t first_target, bool trim) {
  switch (point.family) {
    case Family::kXt:
    case Family::kGpt2:
      return MakeTransformer(weights, point, first_target, trim);
    case Family::kMlp:
      return MakeMlpModel(weights, point);
    case Family::kKs:
      return MakeKsModel(weights, point, trim);
  }
  return nullptr;
}

torch::Tensor MeanLoss(const PointSpec& point, const torch::Tensor& outputs, const torch::Tensor& targets) {
  if (point.loss == Loss::kMse) {
    return torch::mse_loss(outputs.view({-1}), (2 * targets - 1).to(outputs.scalar_type()));
  }
  return torch::cross_entropy_loss(outputs, targets);
}

torch::Tensor AsLogits(const PointSpec& point, const torch::Tensor& outputs) {
  return point.loss == Loss::kMse ? torch::cat({-outputs, outputs}, 1) : outputs;
}

torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias) {
  return bias.defined() ? torch::addmm(bias, x, weight.t()) : torch::mm(x, weight.t());
}

torch::Tensor Activate(Activation activation, const torch::Tensor& x) {
  switch (activation) {
    case Activation::kGelu:
      return torch::gelu(x);
    case Activation::kRelu:
      return torch::relu(x);
    case Activation::kSoftmax:
      return torch::softmax(x, -1);
  }
  return x;
}

torch::Tensor LastPosition(const torch::Tensor& x, int64_t seq_len) {
  return x.view({-1, seq_len, x.size(1)}).select(1, seq_len - 1);
}

MlpBlock::MlpBlock(const FlatWeights& weights, const PointSpec& point, int64_t layer)
    : activation_(point.activation),
      up_weight_(weights.Leaf(Role::kUpWeight, layer)),
      up_bias_(weights.Leaf(Role::kUpBias, layer)),
      down_weight_(weights.Leaf(Role::kDownWeight, layer)),
      down_bias_(weights.Leaf(Role::kDownBias, layer)) {}

torch::Tensor MlpBlock::operator()(const torch::Tensor& x) const {
  return Linear(Activate(activation_, Linear(x, up_weight_, up_bias_)), down_weight_, down_bias_);
}

ProbeResult ProbeModel(const PointSpec& point, const Library& library, const std::vector<double>& weights, bool trim,
                       int64_t dropout_step) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  const FlatWeights flat(MakeLayout(point), torch::tensor(weights, options));
  const std::unique_ptr<Model> model = MakeModel(flat, point, library.first_target, trim);
  const auto input =
      point.tokens == Tokens::kVectors
          ? torch::tensor(library.vectors).to(torch::kFloat64).view({library.items, library.seq_len, point.vector_dim})
          : torch::tensor(library.tokens).to(torch::kInt64).view({library.items, library.seq_len});
  const auto targets = torch::tensor(library.target_tokens).to(torch::kInt64);
  const Dropout dropout(point, dropout_step);
  const auto outputs = model->Forward(input, dropout_step > 0 ? &dropout : nullptr);
  const auto loss = MeanLoss(point, outputs, targets);
  loss.backward();
  const auto list = [](const torch::Tensor& t) {
    const auto flat_tensor = t.contiguous().view({-1});
    return std::vector<double>(flat_tensor.data_ptr<double>(), flat_tensor.data_ptr<double>() + flat_tensor.numel());
  };
  return ProbeResult{loss.item<double>(), list(AsLogits(point, outputs.detach())), list(flat.grads())};
}

}  // namespace capsweep::trainer
