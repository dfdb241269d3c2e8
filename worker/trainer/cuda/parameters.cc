#include "worker/trainer/cuda/parameters.h"

#include "worker/trainer/adam.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer::cuda {

RunShape ShapeOf(const PointSpec& point) {
  RunShape shape{};
  shape.mode = point.mode == Mode::kLabel ? TaskMode::kLabel
               : point.mode == Mode::kSeq ? TaskMode::kSeq
                                          : TaskMode::kLm;
  shape.layers = static_cast<int32_t>(point.layers);
  shape.heads = static_cast<int32_t>(point.heads);
  shape.head_dim = static_cast<int32_t>(point.head_dim);
  shape.width = static_cast<int32_t>(point.width);
  shape.seq_len = static_cast<int32_t>(point.seq_len);
  shape.vocab = static_cast<int32_t>(point.vocab);
  shape.freeze_mlp = point.freeze_mlp;
  return shape;
}

ParameterMap::ParameterMap(const PointSpec& point)
    : shape_(ShapeOf(point)), sizes_(shape_), plan_(shape_), layout_(MakeLayout(point)) {}

// visit(place in the shared layout, place in the kernels' block) of every element
template <class F>
void ParameterMap::Visit(bool trained_only, const F& visit) const {
  const int64_t row = sizes_.wide_row;
  for (const TensorSpec& tensor : layout_.tensors) {
    if (trained_only && tensor.frozen) {
      continue;
    }
    const int64_t attention = plan_.attention + tensor.layer * plan_.attention_size;
    const int64_t mlp = plan_.mlp + tensor.layer * plan_.mlp_size;
    const auto rows_at = [&](int64_t offset, int64_t stride) {
      for (int64_t i = 0; i < tensor.size(); ++i) {
        visit(tensor.offset + i, offset + i / tensor.cols * stride + i % tensor.cols);
      }
    };
    // Rows or columns that belong to heads: every head is rounded up.
    const auto padded = [&](int64_t o) { return o / shape_.head_dim * sizes_.head + o % shape_.head_dim; };
    const auto heads_at = [&](int64_t offset) {
      for (int64_t i = 0; i < tensor.size(); ++i) {
        visit(tensor.offset + i, offset + padded(i / tensor.cols) * row + i % tensor.cols);
      }
    };
    switch (tensor.role) {
      case Role::kTokenEmbedding:
        rows_at(plan_.tokens, row);
        break;
      case Role::kPositionEmbedding:
        rows_at(plan_.positions, row);
        break;
      case Role::kAttentionNorm:
        rows_at(attention, row);
        break;
      case Role::kQuery:
      case Role::kKey:
      case Role::kValue:
        heads_at(attention + plan_.qkv +
                 (static_cast<int64_t>(tensor.role) - static_cast<int64_t>(Role::kQuery)) * sizes_.inner * row);
        break;
      case Role::kAttentionOut:
        for (int64_t i = 0; i < tensor.size(); ++i) {
          visit(tensor.offset + i,
                attention + plan_.out + i / tensor.cols * sizes_.inner_row + padded(i % tensor.cols));
        }
        break;
      case Role::kMlpNorm:
        rows_at(attention + plan_.mlp_norm, row);
        break;
      case Role::kUpWeight:
        rows_at(mlp, row);
        break;
      case Role::kUpBias:
        rows_at(mlp + plan_.up_bias, row);
        break;
      case Role::kDownWeight:
        rows_at(mlp + plan_.down, sizes_.hidden_row);
        break;
      case Role::kDownBias:
        rows_at(mlp + plan_.down_bias, row);
        break;
      case Role::kFinalNorm:
        rows_at(plan_.final_norm, row);
        break;
      case Role::kHead:
        rows_at(plan_.head, row);
        break;
      default:  // of families that these kernels do not serve
        break;
    }
  }
}

std::vector<float> ParameterMap::ToKernel(std::span<const float> flat) const {
  const bool trained_only = static_cast<int64_t>(flat.size()) != layout_.total;
  std::vector<float> block(static_cast<size_t>(trained_only ? plan_.train : plan_.total));
  Visit(trained_only,
        [&](int64_t here, int64_t there) { block[static_cast<size_t>(there)] = flat[static_cast<size_t>(here)]; });
  return block;
}

std::vector<float> ParameterMap::FromKernel(std::span<const float> block) const {
  const bool trained_only = static_cast<int64_t>(block.size()) != plan_.total;
  std::vector<float> flat(static_cast<size_t>(trained_only ? layout_.train : layout_.total));
  Visit(trained_only,
        [&](int64_t here, int64_t there) { flat[static_cast<size_t>(here)] = block[static_cast<size_t>(there)]; });
  return flat;
}

std::vector<float> MakeRates(const PointSpec& point, int64_t first, int64_t count) {
  std::vector<float> rates(static_cast<size_t>(2 * count));
  for (int64_t i = 0; i < count; ++i) {
    const AdamFactors factors = MakeAdamFactors(first + i + 1, LearningRate(point, first + i));
    rates[static_cast<size_t>(2 * i)] = static_cast<float>(factors.rate);
    rates[static_cast<size_t>(2 * i + 1)] = static_cast<float>(factors.correction2);
  }
  return rates;
}

}  // namespace capsweep::trainer::cuda
