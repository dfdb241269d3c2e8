#include "worker/trainer/cpu/cpu_model.h"

#include <algorithm>
#include <cmath>

#include "worker/trainer/adam.h"
#include "worker/trainer/cpu/kernels.h"

namespace capsweep::trainer::cpu {
namespace {

constexpr int64_t kLanes = kLaneCount;
// A table of all (token, position) pairs pays when a batch shows tokens more than once, and while it stays in a cache.
constexpr int64_t kTableFloats = int64_t{1} << 20;
// Inputs of the layers together stay in the second-level cache.
constexpr int64_t kInputFloats = int64_t{1} << 17;

int64_t RoundUp(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

// Whether the table holds every (token, position); see ModelView.
bool WholeTable(const PointSpec& point, Packing packing) {
  return packing == Packing::kModels ||
         (point.vocab <= point.batch_size && point.vocab * point.seq_len * RoundUp(point.width) <= kTableFloats);
}

// Sixteens of samples go together only where a layer has few rows, that is, one for each sample; with several layers
// the lower ones have enough of them.
int64_t Together(const PointSpec& point, Packing packing) {
  if (packing == Packing::kModels) {
    return kTogether;
  }
  const bool few_rows = point.mode == Mode::kLabel && point.layers == 1 && WholeTable(point, packing);
  return few_rows ? std::clamp<int64_t>(kInputFloats / (point.seq_len * point.width * kLanes), 1, kTogether) : 1;
}

Shape MakeShape(const PointSpec& point, int64_t targets, int64_t first_target, Packing packing) {
  Shape s{};
  s.layers = point.layers;
  s.heads = point.heads;
  s.head_dim = point.head_dim;
  s.width = point.width;
  s.seq_len = point.seq_len;
  s.vocab = point.vocab;
  s.inner = point.heads * point.head_dim;
  s.hidden = 4 * point.width;
  s.padded = RoundUp(point.width);
  s.unit = packing == Packing::kModels ? kLanes : 1;
  s.row = packing == Packing::kModels ? kLanes * s.width : s.padded;
  s.together = Together(point, packing);
  s.targets = targets;
  s.first_target = first_target;
  s.label = point.mode == Mode::kLabel;
  s.lm = point.mode == Mode::kLm;
  s.freeze_mlp = point.freeze_mlp;
  return s;
}

Offsets MakeOffsets(const Shape& s) {
  Offsets at{};
  int64_t next = 0;
  const auto rows = [&](int64_t count) {
    const int64_t offset = next;
    next += count * s.row;
    return offset;
  };
  const auto mlp = [&](LayerOffsets& layer) {
    layer.up = rows(s.hidden);
    layer.up_bias = next;
    next += RoundUp(s.hidden * s.unit);
    layer.down = rows(s.hidden);
    layer.down_bias = rows(1);
  };
  at.tokens = rows(s.vocab);
  at.positions = rows(s.seq_len);
  at.layers.resize(static_cast<size_t>(s.layers));
  for (LayerOffsets& layer : at.layers) {
    layer.attention_norm = rows(1);
    layer.qkv = rows(3 * s.inner);
    layer.out = rows(s.inner);
    layer.mlp_norm = rows(1);
    if (!s.freeze_mlp) {
      mlp(layer);
    }
  }
  at.final_norm = rows(1);
  at.head = rows(s.vocab);
  at.train = next;
  if (s.freeze_mlp) {
    std::for_each(at.layers.begin(), at.layers.end(), mlp);
  }
  at.total = next;
  return at;
}

// Hands out pieces of one block; a first round without a block measures it.
class Pieces {
 public:
  explicit Pieces(float* base) : base_(base) {}
  float* operator()(int64_t floats) {
    float* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += RoundUp(floats);
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  float* base_;
  int64_t used_ = 0;
};

void LayOutLayer(const Shape& s, bool trimmed, Pieces& take, LayerMemory& memory) {
  const int64_t together = s.together, n = together * s.seq_len, rows = trimmed ? together : n;
  memory.attention_in = take(n * s.width * kLanes);
  memory.attention_rstd = take(n * kLanes);
  memory.qkv = take((trimmed ? together * (s.inner + 2 * s.heads * s.width) : n * 3 * s.inner) * kLanes);
  memory.weights = take((trimmed ? s.heads * n : s.heads * n * s.seq_len) * kLanes);
  memory.mixed = take(rows * s.inner * kLanes);
  memory.mlp_in = take(rows * s.width * kLanes);
  memory.mlp_rstd = take(rows * kLanes);
  memory.hidden = take(rows * s.hidden * kLanes);
  memory.slope = take(rows * s.hidden * kLanes);
}

Workspace LayOut(const Shape& s, int64_t table_rows, Pieces& take) {
  Workspace w{};
  const int64_t together = s.together, n = together * s.seq_len, targets = together * s.targets;
  w.layers.resize(static_cast<size_t>(s.layers));
  for (int64_t l = 0; l < s.layers; ++l) {
    LayOutLayer(s, s.label && l + 1 == s.layers, take, w.layers[static_cast<size_t>(l)]);
  }
  w.x = take(n * s.width * kLanes);
  w.dx = take(n * s.width * kLanes);
  w.dnormed = take(n * s.width * kLanes);
  w.dhidden = take(n * std::max(s.hidden, 3 * s.inner) * kLanes);
  w.dmixed = take(n * s.inner * kLanes);
  w.dweights = take(s.seq_len * std::max(s.seq_len, together * s.heads) * kLanes);
  w.dheads = take(2 * together * s.heads * s.width * kLanes);
  w.final_in = take(targets * s.width * kLanes);
  w.final_rstd = take(targets * kLanes);
  w.logits = take(targets * s.vocab * kLanes);
  w.first_rows = take(n * kLanes * s.padded);
  w.rows = take(std::max(n, s.heads) * kLanes * s.padded);
  w.lane_bias = take(s.layers * s.hidden * kLanes);
  w.lane_gain = take(s.layers * s.width * kLanes);
  w.share = take(targets * kLanes);
  w.table_rows = table_rows;
  const int64_t table = RoundUp(table_rows) * s.row;
  w.table = take(table);
  w.table_norm = take(table);
  w.table_rstd = take(RoundUp(table_rows) * s.unit);
  w.dtable = take(table);
  w.dtable_norm = take(table);
  return w;
}

Floats Zeros(int64_t count) {
  Floats block = hwy::AllocateAligned<float>(static_cast<size_t>(count));
  std::fill_n(block.get(), count, 0.0f);
  return block;
}

}  // namespace

CpuModel::CpuModel(const PointSpec& point, int64_t targets, int64_t first_target, Packing packing)
    : layout_(MakeLayout(point)) {
  view_.shape = MakeShape(point, targets, first_target, packing);
  const Shape& s = view_.shape;
  view_.at = MakeOffsets(s);
  parameters_ = Zeros(2 * view_.at.total + 3 * view_.at.train);
  view_.weights = parameters_.get();
  view_.folded = view_.weights + view_.at.total;
  view_.grads = view_.folded + view_.at.total;
  view_.moment1 = view_.grads + view_.at.train;
  view_.moment2 = view_.moment1 + view_.at.train;
  view_.whole_table = WholeTable(point, packing);
  const int64_t table_rows = (view_.whole_table ? s.vocab : kLanes) * s.seq_len;
  Pieces measure(nullptr);
  LayOut(s, table_rows, measure);
  work_ = Zeros(measure.used());
  Pieces take(work_.get());
  view_.work = LayOut(s, table_rows, take);
  indices_.assign(static_cast<size_t>(RoundUp(table_rows) + s.together * (s.seq_len + s.targets) * kLanes), 0);
  view_.work.table_token = indices_.data();
  view_.work.table_index = view_.work.table_token + RoundUp(table_rows);
  view_.work.target_rows = view_.work.table_index + s.together * s.seq_len * kLanes;
}

// visit(place in the layout of MakeLayout, place in a block here) for every element of a lane's parameters
template <class Visit>
void CpuModel::VisitElements(bool trained_only, int64_t lane, const Visit& visit_element) const {
  // From the offset of a tensor's first element here and the steps between its rows and columns.
  const auto visit = [&](const TensorSpec& tensor, int64_t offset, int64_t row_step, int64_t col_step) {
    int64_t place = tensor.offset;
    for (int64_t row = 0; row * tensor.cols < tensor.size(); ++row) {
      const int64_t start = offset + row * row_step + lane;
      for (int64_t col = 0; col < tensor.cols; ++col) {
        visit_element(place++, start + col * col_step);
      }
    }
  };
  const int64_t row = view_.shape.row, unit = view_.shape.unit;
  for (const TensorSpec& tensor : layout_.tensors) {
    if (trained_only && tensor.frozen) {
      continue;
    }
    const LayerOffsets& layer = view_.at.layers[static_cast<size_t>(tensor.layer)];
    const int64_t inner = view_.shape.inner;
    switch (tensor.role) {
      case Role::kTokenEmbedding:
        visit(tensor, view_.at.tokens, row, unit);
        break;
      case Role::kPositionEmbedding:
        visit(tensor, view_.at.positions, row, unit);
        break;
      case Role::kAttentionNorm:
        visit(tensor, layer.attention_norm, row, unit);
        break;
      case Role::kQuery:
        visit(tensor, layer.qkv, row, unit);
        break;
      case Role::kKey:
        visit(tensor, layer.qkv + inner * row, row, unit);
        break;
      case Role::kValue:
        visit(tensor, layer.qkv + 2 * inner * row, row, unit);
        break;
      case Role::kAttentionOut:
        visit(tensor, layer.out, unit, row);
        break;
      case Role::kMlpNorm:
        visit(tensor, layer.mlp_norm, row, unit);
        break;
      case Role::kUpWeight:
        visit(tensor, layer.up, row, unit);
        break;
      case Role::kUpBias:
        visit(tensor, layer.up_bias, 0, unit);
        break;
      case Role::kDownWeight:
        visit(tensor, layer.down, unit, row);
        break;
      case Role::kDownBias:
        visit(tensor, layer.down_bias, row, unit);
        break;
      case Role::kFinalNorm:
        visit(tensor, view_.at.final_norm, row, unit);
        break;
      case Role::kHead:
        visit(tensor, view_.at.head, row, unit);
        break;
      default:  // of families that these kernels do not serve
        break;
    }
  }
}

void CpuModel::Import(std::span<const float> flat, float* block, bool trained_only, int64_t lane) {
  VisitElements(trained_only, lane, [&](int64_t from, int64_t to) { block[to] = flat[static_cast<size_t>(from)]; });
}

std::vector<float> CpuModel::Export(const float* block, bool trained_only, int64_t lane) const {
  std::vector<float> flat(static_cast<size_t>(trained_only ? layout_.train : layout_.total));
  VisitElements(trained_only, lane, [&](int64_t to, int64_t from) { flat[static_cast<size_t>(to)] = block[from]; });
  return flat;
}

void CpuModel::LoadWeights(std::span<const float> weights, int64_t lane) {
  Import(weights, view_.weights, false, lane);
}
void CpuModel::LoadMoments(std::span<const float> first, std::span<const float> second, int64_t lane) {
  Import(first, view_.moment1, true, lane);
  Import(second, view_.moment2, true, lane);
}
void CpuModel::ZeroMoments(int64_t lane) {
  for (int64_t i = lane; i < view_.at.train; i += view_.shape.unit) {
    view_.moment1[i] = view_.moment2[i] = 0;
  }
}
std::vector<float> CpuModel::Weights(int64_t lane) const {
  return Export(view_.weights, false, lane);
}
std::vector<float> CpuModel::Grads(int64_t lane) const {
  return Export(view_.grads, true, lane);
}
std::vector<float> CpuModel::FirstMoment(int64_t lane) const {
  return Export(view_.moment1, true, lane);
}
std::vector<float> CpuModel::SecondMoment(int64_t lane) const {
  return Export(view_.moment2, true, lane);
}

void AdamStep::Set(int64_t lane, int64_t t, double lr) {
  const AdamFactors factors = MakeAdamFactors(t, lr);
  rate[lane] = static_cast<float>(factors.rate);
  correction2[lane] = static_cast<float>(factors.correction2);
}

AdamStep AdamStep::Same(int64_t t, double lr) {
  AdamStep adam;
  adam.Set(0, t, lr);
  std::fill_n(adam.rate, kLanes, adam.rate[0]);
  std::fill_n(adam.correction2, kLanes, adam.correction2[0]);
  return adam;
}

float CpuModel::Train(const Items& items, const AdamStep* adam) {
  return TrainKernel(view_, items, adam);
}
void CpuModel::TrainModels(const LaneItems& items, const AdamStep* adam, float* loss) {
  TrainModelsKernel(view_, items, adam, loss);
}
void CpuModel::Evaluate(const Items& items, float* nll, uint8_t* right) {
  EvaluateKernel(view_, items, nll, right);
}

const char* InstructionSet() {
  return KernelTarget();
}

}  // namespace capsweep::trainer::cpu
