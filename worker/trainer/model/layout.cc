#include "worker/trainer/model/layout.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/text.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {
namespace {

bool IsGain(Role role) {
  return role == Role::kAttentionNorm || role == Role::kMlpNorm || role == Role::kFinalNorm;
}
bool IsBias(Role role) {
  switch (role) {
    case Role::kUpBias:
    case Role::kDownBias:
    case Role::kAttentionNormBias:
    case Role::kQueryBias:
    case Role::kKeyBias:
    case Role::kValueBias:
    case Role::kAttentionOutBias:
    case Role::kMlpNormBias:
    case Role::kFinalNormBias:
    case Role::kHeadBias:
    case Role::kInputBias:
    case Role::kHiddenBias:
      return true;
    default:
      return false;
  }
}

double FanIn(int64_t cols) {
  return 1.0 / std::sqrt(static_cast<double>(cols));
}

// Collects the tensors of one model in the order of its forward pass.
class Tensors {
 public:
  explicit Tensors(const PointSpec& point) : point_(point) {}

  void Embedding(std::string_view name, Role role, int64_t rows) { Add(name, role, rows, point_.width, 1.0); }
  void Matrix(std::string_view name, Role role, int64_t rows, int64_t cols) {
    Add(name, role, rows, cols, FanIn(cols));
  }
  void Vector(std::string_view name, Role role, int64_t size) { Add(name, role, 1, size, 0); }
  void Add(std::string_view name, Role role, int64_t rows, int64_t cols, double deviation) {
    if (point_.family == Family::kGpt2) {
      deviation = IsVector(role) ? 0 : 0.02;
    }
    const std::string prefix = in_layers_ ? StrCat("layers.", layer_, ".") : std::string();
    list_.push_back({StrCat(prefix, name), role, layer_, rows, cols, deviation, frozen_});
  }

  // Tensors added from here on are the layer's; of -1 nobody's.
  void InLayer(int64_t layer) {
    in_layers_ = layer >= 0;
    layer_ = std::max<int64_t>(layer, 0);
  }
  void Frozen(bool frozen) { frozen_ = frozen; }

  // B -> m -> B with biases.
  void Mlp(double down_deviation) {
    const int64_t width = point_.width, hidden = MlpWidth(point_);
    Frozen(point_.freeze_mlp);
    Matrix("up_weight", Role::kUpWeight, hidden, width);
    Vector("up_bias", Role::kUpBias, hidden);
    Add("down_weight", Role::kDownWeight, width, hidden, down_deviation);
    Vector("down_bias", Role::kDownBias, width);
    Frozen(false);
  }

  std::vector<TensorSpec> Take() { return std::move(list_); }

