// Where every parameter of a model stands in one contiguous block of floats. Shared by all back ends: initial weights,
// checkpoints and gradients are exchanged in this layout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/point.h"

namespace capsweep::trainer {

// What a tensor is. The number keys its initial weights: never change or reuse one. m = MlpWidth, I = heads * head_dim,
// O = outputs per target (ModelOutputs), d = vector_dim.
enum class Role : uint32_t {
  kTokenEmbedding = 0,     // [vocab, width]; in gpt2 the head too
  kPositionEmbedding = 1,  // [seq_len, width]; used scaled by width^-1/2, in gpt2 as it is
  kAttentionNorm = 2,      // [width] gain
  kQuery = 3,              // [I, width]
  kKey = 4,                // [I, width]
  kValue = 5,              // [I, width]; of ks [width, width]
  kAttentionOut = 6,       // [width, I]; of ks [width, width]
  kMlpNorm = 7,            // [width] gain
  kUpWeight = 8,           // [m, width]
  kUpBias = 9,             // [m]
  kDownWeight = 10,        // [width, m]
  kDownBias = 11,          // [width]
  kFinalNorm = 12,         // [width] gain
  kHead = 13,              // [O, width]; of mlp [T * O, m]
  kAttentionNormBias = 14,
  kQueryBias = 15,
  kKeyBias = 16,
  kValueBias = 17,
  kAttentionOutBias = 18,
  kMlpNormBias = 19,
  kFinalNormBias = 20,
  kHeadBias = 21,     // [O]
  kInputWeight = 22,  // of vectors in ks: [width, d]
  kInputBias = 23,    // of vectors in ks: [width]
  kHidden = 24,       // of mlp: [m, seq_len * width], with vectors [m, seq_len * d]
  kHiddenBias = 25,   // of mlp: [m]
};

// Gains and biases: one row, used as [cols].
bool IsVector(Role role);

struct TensorSpec {
  std::string name;  // "layers.0.query"
  Role role;
  int64_t layer = 0;  // 0 for tensors outside the layers
  int64_t rows = 1;   // 1 for vectors
  int64_t cols = 1;
  double deviation = 0;  // of the initial weights; vectors have none
  bool frozen = false;
  int64_t offset = 0;  // in elements from the start of the block

  int64_t size() const { return rows * cols; }
};

// Trainable tensors come first, in the order of the forward pass, then the frozen ones: the optimizer works on the one
// range [0, train). Query, key and value of a layer are adjacent, so that they can be read as one matrix, and so are
// their biases.
struct ParamLayout {
  std::vector<TensorSpec> tensors;
  int64_t total = 0;  // elements
  int64_t train = 0;  // elements that are trained

  // Index into `tensors`, or -1 where the layout has no such tensor.
  int Find(Role role, int64_t layer = 0) const;
};

// The tensors of the point's family; their sizes add up to CountParams. The layers of ks are its 2 * layers blocks.
ParamLayout MakeLayout(const PointSpec& point);

// Outputs of the head per target: 1 with loss mse, else vocab.
int64_t ModelOutputs(const PointSpec& point);

// Initial weights of the whole block in layout order: gains 1, biases 0, all others normal with mean 0 and standard
// deviation 1 for embeddings and cols^-1/2 for matrices; in gpt2 0.02 for both; in ks (2 * layers * cols)^-1/2 for
// kDownWeight, so that a deep sum of blocks starts no larger than a shallow one. A value depends on (init_seed, role,
// layer, element) and that deviation only, not on where the tensor stands.
std::vector<float> InitialWeights(const ParamLayout& layout, uint64_t init_seed);

}  // namespace capsweep::trainer
