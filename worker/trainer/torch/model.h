// The family `xt` as plain torch::nn modules: a pre-norm transformer in the manner of x-transformers with LayerNorm
// gains only, bias-free attention and head, exact GELU, untied head, no dropout (docs/science.md, section "Models").
//
// Shape letters: b batch, N seq_len, B width, H heads, d head_dim, V vocab, T targets per item.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "common/point.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {

// All weights of a model in one tensor [layout.total] and the gradients of the trained ones in another [layout.train].
// Modules hold leaf views into them, so that the optimizer and zero_grad are a few operations on two tensors instead of
// a few on each parameter: at these sizes the number of operations is what a step costs.
class FlatWeights {
 public:
  // Takes `values` over; its dtype and device become the model's.
  FlatWeights(ParamLayout layout, torch::Tensor values);

  // A leaf over the adjacent tensors first..last of a layer, rows stacked: [rows, cols], or [cols] for a vector. A
  // trained leaf's gradient is its part of `grads`.
  torch::Tensor Leaf(Role first, Role last, int64_t layer = 0);
  torch::Tensor Leaf(Role role, int64_t layer = 0) { return Leaf(role, role, layer); }

  const ParamLayout& layout() const { return layout_; }
  torch::Tensor values() const { return values_; }    // [layout.total]
  torch::Tensor trained() const { return trained_; }  // [layout.train], the front of values
  torch::Tensor grads() const { return grads_; }      // [layout.train]

 private:
  ParamLayout layout_;
  torch::Tensor values_;
  torch::Tensor trained_;
  torch::Tensor grads_;
};

// Self-attention: q, k, v B -> H·d and out H·d -> B without biases, scores scaled by d^-1/2.
class AttentionImpl : public torch::nn::Module {
 public:
  // `last_only`: forward_last will be called, else forward.
  AttentionImpl(FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only);

  torch::Tensor forward(const torch::Tensor& x);  // [b·N, B] -> [b·N, B]
  // Attention from the last position alone; `last` is that position of x. [b·N, B], [b, B] -> [b, B]
  torch::Tensor forward_last(const torch::Tensor& x, const torch::Tensor& last);

 private:
  int64_t seq_len_, heads_, head_dim_;
  double scale_;
  torch::Tensor qkv_;   // [3·H·d, B], or
  torch::Tensor q_;     // [H·d, B] and
  torch::Tensor kv_;    // [2·H·d, B]
  torch::Tensor out_;   // [B, H·d]
  torch::Tensor mask_;  // [N, N], -inf above the diagonal; undefined where every position sees all
};
TORCH_MODULE(Attention);

// B -> 4B -> B with biases and exact GELU.
class MlpImpl : public torch::nn::Module {
 public:
  MlpImpl(FlatWeights& weights, int64_t layer);
  torch::Tensor forward(const torch::Tensor& x);  // [rows, B] -> [rows, B]

 private:
  torch::Tensor up_weight_, up_bias_, down_weight_, down_bias_;
};
TORCH_MODULE(Mlp);

class LayerImpl : public torch::nn::Module {
 public:
  LayerImpl(FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only);
  torch::Tensor forward(const torch::Tensor& x);  // [b·N, B] -> [b·N, B], with last_only -> [b, B]

 private:
  int64_t seq_len_;
  bool last_only_;
  torch::Tensor attention_norm_, mlp_norm_;  // [B] gains
  Attention attention_{nullptr};
  Mlp mlp_{nullptr};
};
TORCH_MODULE(Layer);

class XtModelImpl : public torch::nn::Module {
 public:
  // `first_target`: input position of the first target (0 outside lm). `trim`: in mode label, compute the last layer
  // for the last position only, which is exact, because nothing else reaches the loss; false is for tests.
  XtModelImpl(FlatWeights& weights, const PointSpec& point, int64_t first_target, bool trim = true);

  torch::Tensor forward(const torch::Tensor& tokens);  // [b, N] int64 -> logits [b·T, V]

 private:
  torch::Tensor Embed(const torch::Tensor& tokens);            // [b, N] -> [b·N, B]
  torch::Tensor OutputPositions(const torch::Tensor& hidden);  // [b·N, B] -> [b·T, B]

  Mode mode_;
  int64_t seq_len_, width_, first_target_;
  bool trim_;
  torch::Tensor token_embedding_, position_embedding_, final_norm_, head_;
  std::vector<Layer> layers_;
};
TORCH_MODULE(XtModel);

}  // namespace capsweep::trainer