 private:
  const PointSpec& point_;
  std::vector<TensorSpec> list_;
  int64_t layer_ = 0;
  bool in_layers_ = false, frozen_ = false;
};

// xt, and gpt2, which has biases everywhere and no head of its own.
void AddTransformer(const PointSpec& point, Tensors& tensors) {
  const bool biases = point.family == Family::kGpt2;
  const int64_t width = point.width, inner = point.heads * point.head_dim;
  const auto bias = [&](std::string_view name, Role role, int64_t size) {
    if (biases) tensors.Vector(name, role, size);
  };
  tensors.Embedding("token_embedding", Role::kTokenEmbedding, point.vocab);
  if (point.positions == Positions::kAbsolute) {
    tensors.Embedding("position_embedding", Role::kPositionEmbedding, point.seq_len);
  }
  for (int64_t layer = 0; layer < point.layers; ++layer) {
    tensors.InLayer(layer);
    tensors.Vector("attention_norm", Role::kAttentionNorm, width);
    bias("attention_norm_bias", Role::kAttentionNormBias, width);
    tensors.Matrix("query", Role::kQuery, inner, width);
    tensors.Matrix("key", Role::kKey, inner, width);
    tensors.Matrix("value", Role::kValue, inner, width);
    bias("query_bias", Role::kQueryBias, inner);
    bias("key_bias", Role::kKeyBias, inner);
    bias("value_bias", Role::kValueBias, inner);
    tensors.Matrix("attention_out", Role::kAttentionOut, width, inner);
    bias("attention_out_bias", Role::kAttentionOutBias, width);
    tensors.Vector("mlp_norm", Role::kMlpNorm, width);
    bias("mlp_norm_bias", Role::kMlpNormBias, width);
    tensors.Mlp(FanIn(MlpWidth(point)));
  }
  tensors.InLayer(-1);
  tensors.Vector("final_norm", Role::kFinalNorm, width);
  bias("final_norm_bias", Role::kFinalNormBias, width);
  if (point.family == Family::kXt) {
    tensors.Matrix("head", Role::kHead, point.vocab, width);
  }
}

void AddMlpFamily(const PointSpec& point, Tensors& tensors) {
  const bool vectors = point.tokens == Tokens::kVectors;
  const int64_t hidden = MlpWidth(point);
  if (!vectors) {
    tensors.Embedding("token_embedding", Role::kTokenEmbedding, point.vocab);
  }
  tensors.Matrix("hidden", Role::kHidden, hidden, point.seq_len * (vectors ? point.vector_dim : point.width));
  tensors.Vector("hidden_bias", Role::kHiddenBias, hidden);
  tensors.Matrix("head", Role::kHead, MaxTargets(point) * ModelOutputs(point), hidden);
}

void AddKsFamily(const PointSpec& point, Tensors& tensors) {
  const int64_t width = point.width;
  if (point.tokens == Tokens::kVectors) {
    tensors.Matrix("input_weight", Role::kInputWeight, width, point.vector_dim);
    tensors.Vector("input_bias", Role::kInputBias, width);
  } else {
    tensors.Embedding("token_embedding", Role::kTokenEmbedding, point.vocab);
  }
  if (point.positions == Positions::kAbsolute) {
    tensors.Embedding("position_embedding", Role::kPositionEmbedding, point.seq_len);
  }
  for (int64_t block = 0; block < 2 * point.layers; ++block) {
    if (block == point.layers) {
      tensors.InLayer(-1);
      tensors.Matrix("value", Role::kValue, width, width);
      tensors.Matrix("attention_out", Role::kAttentionOut, width, width);
    }
    tensors.InLayer(block);
    tensors.Mlp(FanIn(2 * point.layers * MlpWidth(point)));
  }
  tensors.InLayer(-1);
  tensors.Matrix("head", Role::kHead, ModelOutputs(point), width);
  tensors.Vector("head_bias", Role::kHeadBias, ModelOutputs(point));
}

}  // namespace

bool IsVector(Role role) {
  return IsGain(role) || IsBias(role);
}

int64_t ModelOutputs(const PointSpec& point) {
  return point.loss == Loss::kMse ? 1 : point.vocab;
}

int ParamLayout::Find(Role role, int64_t layer) const {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].role == role && tensors[i].layer == layer) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

ParamLayout MakeLayout(const PointSpec& point) {
  Tensors tensors(point);
  switch (point.family) {
    case Family::kXt:
    case Family::kGpt2:
      AddTransformer(point, tensors);
      break;
    case Family::kMlp:
      AddMlpFamily(point, tensors);
      break;
    case Family::kKs:
      AddKsFamily(point, tensors);
      break;
  }
  ParamLayout layout;
  layout.tensors = tensors.Take();
  for (const bool frozen : {false, true}) {
    for (TensorSpec& tensor : layout.tensors) {
      if (tensor.frozen == frozen) {
        tensor.offset = layout.total;
        layout.total += tensor.size();
      }
    }
    layout.train = frozen ? layout.train : layout.total;
  }
  return layout;
}

std::vector<float> InitialWeights(const ParamLayout& layout, uint64_t init_seed) {
  std::vector<float> weights(static_cast<size_t>(layout.total));
  for (const TensorSpec& tensor : layout.tensors) {
    float* out = weights.data() + tensor.offset;
    if (IsVector(tensor.role)) {
      std::fill_n(out, tensor.size(), IsGain(tensor.role) ? 1.0f : 0.0f);
      continue;
    }
    const auto purpose =
        static_cast<Purpose>(static_cast<uint32_t>(Purpose::kInit) + static_cast<uint32_t>(tensor.role));
    for (int64_t i = 0; i < tensor.size(); i += 2) {
      const std::array<double, 2> pair =
          NormalPair(init_seed, purpose, static_cast<uint64_t>(i / 2), static_cast<uint32_t>(tensor.layer));
      out[i] = static_cast<float>(tensor.deviation * pair[0]);
      if (i + 1 < tensor.size()) out[i + 1] = static_cast<float>(tensor.deviation * pair[1]);
    }
  }
  return weights;
}

}  // namespace capsweep::trainer
