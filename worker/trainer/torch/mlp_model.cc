// The family `mlp`: embedded tokens or vectors side by side, one hidden layer, a head without bias.
#include "worker/trainer/torch/model.h"

namespace capsweep::trainer {
namespace {

class MlpModel : public Model {
 public:
  MlpModel(const FlatWeights& weights, const PointSpec& point)
      : activation_(point.activation),
        outputs_(ModelOutputs(point)),
        token_embedding_(weights.Leaf(Role::kTokenEmbedding)),
        hidden_(weights.Leaf(Role::kHidden)),
        hidden_bias_(weights.Leaf(Role::kHiddenBias)),
        head_(weights.Leaf(Role::kHead)) {}

  torch::Tensor Activations(const torch::Tensor& input, const Dropout* /*dropout*/) const override {
    const auto shown = token_embedding_.defined() ? torch::embedding(token_embedding_, input) : input;
    return Activate(activation_, Linear(shown.flatten(1), hidden_, hidden_bias_));  // [b, m]
  }

  torch::Tensor Head(const torch::Tensor& activations) const override {
    return torch::mm(activations, head_.t()).view({-1, outputs_});
  }

 private:
  Activation activation_;
  int64_t outputs_;
  torch::Tensor token_embedding_;       // [V, B]; undefined with vectors
  torch::Tensor hidden_, hidden_bias_;  // [m, N·B] or [m, N·vector_dim], [m]
  torch::Tensor head_;                  // [T·O, m]
};

}  // namespace

std::unique_ptr<Model> MakeMlpModel(const FlatWeights& weights, const PointSpec& point) {
  return std::make_unique<MlpModel>(weights, point);
}

}  // namespace capsweep::trainer
