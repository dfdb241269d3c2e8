// The family `ks`: token-wise residual blocks, one uniform attention, token-wise residual blocks, an output layer at
// the last position (Kajitsuka and Sato, "On the Optimal Memorization Capacity of Transformers", ICLR 2025, equation
// 165).
#include <cmath>

#include "worker/trainer/torch/model.h"

namespace capsweep::trainer {
namespace {

class KsModel : public Model {
 public:
  KsModel(const FlatWeights& weights, const PointSpec& point, bool trim)
      : seq_len_(point.seq_len),
        trim_(trim),
        position_scale_(1.0 / std::sqrt(static_cast<double>(point.width))),
        token_embedding_(weights.Leaf(Role::kTokenEmbedding)),
        input_weight_(weights.Leaf(Role::kInputWeight)),
        input_bias_(weights.Leaf(Role::kInputBias)),
        position_embedding_(weights.Leaf(Role::kPositionEmbedding)),
        value_(weights.Leaf(Role::kValue)),
        out_(weights.Leaf(Role::kAttentionOut)),
        head_(weights.Leaf(Role::kHead)),
        head_bias_(weights.Leaf(Role::kHeadBias)) {
    for (int64_t block = 0; block < point.layers; ++block) {
      before_.emplace_back(weights, point, block);
      after_.emplace_back(weights, point, point.layers + block);
    }
  }

  torch::Tensor Activations(const torch::Tensor& input, const Dropout* /*dropout*/) const override {
    torch::Tensor z = Embed(input);  // [b·N, B]
    for (const MlpBlock& block : before_) {
      z = z + block(z);
    }
    const auto items = z.view({-1, seq_len_, z.size(1)});                     // [b, N, B]
    const auto shared = Linear(Linear(items.mean(1), value_), out_);          // [b, B]
    torch::Tensor y = trim_ ? LastPosition(z, seq_len_) + shared              // [b, B]
                            : (items + shared.unsqueeze(1)).view(z.sizes());  // [b·N, B]
    for (const MlpBlock& block : after_) {
      y = y + block(y);
    }
    return trim_ ? y : LastPosition(y, seq_len_);
  }

  torch::Tensor Head(const torch::Tensor& activations) const override { return Linear(activations, head_, head_bias_); }

 private:
  torch::Tensor Embed(const torch::Tensor& input) const {  // [b, N] or [b, N, vector_dim] -> [b·N, B]
    torch::Tensor z = token_embedding_.defined() ? torch::embedding(token_embedding_, input).flatten(0, 1)
                                                 : Linear(input.flatten(0, 1), input_weight_, input_bias_);
    if (position_embedding_.defined()) {
      z = (z.view({-1, seq_len_, z.size(1)}) + position_embedding_ * position_scale_).view(z.sizes());
    }
    return z;
  }

  int64_t seq_len_;
  bool trim_;
  double position_scale_;
  torch::Tensor token_embedding_, input_weight_, input_bias_;  // [V, B], or [B, vector_dim] and [B]
  torch::Tensor position_embedding_;                           // [N, B] or undefined
  torch::Tensor value_, out_;                                  // [B, B]
  torch::Tensor head_, head_bias_;                             // [O, B], [O]
  std::vector<MlpBlock> before_, after_;
};

}  // namespace

std::unique_ptr<Model> MakeKsModel(const FlatWeights& weights, const PointSpec& point, bool trim) {
  return std::make_unique<KsModel>(weights, point, trim);
}

}  // namespace capsweep::trainer
