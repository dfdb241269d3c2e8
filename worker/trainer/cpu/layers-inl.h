// The layers of a model over one chunk of samples, forward and backward: attention over all positions, attention of the
// last position alone, and the MLP. Shapes are in cpu_model.h; B width, N seq_len, I = heads * head_dim, M hidden.
#if defined(CAPSWEEP_CPU_LAYERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAPSWEEP_CPU_LAYERS_INL_H_
#undef CAPSWEEP_CPU_LAYERS_INL_H_
#else
#define CAPSWEEP_CPU_LAYERS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "worker/trainer/cpu/cpu_model.h"
#include "worker/trainer/cpu/matrix-inl.h"

HWY_BEFORE_NAMESPACE();
namespace capsweep::trainer::cpu {
namespace HWY_NAMESPACE {

inline constexpr float kNormEpsilon = 1e-5f;

// LayerNorm without gain. x [rows][width] -> normed [rows][width], rstd [rows]
HWY_INLINE void NormForward(const float* x, int64_t rows, int64_t width, float* normed, float* rstd) {
  const F share = Set(1.0f / static_cast<float>(width));
  for (int64_t r = 0; r < rows; ++r, x += width * kLanes, normed += width * kLanes) {
    F sum = Zero();
    for (int64_t b = 0; b < width; ++b) sum = Add(sum, Load(x + b * kLanes));
    const F mean = Mul(sum, share);
    F square = Zero();
    for (int64_t b = 0; b < width; ++b) {
      const F centred = Sub(Load(x + b * kLanes), mean);
      square = MulAdd(centred, centred, square);
    }
    const F inverse = Div(Set(1.0f), Sqrt(MulAdd(square, share, Set(kNormEpsilon))));
    Store(inverse, rstd + r * kLanes);
    for (int64_t b = 0; b < width; ++b) Store(Mul(Sub(Load(x + b * kLanes), mean), inverse), normed + b * kLanes);
  }
}

// dx += rstd · (dnormed - mean(dnormed) - normed · mean(dnormed · normed)), means over the width.
HWY_INLINE void NormBackward(const float* dnormed, const float* normed, const float* rstd, int64_t rows, int64_t width,
                             float* dx) {
  const F share = Set(1.0f / static_cast<float>(width));
  for (int64_t r = 0; r < rows; ++r, dnormed += width * kLanes, normed += width * kLanes, dx += width * kLanes) {
    F sum = Zero(), dot = Zero();
    for (int64_t b = 0; b < width; ++b) {
      const F d = Load(dnormed + b * kLanes);
      sum = Add(sum, d);
      dot = MulAdd(d, Load(normed + b * kLanes), dot);
    }
    const F inverse = Load(rstd + r * kLanes);
    const F mean = Mul(sum, share), slope = Mul(dot, share);
    for (int64_t b = 0; b < width; ++b) {
      const F d = NegMulAdd(Load(normed + b * kLanes), slope, Sub(Load(dnormed + b * kLanes), mean));
      Store(MulAdd(inverse, d, Load(dx + b * kLanes)), dx + b * kLanes);
    }
  }
}

// weights[0..count) = softmax(scale · scores) in place.
HWY_INLINE void Softmax(float* scores, int64_t count, float scale) {
  F top = Load(scores);
  for (int64_t t = 1; t < count; ++t) top = Max(top, Load(scores + t * kLanes));
  F sum = Zero();
  for (int64_t t = 0; t < count; ++t) {
    const F e = Exp(Mul(Sub(Load(scores + t * kLanes), top), Set(scale)));
    sum = Add(sum, e);
    Store(e, scores + t * kLanes);
  }
  const F share = Div(Set(1.0f), sum);
  for (int64_t t = 0; t < count; ++t) Store(Mul(Load(scores + t * kLanes), share), scores + t * kLanes);
}

// dscores = scale · weights · (dweights - Σ weights · dweights) in place of dweights.
HWY_INLINE void SoftmaxBackward(const float* weights, float* dweights, int64_t count, float scale) {
  F dot = Zero();
  for (int64_t t = 0; t < count; ++t) dot = MulAdd(Load(weights + t * kLanes), Load(dweights + t * kLanes), dot);
  for (int64_t t = 0; t < count; ++t) {
    const F d = Sub(Load(dweights + t * kLanes), dot);
    Store(Mul(Mul(Load(weights + t * kLanes), Set(scale)), d), dweights + t * kLanes);
  }
}

// `kModels`: the lanes are models, not samples (cpu_model.h).
template <bool kModels>
class LayerPass {
 public:
  static constexpr int64_t kUnit = kModels ? kLanes : 1;

