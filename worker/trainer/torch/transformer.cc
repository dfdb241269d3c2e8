// The families `xt` and `gpt2`: pre-norm transformers (docs/science.md, section "Models"). Which tensors the layout has
// decides most of what differs: biases, learned positions, a head of its own.
#include <cmath>
#include <limits>

#include "worker/trainer/torch/model.h"

namespace capsweep::trainer {
namespace {

constexpr double kNormEpsilon = 1e-5;

// LayerNorm of the last dimension with a gain, and a bias where the layout has one. [rows, B] -> [rows, B]
class Norm {
 public:
  Norm(const FlatWeights& weights, Role gain, Role bias, int64_t layer = 0)
      : gain_(weights.Leaf(gain, layer)), bias_(weights.Leaf(bias, layer)) {}
  torch::Tensor operator()(const torch::Tensor& x) const {
    return torch::layer_norm(x, {gain_.size(0)}, gain_, bias_, kNormEpsilon);
  }

 private:
  torch::Tensor gain_, bias_;
};

// Rotary positions (Su et al., RoFormer, 2021, section 3.2.2): channels 2i and 2i + 1 turn by pos * 10000^(-2i/d).
class Rotary {
 public:
  Rotary(int64_t seq_len, int64_t head_dim, const torch::TensorOptions& options) {
    const auto pair = torch::arange(head_dim / 2, torch::kFloat64);
    const auto speed = torch::exp(pair * (-2.0 * std::log(10000.0) / static_cast<double>(head_dim)));  // [d/2]
    const auto angle = torch::arange(seq_len, torch::kFloat64).unsqueeze(1) * speed;                   // [N, d/2]
    cos_ = torch::cos(angle).to(options).unsqueeze(1);                                                 // [N, 1, d/2]
    sin_ = torch::sin(angle).to(options).unsqueeze(1);
  }
  // x: [b, n, H, d] at the last n of the N positions.
  torch::Tensor operator()(const torch::Tensor& x) const {
    const int64_t first = cos_.size(0) - x.size(1);
    const auto cos = cos_.narrow(0, first, x.size(1)), sin = sin_.narrow(0, first, x.size(1));
    const auto pairs = x.reshape({x.size(0), x.size(1), x.size(2), x.size(3) / 2, 2}).unbind(-1);
    return torch::stack({pairs[0] * cos - pairs[1] * sin, pairs[0] * sin + pairs[1] * cos}, -1).view(x.sizes());
  }

 private:
  torch::Tensor cos_, sin_;
};

// Self-attention: q, k, v B -> H·d and out H·d -> B, scores scaled by d^-1/2.
class Attention {
 public:
  // `last_only`: Last will be called, else All.
  Attention(const FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only)
      : seq_len_(point.seq_len),
        heads_(point.heads),
        head_dim_(point.head_dim),
        scale_(1.0 / std::sqrt(static_cast<double>(point.head_dim))),
        out_(weights.Leaf(Role::kAttentionOut, layer)),
        out_bias_(weights.Leaf(Role::kAttentionOutBias, layer)) {
    if (last_only) {
      q_ = weights.Leaf(Role::kQuery, layer);
      q_bias_ = weights.Leaf(Role::kQueryBias, layer);
      kv_ = weights.Leaf(Role::kKey, Role::kValue, layer);
      kv_bias_ = weights.Leaf(Role::kKeyBias, Role::kValueBias, layer);
    } else {
      qkv_ = weights.Leaf(Role::kQuery, Role::kValue, layer);
      qkv_bias_ = weights.Leaf(Role::kQueryBias, Role::kValueBias, layer);
    }
    const auto options = weights.values().options();
    if (point.mode == Mode::kLm) {
      mask_ = torch::full({seq_len_, seq_len_}, -std::numeric_limits<float>::infinity(), options).triu(1);
    }
    if (point.positions == Positions::kRotary) {
      rotary_ = std::make_unique<Rotary>(seq_len_, head_dim_, options);
    }
  }

  torch::Tensor All(const torch::Tensor& x) const {  // [b·N, B] -> [b·N, B]
    auto qkv = Linear(x, qkv_, qkv_bias_)
                   .view({-1, seq_len_, 3, heads_, head_dim_})  // [b, N, 3, H, d]
                   .unbind(2);
    const auto q = Turned(qkv[0]).transpose(1, 2), k = Turned(qkv[1]).transpose(1, 2);  // [b, H, N, d]
    auto scores = torch::matmul(q * scale_, k.transpose(-2, -1));                       // [b, H, N, N]
    if (mask_.defined()) {
      scores = scores + mask_;
    }
    const auto mixed = torch::matmul(torch::softmax(scores, -1), qkv[2].transpose(1, 2));  // [b, H, N, d]
    return Linear(mixed.transpose(1, 2).reshape({x.size(0), heads_ * head_dim_}), out_, out_bias_);
  }

  // Attention from the last position alone; `last` is that position of x. [b·N, B], [b, B] -> [b, B]
  torch::Tensor Last(const torch::Tensor& x, const torch::Tensor& last) const {
    const auto kv = Linear(x, kv_, kv_bias_).view({-1, seq_len_, 2, heads_, head_dim_}).unbind(2);  // 2 × [b, N, H, d]
    const auto q = Turned((Linear(last, q_, q_bias_) * scale_).view({-1, 1, heads_, head_dim_}));   // [b, 1, H, d]
    // One query per sequence: products and sums along d are cheaper than b·H matrix products of one row each.
    const auto weights = torch::softmax((q * Turned(kv[0])).sum(-1), 1);  // [b, N, H]
    const auto mixed = (weights.unsqueeze(-1) * kv[1]).sum(1);            // [b, H, d]
    return Linear(mixed.view({-1, heads_ * head_dim_}), out_, out_bias_);
  }

