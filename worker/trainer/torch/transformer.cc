#include "worker/trainer/torch/xt_model.h"

#include <cmath>
#include <limits>

#include "common/text.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {
namespace {

constexpr double kNormEpsilon = 1e-5;

// LayerNorm with a gain and no bias. [rows, B], [B] -> [rows, B]
torch::Tensor Norm(const torch::Tensor& x, const torch::Tensor& gain) {
  return torch::layer_norm(x, {gain.size(0)}, gain, /*bias=*/{}, kNormEpsilon);
}

// Last position of every sequence. [b·N, B] -> [b, B]
torch::Tensor LastPosition(const torch::Tensor& x, int64_t seq_len) {
  return x.view({-1, seq_len, x.size(1)}).select(1, seq_len - 1);
}

}  // namespace

FlatWeights::FlatWeights(ParamLayout layout, torch::Tensor values)
    : layout_(std::move(layout)),
      values_(std::move(values)),
      trained_(values_.narrow(0, 0, layout_.train)),
      grads_(torch::zeros_like(trained_)) {}

torch::Tensor FlatWeights::Leaf(Role first, Role last, int64_t layer) {
  const int begin = layout_.Find(first, layer);
  const int end = layout_.Find(last, layer);
  TORCH_CHECK(begin >= 0 && end >= begin, "the layout has no such tensors in layer ", layer);
  const TensorSpec& spec = layout_.tensors[static_cast<size_t>(begin)];
  int64_t rows = 0;
  for (int i = begin; i <= end; ++i) {
    rows += layout_.tensors[static_cast<size_t>(i)].rows;
  }
  const auto shape = IsVector(spec.role) ? std::vector<int64_t>{spec.cols} : std::vector<int64_t>{rows, spec.cols};
  torch::Tensor leaf = values_.narrow(0, spec.offset, rows * spec.cols).view(shape).detach();
  if (!spec.frozen) {
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = grads_.narrow(0, spec.offset, rows * spec.cols).view(shape);
  }
  return leaf;
}

AttentionImpl::AttentionImpl(FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only)
    : seq_len_(point.seq_len),
      heads_(point.heads),
      head_dim_(point.head_dim),
      scale_(1.0 / std::sqrt(static_cast<double>(point.head_dim))) {
  if (last_only) {
    q_ = register_parameter("query", weights.Leaf(Role::kQuery, layer));
    kv_ = register_parameter("key_value", weights.Leaf(Role::kKey, Role::kValue, layer));
  } else {
    qkv_ = register_parameter("query_key_value", weights.Leaf(Role::kQuery, Role::kValue, layer));
  }
  out_ = register_parameter("out", weights.Leaf(Role::kAttentionOut, layer));
  if (point.mode == Mode::kLm) {
    mask_ = torch::full({seq_len_, seq_len_}, -std::numeric_limits<float>::infinity(), out_.options()).triu(1);
  }
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& x) {
  const auto qkv = torch::mm(x, qkv_.t())                           // [b·N, 3·H·d]
                       .view({-1, seq_len_, 3, heads_, head_dim_})  // [b, N, 3, H, d]
                       .permute({2, 0, 3, 1, 4})                    // [3, b, H, N, d]
                       .unbind(0);
  auto scores = torch::matmul(qkv[0] * scale_, qkv[1].transpose(-2, -1));  // [b, H, N, N]
  if (mask_.defined()) {
    scores = scores + mask_;
  }
  const auto mixed = torch::matmul(torch::softmax(scores, -1), qkv[2]);  // [b, H, N, d]
  return torch::mm(mixed.transpose(1, 2).reshape({x.size(0), heads_ * head_dim_}), out_.t());
}

torch::Tensor AttentionImpl::forward_last(const torch::Tensor& x, const torch::Tensor& last) {
  const auto kv = torch::mm(x, kv_.t()).view({-1, seq_len_, 2, heads_, head_dim_}).unbind(2);  // 2 × [b, N, H, d]
  const auto q = (torch::mm(last, q_.t()) * scale_).view({-1, 1, heads_, head_dim_});          // [b, 1, H, d]
  // One query per sequence: products and sums along d are cheaper than b·H matrix products of one row each.
  const auto weights = torch::softmax((q * kv[0]).sum(-1), 1);       // [b, N, H]
  const auto mixed = (weights.unsqueeze(-1) * kv[1]).sum(1);         // [b, H, d]
  return torch::mm(mixed.view({-1, heads_ * head_dim_}), out_.t());  // [b, B]
}

MlpImpl::MlpImpl(FlatWeights& weights, int64_t layer) {
  const auto add = [&](const char* name, Role role) {
    const torch::Tensor leaf = weights.Leaf(role, layer);
    return register_parameter(name, leaf, leaf.requires_grad());
  };
  up_weight_ = add("up_weight", Role::kUpWeight);        // [4B, B]
  up_bias_ = add("up_bias", Role::kUpBias);              // [4B]
  down_weight_ = add("down_weight", Role::kDownWeight);  // [B, 4B]
  down_bias_ = add("down_bias", Role::kDownBias);        // [B]
}

