// The shape of a model as its kernel sees it, where its parameters stand, and where its working memory stands.
//
// Every function is a template of the shape's type: RunShape holds the sizes at run time, a StaticShape as constants,
// from which the compiler unrolls loops and folds offsets. Both give the same bits, for sums run in the same order.
//
// Widths of rows are rounded up to 4 floats and rows lie an odd number of 4 floats apart, so that threads that read the
// same column of neighbouring rows meet no bank conflict. What fills a row up is zero and stays zero.
#pragma once

#include <cstdint>

#include "worker/trainer/host_device.h"

namespace capsweep::trainer::cuda {

enum class TaskMode : int32_t { kLabel, kSeq, kLm };

struct RunShape {
  TaskMode mode;
  int32_t layers, heads, head_dim, width, seq_len, vocab;
  bool freeze_mlp;

  friend bool operator==(const RunShape&, const RunShape&) = default;
};

template <TaskMode kMode, int kHeads, int kHeadDim, int kWidth, int kSeqLen, int kVocab>
struct StaticShape {
  static constexpr TaskMode mode = kMode;
  static constexpr int32_t layers = 1, heads = kHeads, head_dim = kHeadDim, width = kWidth, seq_len = kSeqLen,
                           vocab = kVocab;
  static constexpr bool freeze_mlp = false;
};

constexpr CAPSWEEP_HD int32_t RoundUp4(int32_t n) {
  return (n + 3) / 4 * 4;
}
// From row to row where rows have n floats, n a multiple of 4.
constexpr CAPSWEEP_HD int32_t Stride(int32_t n) {
  return n / 4 % 2 == 1 ? n : n + 4;
}

// Sizes that follow from a shape. I: heads * head_dim, with every head rounded up.
template <class S>
struct Sizes {
  int32_t head, inner, qkv, wide, hidden, vocab;                              // rounded up
  int32_t wide_row, inner_row, qkv_row, hidden_row, vocab_row, position_row;  // strides

  constexpr CAPSWEEP_HD explicit Sizes(const S& s)
      : head(RoundUp4(s.head_dim)),
        inner(s.heads * head),
        qkv(3 * inner),
        wide(RoundUp4(s.width)),
        hidden(4 * s.width),
        vocab(RoundUp4(s.vocab)),
        wide_row(Stride(wide)),
        inner_row(Stride(inner)),
        qkv_row(Stride(qkv)),
        hidden_row(Stride(hidden)),
        vocab_row(Stride(vocab)),
        position_row(Stride(RoundUp4(s.seq_len))) {}
};

// Offsets into a parameter block, in floats. What the optimizer updates comes first.
template <class S>
struct ParameterPlan {
  int32_t tokens;                     // [vocab]
  int32_t positions;                  // [seq_len]
  int32_t attention, attention_size;  // of layer 0, and from layer to layer
  int32_t qkv, out, mlp_norm;         // within a layer's attention part, which begins with the norm's gain
  int32_t mlp, mlp_size;              // of layer 0, and from layer to layer
  int32_t up_bias, down, down_bias;   // within a layer's MLP, which begins with `up`
  int32_t final_norm, head;           // [1], [vocab]
  int32_t train, total;

