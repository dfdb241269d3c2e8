// One model of the cpu back end: its parameters as the kernels want them, its workspace, and the two things kernels do
// with it: a training step and the evaluation of items.
//
// Activations are [position][feature][16] in either packing. Lane = sample: the lanes are sixteen samples of one model;
// weights are plain rows, padded to a multiple of 16 floats, with `width` always the row's length: the matrices that
// map to the width are kept transposed. So every weight gradient is an outer product with rows of `width`, and only
// those are ever transposed. Lane = model: the lanes are one sample each of sixteen models of the same shape, and every
// weight is sixteen floats.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/point.h"
#include "hwy/aligned_allocator.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer::cpu {

enum class Packing { kSamples, kModels };
inline constexpr int64_t kLaneCount = 16;
// So many samples of every lane, or sixteens of samples, pass through the layers side by side at most: weights are then
// read once for all, and several columns of a product share what is loaded of them.
inline constexpr int64_t kTogether = 4;

struct Shape {
  int64_t layers, heads, head_dim, width, seq_len, vocab;
  int64_t inner;         // heads * head_dim
  int64_t hidden;        // 4 * width
  int64_t padded;        // width rounded up to 16
  int64_t unit;          // floats of a weight: 1, or 16 where lanes are models
  int64_t row;           // floats of a parameter row: padded, or 16 * width
  int64_t together;      // samples of a lane in the workspace, at most kTogether
  int64_t targets;       // T
  int64_t first_target;  // position of the first target
  bool label;            // the last layer is computed for the last position only, keys and values never formed
  bool lm;               // causal, position 0 sees no token
  bool freeze_mlp;
};

// Offsets into a parameter block; every row has Shape::row floats.
struct LayerOffsets {
  int64_t attention_norm;  // [1]
  int64_t qkv;             // [3 * inner]: query, key, value
  int64_t out;             // [inner], transposed
  int64_t mlp_norm;        // [1]
  int64_t up;              // [hidden]
  int64_t up_bias;         // [hidden] weights, rounded up to 16 floats
  int64_t down;            // [hidden], transposed
  int64_t down_bias;       // [1]
};
struct Offsets {
  int64_t tokens;     // [vocab]
  int64_t positions;  // [seq_len]
  std::vector<LayerOffsets> layers;
  int64_t final_norm;  // [1]
  int64_t head;        // [vocab]
  int64_t train;       // floats that the optimizer updates: the front of the block
  int64_t total;
};

using Floats = hwy::AlignedFreeUniquePtr<float[]>;

// What a layer remembers from its forward pass, each [rows][features][16], as often as there are samples together; rows
// is 1 in a trimmed layer, else seq_len.
struct LayerMemory {
  float* attention_in;  // [seq_len][width] normed
  float* attention_rstd;
  float* qkv;      // [seq_len][3 * inner]; trimmed: query [inner], then r [heads][width], then c [heads][width]
  float* weights;  // [heads][seq_len][seq_len]; trimmed: [heads][seq_len]
  float* mixed;    // [rows][inner]
  float* mlp_in;   // [rows][width] normed
  float* mlp_rstd;
  float* hidden;  // [rows][hidden] after GELU
  float* slope;   // [rows][hidden] derivative of GELU
};

struct Workspace {
  std::vector<LayerMemory> layers;
  float* x;         // [seq_len][width][16] residual stream
  float* dx;        // [seq_len][width][16]
  float* dnormed;   // [seq_len][width][16]
  float* dhidden;   // [seq_len][max(hidden, 3 * inner)][16]
  float* dmixed;    // [seq_len][inner][16]
  float* dweights;  // [seq_len][seq_len][16], in a trimmed layer [together][heads][seq_len][16]
  float* dheads;    // [2][heads][width][16]: of c and r
  float* final_in;  // [targets][width][16] normed
  float* final_rstd;
  float* logits;       // [targets][vocab][16]
  float* first_rows;   // [seq_len][16][padded]: input of the first layer, normed, as rows; trimmed: the last alone
  float* rows;         // [max(seq_len, heads)][16][padded]
  float* lane_bias;    // [layers][hidden][16]: gradient of up_bias, lane by lane
  float* lane_gain;    // [layers][width][16]: gradient of mlp_norm under a frozen MLP
  float* share;        // [targets][16]: weight of a target in the loss, 0 where a lane has none
  float* table;        // [table_rows][row]: embedded (token, position), see below
  float* table_norm;   // [table_rows][row] normed
  float* table_rstd;   // [table_rows], times 16 where lanes are models
  float* dtable;       // [table_rows][row] gradient of `table` but for what goes through the norm
  float* dtable_norm;  // [table_rows][row]
  int64_t table_rows;
  int32_t* table_token;  // [table_rows] its token, -1 where none is shown
  int32_t* table_index;  // [seq_len][16] table row of every sample's positions; offset where lanes are models
  int32_t* target_rows;  // [targets][16] target tokens
};