  explicit LayerPass(const ModelView& m)
      : m_(m), s_(m.shape), w_(m.work), scale_(1.0f / std::sqrt(static_cast<float>(m.shape.head_dim))) {}

 protected:
  bool Trimmed(int64_t layer) const { return s_.label && layer + 1 == s_.layers; }
  int64_t Rows(int64_t layer) const { return samples_ * (Trimmed(layer) ? 1 : s_.seq_len); }

  // Where lanes are samples: rows whose lanes all hold a sample; the others belong to the last sixteen samples.
  int64_t FullRows(int64_t rows) const { return rows - rows / samples_; }

  // Rows of activations, `stride` floats apart.
  template <class T>
  struct Strided {
    T* base;
    int64_t stride;
  };
  template <class T>
  static Strided<T> Packed(T* base, int64_t features) {
    return {base, features * kLanes};
  }

  // A weight in all lanes: number `index` of the tensor at offset `at`.
  F Weight(int64_t at, int64_t index) const {
    return kModels ? Load(m_.weights + at + index * kLanes) : Set(m_.weights[at + index]);
  }

  // y[r][o] = Σ_b w[o][b] · x[r][b]
  void Linear(const float* w, int64_t outputs, Strided<const float> x, int64_t rows, Strided<float> y) const {
    Product<!kModels, Start::kZero>({w, s_.row, kUnit}, {x.base, kLanes, x.stride}, {y.base, kLanes, y.stride}, outputs,
                                    rows, {s_.width});
  }
  // dx[r][b] (+)= Σ_o w[o][b] · dy[r][o], of `outputs` o
  template <Start kStart>
  void LinearBackward(const float* w, int64_t outputs, Strided<const float> dy, int64_t rows, Strided<float> dx) const {
    Product<!kModels, kStart>({w, kUnit, s_.row}, {dy.base, kLanes, dy.stride}, {dx.base, kLanes, dx.stride}, s_.width,
                              rows, {outputs});
  }

  // What Outer wants of `count` rows of x [width][16]: where lanes are samples, rows [count][16][padded] in w_.rows,
  // good until the next call; where they are models, x itself.
  Strided<const float> Operand(Strided<const float> x, int64_t count) const {
    if constexpr (kModels) {
      return x;
    } else {
      for (int64_t r = 0; r < count; ++r) {
        LanesToRows(x.base + r * x.stride, s_.width, w_.rows + r * kLanes * s_.padded, s_.padded);
      }
      return {w_.rows, kLanes * s_.padded};
    }
  }
  // dw[o] += Σ dy[r][o] · x[r] over rows, and over the chunk's samples where they are lanes; x is an operand.
  void Outer(float* dw, int64_t outputs, Strided<const float> dy, int64_t rows, Strided<const float> x) const {
    if constexpr (kModels) {
      Product<false, Start::kAdd>({dy.base, kLanes, dy.stride}, {x.base, x.stride, kLanes}, {dw, s_.row, kLanes},
                                  outputs, s_.width, {rows});
    } else {
      const Out out{dw, s_.row, kLanes};
      const int64_t full = FullRows(rows), tiles = s_.padded / kLanes;
      if (full > 0) {
        Product<true, Start::kAdd>({dy.base, kLanes, 1}, {x.base, s_.padded, kLanes}, out, outputs, tiles,
                                   {kLanes, full, dy.stride, x.stride});
      }
      Product<true, Start::kAdd>({dy.base + full * dy.stride, kLanes, 1}, {x.base + full * x.stride, s_.padded, kLanes},
                                 out, outputs, tiles, {count_, rows - full, dy.stride, x.stride});
    }
  }
  // to += factor · x, rows of parameters
  void AddRow(const float* x, float factor, float* to) const {
    for (int64_t b = 0; b < s_.row; b += kLanes) Store(MulAdd(Load(x + b), Set(factor), Load(to + b)), to + b);
  }

