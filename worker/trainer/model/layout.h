// Where every parameter of a model stands in one contiguous block of floats. Shared by all back ends: initial weights,
// checkpoints and gradients are exchanged in this layout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/point.h"

namespace capsweep::trainer {

// What a tensor is. The number keys its initial weights: never change or reuse one.
enum class Role : uint32_t {
  kTokenEmbedding = 0,     // [vocab, width]
  kPositionEmbedding = 1,  // [seq_len, width]; used scaled by width^-1/2
  kAttentionNorm = 2,      // [width] gain
  kQuery = 3,              // [heads * head_dim, width]
  kKey = 4,                // [heads * head_dim, width]
  kValue = 5,              // [heads * head_dim, width]
  kAttentionOut = 6,       // [width, heads * head_dim]
  kMlpNorm = 7,            // [width] gain
  kUpWeight = 8,           // [4 * width, width]
  kUpBias = 9,             // [4 * width]
  kDownWeight = 10,        // [width, 4 * width]
  kDownBias = 11,          // [width]
  kFinalNorm = 12,         // [width] gain
  kHead = 13,              // [vocab, width]
};

// Gains and biases: one row, used as [cols].
bool IsVector(Role role);

struct TensorSpec {
  std::string name;  // "layers.0.query"
  Role role;
  int64_t layer = 0;  // 0 for tensors outside the layers
  int64_t rows = 1;   // 1 for vectors
  int64_t cols = 1;
  int64_t offset = 0;  // in elements from the start of the block
  bool frozen = false;

  int64_t size() const { return rows * cols; }
};

// Trainable tensors come first, in the order of the forward pass, then the frozen ones: the optimizer works on the one
// range [0, train). Query, key and value of a layer are adjacent, so that they can be read as one matrix.
struct ParamLayout {
  std::vector<TensorSpec> tensors;
  int64_t total = 0;  // elements
  int64_t train = 0;  // elements that are trained

  // Index into `tensors`, or -1 where the layout has no such tensor.
  int Find(Role role, int64_t layer = 0) const;
};

ParamLayout MakeLayout(const PointSpec& point);

// Initial weights of the whole block in layout order: embeddings N(0, 1), matrices N(0, 1 / cols), gains 1, biases 0. A
// value depends on (init_seed, role, layer, element) only, not on where the tensor stands.
std::vector<float> InitialWeights(const ParamLayout& layout, uint64_t init_seed);

}  // namespace capsweep::trainer