// What the kernels see: shape and raw pointers.
struct ModelView {
  Shape shape;
  Offsets at;
  float* weights;  // [at.total]
  float* folded;   // [at.total]: matrices behind a norm, times its gain
  float* grads;    // [at.train]
  float* moment1;  // [at.train]
  float* moment2;  // [at.train]
  Workspace work;
  bool whole_table;  // the table holds every (token, position) once a step, else the rows of 16 samples
};

struct Items {
  const int32_t* tokens;   // [D, seq_len]
  const int32_t* targets;  // [D, targets]
  const int64_t* chosen;   // [count] item numbers
  int64_t count;
};

// Of every lane; where lanes are samples all are equal. A rate of 0 leaves a lane's weights as they are.
struct AdamStep {
  alignas(64) float rate[kLaneCount];         // lr / (1 - beta1^t)
  alignas(64) float correction2[kLaneCount];  // 1 / sqrt(1 - beta2^t)
  void Set(int64_t lane, int64_t t, double lr);
  static AdamStep Same(int64_t t, double lr);
};

// The batch of each of sixteen models. A lane with count 0 rests.
struct LaneItems {
  Items lane[kLaneCount];
  int64_t first_target[kLaneCount];
};

class CpuModel {
 public:
  // Zeroed moments; weights are to be loaded. `targets` and `first_target` come from the library (lane = model: 0 and
  // MaxTargets, for every lane has its own). `batch_size` decides how the embedding table is kept.
  CpuModel(const PointSpec& point, int64_t targets, int64_t first_target, Packing packing = Packing::kSamples);

  // In the layout of MakeLayout: weights [total], moments [train]. `lane`: which model, 0 where lanes are samples.
  void LoadWeights(std::span<const float> weights, int64_t lane = 0);
  void LoadMoments(std::span<const float> first, std::span<const float> second, int64_t lane = 0);
  void ZeroMoments(int64_t lane = 0);
  std::vector<float> Weights(int64_t lane = 0) const;
  std::vector<float> Grads(int64_t lane = 0) const;
  std::vector<float> FirstMoment(int64_t lane = 0) const;
  std::vector<float> SecondMoment(int64_t lane = 0) const;

  // One optimizer step on the items. Mean loss in nats per target, before the update. Without `adam` only the gradients
  // are computed. For lane = sample.
  float Train(const Items& items, const AdamStep* adam);
  // The same for every lane's model: loss [16].
  void TrainModels(const LaneItems& items, const AdamStep* adam, float* loss);

  // nll [count, targets] in nats and whether the target is the arg max (lowest index on ties). For lane = sample.
  void Evaluate(const Items& items, float* nll, uint8_t* right);

  const ModelView& view() const { return view_; }

 private:
  template <class Visit>
  void VisitElements(bool trained_only, int64_t lane, const Visit& visit_element) const;
  std::vector<float> Export(const float* block, bool trained_only, int64_t lane) const;
  void Import(std::span<const float> flat, float* block, bool trained_only, int64_t lane);

  ParamLayout layout_;
  ModelView view_;
  Floats parameters_;  // weights, folded, grads, moments
  Floats work_;
  std::vector<int32_t> indices_;
};

// The instruction set the kernels run with: "avx512", "avx2", "sse4", …. Sets with fused multiply-add give equal bits.
const char* InstructionSet();

}  // namespace capsweep::trainer::cpu
