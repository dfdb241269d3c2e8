#include "worker/trainer/model/layout.h"

#include <cmath>

#include "common/text.h"
#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {
namespace {

bool IsGain(Role role) {
  return role == Role::kAttentionNorm || role == Role::kMlpNorm || role == Role::kFinalNorm;
}
bool IsBias(Role role) {
  return role == Role::kUpBias || role == Role::kDownBias;
}
bool IsEmbedding(Role role) {
  return role == Role::kTokenEmbedding || role == Role::kPositionEmbedding;
}

void AddLayer(const PointSpec& point, int64_t layer, std::vector<TensorSpec>& out) {
  const int64_t width = point.width;
  const int64_t inner = point.heads * point.head_dim;
  const int64_t hidden = 4 * width;
  const auto add = [&](std::string_view name, Role role, int64_t rows, int64_t cols, bool frozen = false) {
    out.push_back({StrCat("layers.", layer, ".", name), role, layer, rows, cols, 0, frozen});
  };
  add("attention_norm", Role::kAttentionNorm, 1, width);
  add("query", Role::kQuery, inner, width);
  add("key", Role::kKey, inner, width);
  add("value", Role::kValue, inner, width);
  add("attention_out", Role::kAttentionOut, width, inner);
  add("mlp_norm", Role::kMlpNorm, 1, width);
  add("up_weight", Role::kUpWeight, hidden, width, point.freeze_mlp);
  add("up_bias", Role::kUpBias, 1, hidden, point.freeze_mlp);
  add("down_weight", Role::kDownWeight, width, hidden, point.freeze_mlp);
  add("down_bias", Role::kDownBias, 1, width, point.freeze_mlp);
}

}  // namespace

bool IsVector(Role role) {
  return IsGain(role) || IsBias(role);
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
  ParamLayout layout;
  std::vector<TensorSpec>& tensors = layout.tensors;
  tensors.push_back({"token_embedding", Role::kTokenEmbedding, 0, point.vocab, point.width});
  tensors.push_back({"position_embedding", Role::kPositionEmbedding, 0, point.seq_len, point.width});
  for (int64_t layer = 0; layer < point.layers; ++layer) {
    AddLayer(point, layer, tensors);
  }
  tensors.push_back({"final_norm", Role::kFinalNorm, 0, 1, point.width});
  tensors.push_back({"head", Role::kHead, 0, point.vocab, point.width});
  for (const bool frozen : {false, true}) {
    for (TensorSpec& tensor : tensors) {
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
    const double deviation = IsEmbedding(tensor.role) ? 1.0 : 1.0 / std::sqrt(static_cast<double>(tensor.cols));
    const auto purpose =
        static_cast<Purpose>(static_cast<uint32_t>(Purpose::kInit) + static_cast<uint32_t>(tensor.role));
    for (int64_t i = 0; i < tensor.size(); ++i) {
      out[i] = static_cast<float>(
          deviation * Normal(init_seed, purpose, static_cast<uint64_t>(i), static_cast<uint32_t>(tensor.layer)));
    }
  }
  return weights;
}

}  // namespace capsweep::trainer
