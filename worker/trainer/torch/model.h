// What the models of the torch back end share: their weights, what a forward pass reads and gives, and the one list of
// families. A family is one .cc file beside this and one line of MakeModel.
//
// Shape letters: b batch, N seq_len, B width, H heads, d head_dim, m MlpWidth, V vocab, T targets per item, O outputs
// per target (V, or 1 with loss mse), A activations that the head reads (B, in family mlp m).
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "common/point.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {

// All weights of a model in one tensor [layout.total] and the gradients of the trained ones in another [layout.train].
// Models hold leaf views into them, so that the optimizer and zeroing are a few operations on two tensors instead of a
// few on each parameter: at these sizes the number of operations is what a step costs.
class FlatWeights {
 public:
  // Takes `values` over; its dtype and device become the model's.
  FlatWeights(ParamLayout layout, torch::Tensor values);

  // A leaf over the adjacent tensors first..last of a layer, rows stacked: [rows, cols], or [rows * cols] for vectors.
  // A trained leaf's gradient is its part of `grads`. Undefined where the layout has no such tensor.
  torch::Tensor Leaf(Role first, Role last, int64_t layer = 0) const;
  torch::Tensor Leaf(Role role, int64_t layer = 0) const { return Leaf(role, role, layer); }

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

// The dropout of one training step: a pure function of the point and the step's number.
class Dropout {
 public:
  enum class Place { kAttention, kMlp };

  Dropout(const PointSpec& point, int64_t step) : point_(point), step_(step) {}

  // Elements of x set to 0 with the point's probability, the others scaled up. x: [b·N, B], or with `last_only` the
  // last positions [b, B], which get the masks that they have among all.
  torch::Tensor Apply(const torch::Tensor& x, int64_t layer, Place place, bool last_only) const;

 private:
  const PointSpec& point_;
  int64_t step_;
};

class Model {
 public:
  virtual ~Model() = default;

  // What the head reads of the positions with targets: [b·T, A], in family mlp [b, A]. `input`: [b, N] int64 tokens, or
  // [b, N, vector_dim]. `dropout`: null in evaluation.
  virtual torch::Tensor Activations(const torch::Tensor& input, const Dropout* dropout) const = 0;
  virtual torch::Tensor Head(const torch::Tensor& activations) const = 0;  // -> [b·T, O]

  torch::Tensor Forward(const torch::Tensor& input, const Dropout* dropout = nullptr) const {
    return Head(Activations(input, dropout));
  }
};

// `first_target`: input position of the first target (0 outside lm). `trim`: in mode label, compute for the last
// position only what nothing else reads, which is exact; false is for tests. Both weights and point outlive the model.
std::unique_ptr<Model> MakeModel(const FlatWeights& weights, const PointSpec& point, int64_t first_target,
                                 bool trim = true);

// The families, each in its own file.
std::unique_ptr<Model> MakeTransformer(const FlatWeights& weights, const PointSpec& point, int64_t first_target,
                                       bool trim);  // xt and gpt2
std::unique_ptr<Model> MakeMlpModel(const FlatWeights& weights, const PointSpec& point);
std::unique_ptr<Model> MakeKsModel(const FlatWeights& weights, const PointSpec& point, bool trim);

// The loss of a batch, mean over targets: nats of cross entropy, or with mse the squared distance to targets of -1 (for
// label 0) and 1. outputs [b·T, O], targets [b·T] int64.
torch::Tensor MeanLoss(const PointSpec& point, const torch::Tensor& outputs, const torch::Tensor& targets);

// Logits [b·T, V] to count with. With mse the output y becomes (-y, y): the larger one is the sign of y, and the
// label's probability reads as the logistic function of 2y.
torch::Tensor AsLogits(const PointSpec& point, const torch::Tensor& outputs);

// Parts of models. `bias` may be undefined.
torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {});
torch::Tensor Activate(Activation activation, const torch::Tensor& x);  // softmax: over the last dimension
torch::Tensor LastPosition(const torch::Tensor& x, int64_t seq_len);    // [b·N, B] -> [b, B]

// B -> m -> B with biases; frozen where the point freezes it.
class MlpBlock {
 public:
  MlpBlock(const FlatWeights& weights, const PointSpec& point, int64_t layer);
  torch::Tensor operator()(const torch::Tensor& x) const;  // [rows, B] -> [rows, B]

 private:
  Activation activation_;
  torch::Tensor up_weight_, up_bias_, down_weight_, down_bias_;  // [m, B], [m], [B, m], [B]
};

}  // namespace capsweep::trainer