 private:
  torch::Tensor Turned(const torch::Tensor& x) const { return rotary_ != nullptr ? (*rotary_)(x) : x; }

  int64_t seq_len_, heads_, head_dim_;
  double scale_;
  torch::Tensor out_, out_bias_;  // [B, H·d], [B]
  torch::Tensor qkv_, qkv_bias_;  // [3·H·d, B], [3·H·d], or
  torch::Tensor q_, q_bias_;      // [H·d, B], [H·d] and
  torch::Tensor kv_, kv_bias_;    // [2·H·d, B], [2·H·d]
  torch::Tensor mask_;            // [N, N], -inf above the diagonal; undefined where every position sees all
  std::unique_ptr<Rotary> rotary_;
};

class Layer {
 public:
  Layer(const FlatWeights& weights, const PointSpec& point, int64_t layer, bool last_only)
      : seq_len_(point.seq_len),
        layer_(layer),
        last_only_(last_only),
        attention_norm_(weights, Role::kAttentionNorm, Role::kAttentionNormBias, layer),
        attention_(weights, point, layer, last_only),
        mlp_norm_(weights, Role::kMlpNorm, Role::kMlpNormBias, layer),
        mlp_(weights, point, layer) {}

  // [b·N, B] -> [b·N, B], with last_only -> [b, B]
  torch::Tensor operator()(const torch::Tensor& x, const Dropout* dropout) const {
    const auto dropped = [&](const torch::Tensor& y, Dropout::Place place) {
      return dropout != nullptr ? dropout->Apply(y, layer_, place, last_only_) : y;
    };
    const auto normed = attention_norm_(x);  // [b·N, B]
    const auto attended = last_only_ ? attention_.Last(normed, LastPosition(normed, seq_len_)) : attention_.All(normed);
    const auto hidden = (last_only_ ? LastPosition(x, seq_len_) : x) + dropped(attended, Dropout::Place::kAttention);
    return hidden + dropped(mlp_(mlp_norm_(hidden)), Dropout::Place::kMlp);
  }

 private:
  int64_t seq_len_, layer_;
  bool last_only_;
  Norm attention_norm_;
  Attention attention_;
  Norm mlp_norm_;
  MlpBlock mlp_;
};

class Transformer : public Model {
 public:
  Transformer(const FlatWeights& weights, const PointSpec& point, int64_t first_target, bool trim)
      : mode_(point.mode),
        seq_len_(point.seq_len),
        width_(point.width),
        first_target_(first_target),
        trim_(trim && point.mode == Mode::kLabel),
        position_scale_(point.family == Family::kXt ? 1.0 / std::sqrt(static_cast<double>(point.width)) : 1.0),
        token_embedding_(weights.Leaf(Role::kTokenEmbedding)),
        position_embedding_(weights.Leaf(Role::kPositionEmbedding)),
        final_norm_(weights, Role::kFinalNorm, Role::kFinalNormBias),
        head_(weights.Leaf(Role::kHead)) {
    if (!head_.defined()) {
      head_ = token_embedding_;
    }
    for (int64_t layer = 0; layer < point.layers; ++layer) {
      layers_.emplace_back(weights, point, layer, trim_ && layer + 1 == point.layers);
    }
  }

  torch::Tensor Activations(const torch::Tensor& tokens, const Dropout* dropout) const override {
    torch::Tensor hidden = Embed(tokens);
    for (const Layer& layer : layers_) {
      hidden = layer(hidden, dropout);
    }
    return final_norm_(OutputPositions(hidden));
  }

  torch::Tensor Head(const torch::Tensor& activations) const override { return torch::mm(activations, head_.t()); }

 private:
  torch::Tensor Embed(const torch::Tensor& tokens) const {  // [b, N] -> [b·N, B]
    torch::Tensor embedded;
    if (mode_ == Mode::kLm) {
      // The input is BOS and all tokens but the last. BOS has no weights: its embedding is zero, so that position 0
      // sees its position embedding alone.
      const auto shown = torch::embedding(token_embedding_, tokens.narrow(1, 0, seq_len_ - 1));  // [b, N-1, B]
      embedded = torch::constant_pad_nd(shown, {0, 0, 1, 0});                                    // [b, N, B]
    } else {
      embedded = torch::embedding(token_embedding_, tokens);  // [b, N, B]
    }
    if (position_embedding_.defined()) {
      embedded = embedded + position_embedding_ * position_scale_;
    }
    return embedded.view({-1, width_});
  }

  torch::Tensor OutputPositions(const torch::Tensor& hidden) const {  // [b·N, B] -> [b·T, B]
    if (mode_ == Mode::kLabel) {
      return trim_ ? hidden : LastPosition(hidden, seq_len_);  // [b, B]
    }
    if (first_target_ == 0) {
      return hidden;  // [b·N, B]
    }
    const int64_t targets = seq_len_ - first_target_;
    return hidden.view({-1, seq_len_, width_}).narrow(1, first_target_, targets).reshape({-1, width_});
  }

  Mode mode_;
  int64_t seq_len_, width_, first_target_;
  bool trim_;
  double position_scale_;
  torch::Tensor token_embedding_, position_embedding_;  // [V, B], [N, B]
  Norm final_norm_;
  torch::Tensor head_;  // [V, B]
  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Model> MakeTransformer(const FlatWeights& weights, const PointSpec& point, int64_t first_target,
                                       bool trim) {
  return std::make_unique<Transformer>(weights, point, first_target, trim);
}

}  // namespace capsweep::trainer