  // ---- MLP ----
  // x += down · gelu(up · norm(x) + up_bias) + down_bias
  void Mlp(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), hidden = s_.hidden;
    NormForward(w_.x, rows, s_.width, memory.mlp_in, memory.mlp_rstd);
    Linear(m_.folded + at.up, hidden, Packed<const float>(memory.mlp_in, s_.width), rows,
           Packed(memory.hidden, hidden));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < hidden; ++j) {
        float* at_hidden = memory.hidden + (r * hidden + j) * kLanes;
        F value, slope;
        Gelu(Add(Load(at_hidden), Weight(at.up_bias, j)), value, slope);
        Store(value, at_hidden);
        Store(slope, memory.slope + (r * hidden + j) * kLanes);
      }
      for (int64_t b = 0; b < s_.width; ++b) {
        float* x = w_.x + (r * s_.width + b) * kLanes;
        Store(Add(Load(x), Weight(at.down_bias, b)), x);
      }
    }
    LinearBackward<Start::kAdd>(m_.weights + at.down, hidden, Packed<const float>(memory.hidden, hidden), rows,
                                Packed(w_.x, s_.width));
  }

  void MlpBackward(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), hidden = s_.hidden;
    if (!s_.freeze_mlp) {
      const Strided<const float> dx = Operand(Packed<const float>(w_.dx, s_.width), rows);
      Outer(m_.grads + at.down, hidden, Packed<const float>(memory.hidden, hidden), rows, dx);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t lanes = r < FullRows(rows) ? kLanes : count_;
        for (int64_t s = 0; s < (kModels ? 1 : lanes); ++s) {
          AddRow(dx.base + r * dx.stride + s * s_.padded, 1.0f, m_.grads + at.down_bias);
        }
      }
    }
    Linear(m_.weights + at.down, hidden, Packed<const float>(w_.dx, s_.width), rows, Packed(w_.dhidden, hidden));
    for (int64_t i = 0; i < rows * hidden; ++i) {
      float* d = w_.dhidden + i * kLanes;
      Store(Mul(Load(d), Load(memory.slope + i * kLanes)), d);
    }
    const Strided<const float> dhidden = Packed<const float>(w_.dhidden, hidden);
    if (s_.freeze_mlp) {
      MlpInputBackwardFrozen(l);
    } else {
      float* bias = kModels ? m_.grads + at.up_bias : w_.lane_bias + l * hidden * kLanes;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < hidden * kLanes; j += kLanes) {
          Store(Add(Load(bias + j), Load(w_.dhidden + r * hidden * kLanes + j)), bias + j);
        }
      }
      Outer(m_.grads + at.up, hidden, dhidden, rows, Operand(Packed<const float>(memory.mlp_in, s_.width), rows));
      LinearBackward<Start::kZero>(m_.folded + at.up, hidden, dhidden, rows, Packed(w_.dnormed, s_.width));
    }
    NormBackward(w_.dnormed, memory.mlp_in, memory.mlp_rstd, rows, s_.width, w_.dx);
  }

  // The matrix has no gradient, so that of the gain is taken from the activations: dgain = Σ (wᵀ·dhidden) · normed.
  void MlpInputBackwardFrozen(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l);
    LinearBackward<Start::kZero>(m_.weights + at.up, s_.hidden, Packed<const float>(w_.dhidden, s_.hidden), rows,
                                 Packed(w_.dnormed, s_.width));
    float* gain = kModels ? m_.grads + at.mlp_norm : w_.lane_gain + l * s_.width * kLanes;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t b = 0; b < s_.width; ++b) {
        const int64_t i = (r * s_.width + b) * kLanes;
        const F d = Load(w_.dnormed + i);
        Store(MulAdd(d, Load(memory.mlp_in + i), Load(gain + b * kLanes)), gain + b * kLanes);
        Store(Mul(d, Weight(at.mlp_norm, b)), w_.dnormed + i);
      }
    }
  }

  // ---- attention over all positions ----
  // Positions are taken in groups of four rows; under a causal mask a group sees the columns before its end. What the
  // mask hides within the group has weight 0.
  static constexpr int64_t kGroup = 4;
  template <class Visit>
  void ForGroups(const Visit& visit) const {
    for (int64_t first = 0; first < s_.seq_len; first += kGroup) {
      const int64_t rows = std::min(kGroup, s_.seq_len - first);
      visit(first, rows, s_.lm ? first + rows : s_.seq_len);
    }
  }

  // x += out · Σ_t weights · value, for every position
  void Attend(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), inner = s_.inner;
    Linear(m_.folded + at.qkv, 3 * inner, Packed<const float>(memory.attention_in, s_.width), rows,
           Packed(memory.qkv, 3 * inner));
    for (int64_t sample = 0; sample < samples_; ++sample) {
      for (int64_t h = 0; h < s_.heads; ++h) Head(memory, sample, h);
    }
    LinearBackward<Start::kAdd>(m_.weights + at.out, inner, Packed<const float>(memory.mixed, inner), rows,
                                Packed(w_.x, s_.width));
  }

  void Head(const LayerMemory& memory, int64_t sample, int64_t h) const {
    const int64_t n = s_.seq_len, inner = s_.inner, row = 3 * inner * kLanes, d = s_.head_dim;
    const float* query = memory.qkv + sample * n * row + h * d * kLanes;
    const float* key = query + inner * kLanes;
    const float* value = key + inner * kLanes;
    float* weights = memory.weights + (sample * s_.heads + h) * n * n * kLanes;
    float* mixed = memory.mixed + (sample * n * inner + h * d) * kLanes;
    ForGroups([&](int64_t first, int64_t rows, int64_t seen) {
      float* group = weights + first * n * kLanes;
      Product<false, Start::kZero>({query + first * row, row, kLanes}, {key, kLanes, row}, {group, n * kLanes, kLanes},
                                   rows, seen, {d});
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t count = s_.lm ? first + r + 1 : n;
        Softmax(group + r * n * kLanes, count, scale_);
        std::fill_n(group + (r * n + count) * kLanes, (seen - count) * kLanes, 0.0f);
      }
      Product<false, Start::kZero>({group, n * kLanes, kLanes}, {value, row, kLanes},
                                   {mixed + first * inner * kLanes, inner * kLanes, kLanes}, rows, d, {seen});
    });
  }

  void AttendBackward(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), inner = s_.inner;
    const Strided<const float> dx = Packed<const float>(w_.dx, s_.width);
    Linear(m_.weights + at.out, inner, dx, rows, Packed(w_.dmixed, inner));
    Outer(m_.grads + at.out, inner, Packed<const float>(memory.mixed, inner), rows, Operand(dx, rows));
    for (int64_t sample = 0; sample < samples_; ++sample) {
      for (int64_t h = 0; h < s_.heads; ++h) HeadBackward(memory, sample, h);
    }
    const Strided<const float> dqkv = Packed<const float>(w_.dhidden, 3 * inner);
    const Strided<const float> normed = l == 0 && !kModels
                                            ? Strided<const float>{w_.first_rows, kLanes * s_.padded}
                                            : Operand(Packed<const float>(memory.attention_in, s_.width), rows);
    Outer(m_.grads + at.qkv, 3 * inner, dqkv, rows, normed);
    LinearBackward<Start::kZero>(m_.folded + at.qkv, 3 * inner, dqkv, rows, Packed(w_.dnormed, s_.width));
  }

  // Gradients of a head's query, key and value, into w_.dhidden [N][3 * I].
  void HeadBackward(const LayerMemory& memory, int64_t sample, int64_t h) const {
    const int64_t n = s_.seq_len, inner = s_.inner, row = 3 * inner * kLanes, d = s_.head_dim;
    const int64_t corner_of_head = sample * n * row + h * d * kLanes;
    const float* query = memory.qkv + corner_of_head;
    const float* key = query + inner * kLanes;
    const float* value = key + inner * kLanes;
    const float* weights = memory.weights + (sample * s_.heads + h) * n * n * kLanes;
    const float* dmixed = w_.dmixed + (sample * n * inner + h * d) * kLanes;
    float* dquery = w_.dhidden + corner_of_head;
    float* dkey = dquery + inner * kLanes;
    float* dvalue = dkey + inner * kLanes;
    ForGroups([&](int64_t first, int64_t rows, int64_t seen) {
      float* group = w_.dweights + first * n * kLanes;
      Product<false, Start::kZero>({dmixed + first * inner * kLanes, inner * kLanes, kLanes}, {value, kLanes, row},
                                   {group, n * kLanes, kLanes}, rows, seen, {d});
      for (int64_t r = 0; r < rows; ++r) {
        SoftmaxBackward(weights + (first + r) * n * kLanes, group + r * n * kLanes, seen, scale_);
      }
      Product<false, Start::kZero>({group, n * kLanes, kLanes}, {key, row, kLanes}, {dquery + first * row, row, kLanes},
                                   rows, d, {seen});
    });
    // A group of keys is seen by all rows, or under a causal mask by those from its own first on.
    ForGroups([&](int64_t first, int64_t rows, int64_t) {
      const int64_t from = s_.lm ? first : 0;
      const int64_t corner = (from * n + first) * kLanes;
      Product<false, Start::kZero>({weights + corner, kLanes, n * kLanes},
                                   {dmixed + from * inner * kLanes, inner * kLanes, kLanes},
                                   {dvalue + first * row, row, kLanes}, rows, d, {n - from});
      Product<false, Start::kZero>({w_.dweights + corner, kLanes, n * kLanes}, {query + from * row, row, kLanes},
                                   {dkey + first * row, row, kLanes}, rows, d, {n - from});
    });
  }

  // ---- attention of the last position alone ----
  // Keys and values are never formed: with r = Keyᵀ·query the score of position t is r · normed_t, and with
  // c = Σ_t weights_t · normed_t the head's output is Value · c. Exact, and 2·N·I·B products become 2·(N·H + I)·B.
  struct LastMemory {
    float* query;  // [samples][I]
    float* r;      // [samples][H][B]
    float* c;      // [samples][H][B]
  };
  LastMemory LastOf(const LayerMemory& memory) const {
    float* r = memory.qkv + samples_ * s_.inner * kLanes;
    return {memory.qkv, r, r + samples_ * s_.heads * s_.width * kLanes};
  }
  // The last position of every sample of x [samples][N][B].
  Strided<float> Last(float* x) const {
    return {x + (s_.seq_len - 1) * s_.width * kLanes, s_.seq_len * s_.width * kLanes};
  }
  template <class T>
  Strided<T> OfHead(T* base, int64_t h, int64_t features) const {
    return {base + h * features * kLanes, s_.heads * features * kLanes};
  }

  // bring(sample, first, count) puts the normed inputs of `count` positions from `first` on in their place, but for
  // those of the last position, which are there.
  template <class Bring>
  void AttendLast(int64_t l, const Bring& bring) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t inner = s_.inner, width = s_.width, d = s_.head_dim;
    const float* matrices = m_.folded + at.qkv;
    const auto [query, r, c] = LastOf(memory);
    const Strided<float> last = Last(memory.attention_in);
    Linear(matrices, inner, {last.base, last.stride}, samples_, Packed(query, inner));
    for (int64_t h = 0; h < s_.heads; ++h) {
      LinearBackward<Start::kZero>(matrices + (inner + h * d) * s_.row, d, OfHead<const float>(query, h, d), samples_,
                                   OfHead(r, h, width));
    }
    for (int64_t sample = 0; sample < samples_; ++sample) LastScores(memory, sample, bring);
    for (int64_t h = 0; h < s_.heads; ++h) {
      Linear(matrices + (2 * inner + h * d) * s_.row, d, OfHead<const float>(c, h, width), samples_,
             OfHead(memory.mixed, h, d));
    }
    LinearBackward<Start::kAdd>(m_.weights + at.out, inner, Packed<const float>(memory.mixed, inner), samples_,
                                Packed(w_.x, width));
  }

  // From r of a sample and its normed inputs to c.
  template <class Bring>
  void LastScores(const LayerMemory& memory, int64_t sample, const Bring& bring) const {
    const int64_t n = s_.seq_len, heads = s_.heads, row = s_.width * kLanes;
    const auto [query, r, c] = LastOf(memory);
    const float* normed = memory.attention_in + sample * n * row;
    float* weights = memory.weights + sample * heads * n * kLanes;
    for (int64_t first = 0; first < n; first += kGroup) {
      const int64_t count = std::min(kGroup, n - first);
      bring(sample, first, count);
      Product<false, Start::kZero>({r + sample * heads * row, row, kLanes}, {normed + first * row, kLanes, row},
                                   {weights + first * kLanes, n * kLanes, kLanes}, heads, count, {s_.width});
    }
    for (int64_t h = 0; h < heads; ++h) Softmax(weights + h * n * kLanes, n, scale_);
    Product<false, Start::kZero>({weights, n * kLanes, kLanes}, {normed, row, kLanes},
                                 {c + sample * heads * row, row, kLanes}, heads, s_.width, {n});
  }

  // take(sample, first, count, dnormed) is given the gradients of the normed inputs of `count` positions, [count][B].
  // With `keep` they stand in w_.dnormed [samples][N][B] afterwards, else each is overwritten by the next.
  template <class Take>
  void AttendLastBackward(int64_t l, bool keep, const Take& take) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t inner = s_.inner, width = s_.width, d = s_.head_dim, heads = s_.heads, n = s_.seq_len;
    const float* matrices = m_.folded + at.qkv;
    float* grads = m_.grads + at.qkv;
    const auto [query, r, c] = LastOf(memory);
    float* dc = w_.dheads;
    float* dr = dc + samples_ * heads * width * kLanes;
    const Strided<const float> dx = Packed<const float>(w_.dx, width);
    Linear(m_.weights + at.out, inner, dx, samples_, Packed(w_.dmixed, inner));
    Outer(m_.grads + at.out, inner, Packed<const float>(memory.mixed, inner), samples_, Operand(dx, samples_));
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t value = 2 * inner + h * d;
      const Strided<const float> dmixed = OfHead<const float>(w_.dmixed, h, d);
      LinearBackward<Start::kZero>(matrices + value * s_.row, d, dmixed, samples_, OfHead(dc, h, width));
      Outer(grads + value * s_.row, d, dmixed, samples_, Operand(OfHead<const float>(c, h, width), samples_));
    }
    for (int64_t sample = 0; sample < samples_; ++sample) {
      const int64_t heads_at = sample * heads * width * kLanes;
      LastScoresBackward(memory, sample, dc + heads_at, dr + heads_at);
    }
    float* dquery = w_.dmixed;  // the gradient of the heads' outputs is used up
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t key = inner + h * d;
      const Strided<const float> dr_of_head = OfHead<const float>(dr, h, width);
      Linear(matrices + key * s_.row, d, dr_of_head, samples_, OfHead(dquery, h, d));
      Outer(grads + key * s_.row, d, OfHead<const float>(query, h, d), samples_, Operand(dr_of_head, samples_));
    }
    const Strided<float> last = Last(memory.attention_in);
    const Strided<const float> last_operand = l == 0 && !kModels
                                                  ? Strided<const float>{w_.first_rows, kLanes * s_.padded}
                                                  : Operand({last.base, last.stride}, samples_);
    Outer(grads, inner, Packed<const float>(dquery, inner), samples_, last_operand);
    for (int64_t sample = 0; sample < samples_; ++sample) {
      for (int64_t first = 0; first < n; first += kGroup) {
        const int64_t count = std::min(kGroup, n - first);
        float* dnormed = w_.dnormed + (keep ? (sample * n + first) * width * kLanes : 0);
        LastInputBackward(memory, sample, first, count, matrices, dnormed);
        take(sample, first, count, dnormed);
      }
    }
  }

  // From dc of a sample to the gradient of its scores, in w_.dweights, and to dr.
  void LastScoresBackward(const LayerMemory& memory, int64_t sample, const float* dc, float* dr) const {
    const int64_t n = s_.seq_len, width = s_.width, heads = s_.heads;
    const float* normed = memory.attention_in + sample * n * width * kLanes;
    const float* weights = memory.weights + sample * heads * n * kLanes;
    float* dweights = w_.dweights + sample * heads * n * kLanes;
    Product<false, Start::kZero>({dc, width * kLanes, kLanes}, {normed, kLanes, width * kLanes},
                                 {dweights, n * kLanes, kLanes}, heads, n, {width});
    for (int64_t h = 0; h < heads; ++h) {
      SoftmaxBackward(weights + h * n * kLanes, dweights + h * n * kLanes, n, scale_);
    }
    Product<false, Start::kZero>({dweights, n * kLanes, kLanes}, {normed, width * kLanes, kLanes},
                                 {dr, width * kLanes, kLanes}, heads, width, {n});
  }

  // dnormed_t = Σ_h weights_t · dc + dscores_t · r; the last position has a part through the query too.
  void LastInputBackward(const LayerMemory& memory, int64_t sample, int64_t first, int64_t count, const float* matrices,
                         float* dnormed) const {
    const int64_t n = s_.seq_len, heads = s_.heads, row = s_.width * kLanes;
    const float* weights = memory.weights + (sample * heads * n + first) * kLanes;
    const float* dscores = w_.dweights + (sample * heads * n + first) * kLanes;
    const float* dc = w_.dheads + sample * heads * row;
    const float* r = LastOf(memory).r + sample * heads * row;
    Product<false, Start::kZero>({weights, kLanes, n * kLanes}, {dc, row, kLanes}, {dnormed, row, kLanes}, count,
                                 s_.width, {heads, 2, dscores - weights, r - dc});
    if (first + count == n) {
      LinearBackward<Start::kAdd>(matrices, s_.inner, Packed<const float>(w_.dmixed + sample * s_.inner * kLanes, 0), 1,
                                  Packed(dnormed + (count - 1) * row, 0));
    }
  }

  const ModelView& m_;
  const Shape& s_;
  const Workspace& w_;
  const float scale_;    // of attention scores
  int64_t count_ = 0;    // where lanes are samples: lanes that hold one among the last sixteen
  int64_t samples_ = 1;  // side by side in memory: samples of every lane's model, or sixteens of one model's samples
};

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