  constexpr CAPSWEEP_HD explicit ParameterPlan(const S& s)
      : tokens(0),
        positions(0),
        attention(0),
        attention_size(0),
        qkv(0),
        out(0),
        mlp_norm(0),
        mlp(0),
        mlp_size(0),
        up_bias(0),
        down(0),
        down_bias(0),
        final_norm(0),
        head(0),
        train(0),
        total(0) {
    const Sizes<S> z(s);
    positions = s.vocab * z.wide_row;
    attention = positions + s.seq_len * z.wide_row;
    qkv = z.wide_row;
    out = qkv + z.qkv * z.wide_row;
    mlp_norm = out + z.wide * z.inner_row;
    const int32_t attention_part = mlp_norm + z.wide_row;
    up_bias = z.hidden * z.wide_row;
    down = up_bias + z.hidden;
    down_bias = down + z.wide * z.hidden_row;
    const int32_t mlp_part = down_bias + z.wide_row;
    attention_size = s.freeze_mlp ? attention_part : attention_part + mlp_part;
    mlp_size = s.freeze_mlp ? mlp_part : attention_size;
    final_norm = attention + s.layers * attention_size;
    head = final_norm + z.wide_row;
    train = head + z.vocab * z.wide_row;
    mlp = s.freeze_mlp ? train : attention + attention_part;
    total = s.freeze_mlp ? train + s.layers * mlp_part : train;
  }
};

// Pieces of a block's working memory, in the order in which they are given a place in shared memory while there is
// room; the others stand in global memory. Counts of samples are those of a chunk; rows = samples * seq_len.
enum Piece : int32_t {
  kControl,    // struct Control
  kItems,      // [samples] int32
  kTokens,     // [rows] int32, -1 where none is shown
  kLinks,      // [rows] int32: 2 * (the next row with the same token + 1, or 0), plus 1 for a token's first row
  kRowLoss,    // [rows]: nats of a target
  kRowRight,   // [rows] int32: whether the target is the arg max
  kItemLoss,   // [samples] double
  kItemRight,  // [samples] int32
  kRstd1,      // [layers][rows]
  kRstd2,      // [full layers][rows]
  kFinalRstd,  // [rows]
  kX,          // [rows][wide]: residual stream, on the way back its gradient
  kDHat,       // [rows][wide]: gradient of a normed input
  kFinalHat,   // [rows][wide] normed
  kHat1,       // [layers][rows][wide] normed
  kLogits,     // [rows][vocab], then their gradient
  // The last layer in mode label, of the last position alone.
  kLastX,      // [samples][wide]
  kLastDHat,   // [samples][wide]
  kLastHat2,   // [samples][wide]
  kLastRstd2,  // [samples]
  kLastQ,      // [samples][inner], scaled
  kLastR,      // [samples][heads][wide]: r = transposed key weights times q
  kLastP,      // [samples][heads][positions]: attention weights
  kLastC,      // [samples][heads][wide]: weighted sum of normed inputs
  kLastMixed,  // [samples][inner]
  kLastDQ,
  kLastDR,
  kLastDP,
  kLastDC,
  kLastDMixed,  // gradients
  kLastHidden,  // [samples][hidden] after GELU
  kLastSlope,   // [samples][hidden] derivative of GELU, then gradient before GELU
  // Full layers.
  kMixed,    // [full layers][rows][inner]
  kDMixed,   // [rows][inner]
  kQkv,      // [full layers][rows][qkv]
  kHat2,     // [full layers][rows][wide]
  kWeights,  // [total]: the parameters as products use them, matrices behind a norm times its gain
  kHidden,   // [full layers][rows][hidden]
  kSlope,    // [full layers][rows][hidden]
  kP,        // [full layers][samples][heads][positions][positions]: attention weights
  kDP,       // [samples][heads][positions][positions]
  kDQkv,     // [rows][qkv]
  kGrads,    // [train]: gradients, of matrices behind a norm without its gain
  kPieces
};

inline constexpr int32_t kControlFloats = 32;

// When a layer's attention goes backward, its MLP's memory is free.
template <class S>
constexpr CAPSWEEP_HD bool DQkvInHidden(const Sizes<S>& z) {
  return z.qkv_row <= z.hidden_row;
}
template <class S>
constexpr CAPSWEEP_HD bool DPInSlope(const S& s, const Sizes<S>& z) {
  return s.heads * z.position_row <= z.hidden_row;
}

template <class S>
constexpr CAPSWEEP_HD int64_t PieceFloats(const S& s, int32_t samples, int32_t piece) {
  const Sizes<S> z(s);
  const bool label = s.mode == TaskMode::kLabel;
  const int64_t c = samples, rows = c * s.seq_len, full = label ? s.layers - 1 : s.layers;
  const int64_t outputs = label ? c : rows, last = label ? c : 0, any = full > 0 ? rows : 0;
  const int64_t pairs = c * s.heads * s.seq_len * z.position_row;
  switch (piece) {
    case kControl:
      return kControlFloats;
    case kItems:
    case kItemRight:
      return c;
    case kItemLoss:
      return 2 * c;
    case kTokens:
    case kLinks:
      return rows;
    case kRowLoss:
    case kRowRight:
    case kFinalRstd:
      return outputs;
    case kRstd1:
      return s.layers * rows;
    case kRstd2:
      return full * rows;
    case kX:
      return rows * z.wide_row;
    case kDHat:
      return any * z.wide_row;
    case kFinalHat:
      return outputs * z.wide_row;
    case kHat1:
      return s.layers * rows * z.wide_row;
    case kLogits:
      return outputs * z.vocab_row;
    case kLastX:
    case kLastDHat:
    case kLastHat2:
      return last * z.wide_row;
    case kLastRstd2:
      return last;
    case kLastQ:
    case kLastDQ:
    case kLastMixed:
    case kLastDMixed:
      return last * z.inner_row;
    case kLastR:
    case kLastDR:
    case kLastC:
    case kLastDC:
      return last * s.heads * z.wide_row;
    case kLastP:
    case kLastDP:
      return last * s.heads * z.position_row;
    case kLastHidden:
    case kLastSlope:
      return last * z.hidden_row;
    case kMixed:
      return full * rows * z.inner_row;
    case kDMixed:
      return any * z.inner_row;
    case kQkv:
      return full * rows * z.qkv_row;
    case kDQkv:
      return DQkvInHidden(z) ? 0 : any * z.qkv_row;
    case kHat2:
      return full * rows * z.wide_row;
    case kHidden:
    case kSlope:
      return full * rows * z.hidden_row;
    case kP:
      return full * pairs;
    case kDP:
      return full == 0 || DPInSlope(s, z) ? 0 : pairs;
    case kWeights:
      return ParameterPlan<S>(s).total;
    case kGrads:
      return ParameterPlan<S>(s).train;
    default:
      return 0;
  }
}

// Where the pieces stand, in floats from the start of shared or of the slot's global working memory.
struct MemoryPlan {
  int32_t samples;  // of a chunk
  int64_t shared_floats, global_floats;
  int64_t offset[kPieces];
  bool shared[kPieces];
};

// Floats of everything but weights and gradients.
template <class S>
constexpr CAPSWEEP_HD int64_t ActivationFloats(const S& s, int32_t samples) {
  int64_t floats = 0;
  for (int32_t piece = 0; piece < kPieces; ++piece) {
    floats += piece == kWeights || piece == kGrads ? 0 : PieceFloats(s, samples, piece);
  }
  return floats;
}

// Samples of a chunk: as many as keep a block's threads busy and leave room in shared memory for weights and gradients;
// fewer where those or the chunk itself would not fit; never so few that threads idle.
template <class S>
constexpr CAPSWEEP_HD int32_t ChunkSamples(const S& s, int64_t batch, int64_t shared_floats) {
  const bool only_last = s.mode == TaskMode::kLabel && s.layers == 1;
  const auto at_least_one = [](int32_t n) { return n < 1 ? 1 : n; };
  const auto at_most_batch = [batch](int32_t n) { return n < batch ? n : static_cast<int32_t>(batch); };
  const int32_t most = at_most_batch(only_last ? 16 : at_least_one(64 / s.seq_len));
  const int32_t fewest = at_most_batch(only_last ? 4 : at_least_one(32 / s.seq_len));
  const int64_t weights = PieceFloats(s, 1, kWeights), grads = PieceFloats(s, 1, kGrads);
  const int64_t beside_it[] = {weights + grads, weights, 0};
  for (const int64_t beside : beside_it) {
    for (int32_t samples = most; samples >= fewest; --samples) {
      if (ActivationFloats(s, samples) + beside <= shared_floats) return samples;
    }
  }
  return fewest;
}

// `batch`: the largest batch or, if less, items. `shared_floats`: shared memory that the block may take.
template <class S>
constexpr CAPSWEEP_HD MemoryPlan MakeMemoryPlan(const S& s, int64_t batch, int64_t shared_floats) {
  MemoryPlan plan{};
  plan.samples = ChunkSamples(s, batch, shared_floats);
  for (int32_t piece = 0; piece < kPieces; ++piece) {
    const int64_t floats = (PieceFloats(s, plan.samples, piece) + 3) / 4 * 4;
    plan.shared[piece] = plan.shared_floats + floats <= shared_floats;
    int64_t& used = plan.shared[piece] ? plan.shared_floats : plan.global_floats;
    plan.offset[piece] = used;
    used += floats;
  }
  return plan;
}

}  // namespace capsweep::trainer::cuda