torch::Tensor MlpImpl::forward(const torch::Tensor& x) {
  const auto hidden = torch::gelu(torch::addmm(up_bias_, x, up_weight_.t()));  // [rows, 4B]
  return torch::addmm(down_bias_, hidden, down_weight_.t());                   // [rows, B]
}

LayerImpl::LayerImpl(FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only)
    : seq_len_(point.seq_len), last_only_(last_only) {
  attention_norm_ = register_parameter("attention_norm", weights.Leaf(Role::kAttentionNorm, layer));
  attention_ = register_module("attention", Attention(weights, point, layer, last_only));
  mlp_norm_ = register_parameter("mlp_norm", weights.Leaf(Role::kMlpNorm, layer));
  mlp_ = register_module("mlp", Mlp(weights, layer));
}

torch::Tensor LayerImpl::forward(const torch::Tensor& x) {
  const auto normed = Norm(x, attention_norm_);  // [b·N, B]
  torch::Tensor hidden;
  if (last_only_) {
    hidden = LastPosition(x, seq_len_) + attention_->forward_last(normed, LastPosition(normed, seq_len_));  // [b, B]
  } else {
    hidden = x + attention_->forward(normed);  // [b·N, B]
  }
  return hidden + mlp_->forward(Norm(hidden, mlp_norm_));
}

XtModelImpl::XtModelImpl(FlatWeights& weights, const PointSpec& point, int64_t first_target, bool trim)
    : mode_(point.mode),
      seq_len_(point.seq_len),
      width_(point.width),
      first_target_(first_target),
      trim_(trim && point.mode == Mode::kLabel) {
  token_embedding_ = register_parameter("token_embedding", weights.Leaf(Role::kTokenEmbedding));           // [V, B]
  position_embedding_ = register_parameter("position_embedding", weights.Leaf(Role::kPositionEmbedding));  // [N, B]
  for (int64_t layer = 0; layer < point.layers; ++layer) {
    const bool last_only = trim_ && layer + 1 == point.layers;
    layers_.push_back(register_module(StrCat("layer", layer), Layer(weights, point, layer, last_only)));
  }
  final_norm_ = register_parameter("final_norm", weights.Leaf(Role::kFinalNorm));  // [B]
  head_ = register_parameter("head", weights.Leaf(Role::kHead));                   // [V, B]
}

torch::Tensor XtModelImpl::Embed(const torch::Tensor& tokens) {
  torch::Tensor embedded;
  if (mode_ == Mode::kLm) {
    // The input is BOS and all tokens but the last. BOS has no weights: its embedding is zero, so that position 0 sees
    // its position embedding alone.
    const auto shown = torch::embedding(token_embedding_, tokens.narrow(1, 0, seq_len_ - 1));  // [b, N-1, B]
    embedded = torch::constant_pad_nd(shown, {0, 0, 1, 0});                                    // [b, N, B]
  } else {
    embedded = torch::embedding(token_embedding_, tokens);  // [b, N, B]
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(width_));
  return (embedded + position_embedding_ * scale).view({-1, width_});
}

torch::Tensor XtModelImpl::OutputPositions(const torch::Tensor& hidden) {
  if (mode_ == Mode::kLabel) {
    return trim_ ? hidden : LastPosition(hidden, seq_len_);  // [b, B]
  }
  if (first_target_ == 0) {
    return hidden;  // [b·N, B]
  }
  const int64_t targets = seq_len_ - first_target_;
  return hidden.view({-1, seq_len_, width_}).narrow(1, first_target_, targets).reshape({-1, width_});
}

torch::Tensor XtModelImpl::forward(const torch::Tensor& tokens) {
  torch::Tensor hidden = Embed(tokens);
  for (Layer& layer : layers_) {
    hidden = layer->forward(hidden);
  }
  return torch::mm(Norm(OutputPositions(hidden), final_norm_), head_.t());  // [b·T, V]
}

ProbeResult ProbeModel(const PointSpec& point, const Library& library, const std::vector<double>& weights, bool trim) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  FlatWeights flat(MakeLayout(point), torch::tensor(weights, options));
  XtModel model(flat, point, library.first_target, trim);
  const auto tokens = torch::tensor(library.tokens).to(torch::kInt64).view({library.items, library.seq_len});
  const auto targets = torch::tensor(library.target_tokens).to(torch::kInt64);
  const auto logits = model->forward(tokens);
  const auto loss = torch::cross_entropy_loss(logits, targets);
  loss.backward();
  const auto list = [](const torch::Tensor& t) {
    const auto flat_tensor = t.contiguous().view({-1});
    return std::vector<double>(flat_tensor.data_ptr<double>(), flat_tensor.data_ptr<double>() + flat_tensor.numel());
  };
  return ProbeResult{loss.item<double>(), list(logits.detach()), list(flat.grads())};
}

}  // namespace capsweep::trainer
