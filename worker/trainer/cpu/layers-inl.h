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

class LayerPass {
 public:
  explicit LayerPass(const ModelView& m)
      : m_(m), s_(m.shape), w_(m.work), scale_(1.0f / std::sqrt(static_cast<float>(m.shape.head_dim))) {}

 protected:
  bool Trimmed(int64_t layer) const { return s_.label && layer + 1 == s_.layers; }
  int64_t Rows(int64_t layer) const { return Trimmed(layer) ? 1 : s_.seq_len; }

  // y[r][o] = Σ_b w[o][b] · x[r][b]; y has `outputs` features.
  void Linear(const float* w, int64_t outputs, const float* x, int64_t rows, float* y) const {
    Product<true, Start::kZero>({w, s_.padded, 1}, {x, kLanes, s_.width * kLanes}, {y, kLanes, outputs * kLanes},
                                outputs, rows, {s_.width});
  }
  // dx[r][b] (+)= Σ_o w[o][b] · dy[r][o]; dy has `stride` features a row, of which `outputs` are used.
  void LinearBackward(const float* w, int64_t outputs, const float* dy, int64_t rows, int64_t stride, float* dx,
                      Start start) const {
    const In a{w, 1, s_.padded}, b{dy, kLanes, stride * kLanes};
    const Out c{dx, kLanes, s_.width * kLanes};
    if (start == Start::kAdd) {
      Product<true, Start::kAdd>(a, b, c, s_.width, rows, {outputs});
    } else {
      Product<true, Start::kZero>(a, b, c, s_.width, rows, {outputs});
    }
  }
  // dw[o] += Σ_{r, s} dy[r][o][s] · x_rows[r][s], over the chunk's samples.
  void Outer(float* dw, int64_t outputs, const float* dy, int64_t rows, int64_t stride, const float* x_rows) const {
    Product<true, Start::kAdd>({dy, kLanes, 1}, {x_rows, s_.padded, kLanes}, {dw, s_.padded, kLanes}, outputs,
                               s_.padded / kLanes, {count_, rows, stride * kLanes, kLanes * s_.padded});
  }
  // w_.rows = x [count][width][16] as rows.
  void LanesToRowsEach(const float* x, int64_t count) const {
    for (int64_t r = 0; r < count; ++r) {
      LanesToRows(x + r * s_.width * kLanes, s_.width, w_.rows + r * kLanes * s_.padded, s_.padded);
    }
  }
  void AddRow(const float* x, float factor, float* to) const {
    for (int64_t b = 0; b < s_.padded; b += kLanes) Store(MulAdd(Load(x + b), Set(factor), Load(to + b)), to + b);
  }

  // ---- MLP ----
  // x += down · gelu(up · norm(x) + up_bias) + down_bias
  void Mlp(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), hidden = s_.hidden;
    NormForward(w_.x, rows, s_.width, memory.mlp_in, memory.mlp_rstd);
    Linear(m_.folded + at.up, hidden, memory.mlp_in, rows, memory.hidden);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < hidden; ++j) {
        float* at_hidden = memory.hidden + (r * hidden + j) * kLanes;
        F value, slope;
        Gelu(Add(Load(at_hidden), Set(m_.weights[at.up_bias + j])), value, slope);
        Store(value, at_hidden);
        Store(slope, memory.slope + (r * hidden + j) * kLanes);
      }
      for (int64_t b = 0; b < s_.width; ++b) {
        float* x = w_.x + (r * s_.width + b) * kLanes;
        Store(Add(Load(x), Set(m_.weights[at.down_bias + b])), x);
      }
    }
    LinearBackward(m_.weights + at.down, hidden, memory.hidden, rows, hidden, w_.x, Start::kAdd);
  }

  void MlpBackward(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l), hidden = s_.hidden;
    if (!s_.freeze_mlp) {
      LanesToRowsEach(w_.dx, rows);
      Outer(m_.grads + at.down, hidden, memory.hidden, rows, hidden, w_.rows);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t s = 0; s < count_; ++s) {
          AddRow(w_.rows + (r * kLanes + s) * s_.padded, 1.0f, m_.grads + at.down_bias);
        }
      }
    }
    Linear(m_.weights + at.down, hidden, w_.dx, rows, w_.dhidden);
    for (int64_t i = 0; i < rows * hidden; ++i) {
      float* d = w_.dhidden + i * kLanes;
      Store(Mul(Load(d), Load(memory.slope + i * kLanes)), d);
    }
    if (s_.freeze_mlp) {
      MlpInputBackwardFrozen(l);
    } else {
      float* bias = w_.lane_bias + l * hidden * kLanes;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < hidden * kLanes; j += kLanes) {
          Store(Add(Load(bias + j), Load(w_.dhidden + r * hidden * kLanes + j)), bias + j);
        }
      }
      LanesToRowsEach(memory.mlp_in, rows);
      Outer(m_.grads + at.up, hidden, w_.dhidden, rows, hidden, w_.rows);
      LinearBackward(m_.folded + at.up, hidden, w_.dhidden, rows, hidden, w_.dnormed, Start::kZero);
    }
    NormBackward(w_.dnormed, memory.mlp_in, memory.mlp_rstd, rows, s_.width, w_.dx);
  }

  // The matrix has no gradient, so that of the gain is taken from the activations: dgain = Σ (wᵀ·dhidden) · normed.
  void MlpInputBackwardFrozen(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t rows = Rows(l);
    LinearBackward(m_.weights + at.up, s_.hidden, w_.dhidden, rows, s_.hidden, w_.dnormed, Start::kZero);
    float* gain = w_.lane_gain + l * s_.width * kLanes;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t b = 0; b < s_.width; ++b) {
        const int64_t i = (r * s_.width + b) * kLanes;
        const F d = Load(w_.dnormed + i);
        Store(MulAdd(d, Load(memory.mlp_in + i), Load(gain + b * kLanes)), gain + b * kLanes);
        Store(Mul(d, Set(m_.weights[at.mlp_norm + b])), w_.dnormed + i);
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
    const int64_t n = s_.seq_len, inner = s_.inner, row = 3 * inner * kLanes;
    Linear(m_.folded + at.qkv, 3 * inner, memory.attention_in, n, memory.qkv);
    for (int64_t h = 0; h < s_.heads; ++h) {
      const float* query = memory.qkv + h * s_.head_dim * kLanes;
      const float* key = query + inner * kLanes;
      const float* value = key + inner * kLanes;
      float* weights = memory.weights + h * n * n * kLanes;
      ForGroups([&](int64_t first, int64_t rows, int64_t seen) {
        float* group = weights + first * n * kLanes;
        Product<false, Start::kZero>({query + first * row, row, kLanes}, {key, kLanes, row},
                                     {group, n * kLanes, kLanes}, rows, seen, {s_.head_dim});
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t count = s_.lm ? first + r + 1 : n;
          Softmax(group + r * n * kLanes, count, scale_);
          std::fill_n(group + (r * n + count) * kLanes, (seen - count) * kLanes, 0.0f);
        }
        Product<false, Start::kZero>(
            {group, n * kLanes, kLanes}, {value, row, kLanes},
            {memory.mixed + (first * inner + h * s_.head_dim) * kLanes, inner * kLanes, kLanes}, rows, s_.head_dim,
            {seen});
      });
    }
    LinearBackward(m_.weights + at.out, inner, memory.mixed, n, inner, w_.x, Start::kAdd);
  }

  void AttendBackward(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t n = s_.seq_len, inner = s_.inner;
    Linear(m_.weights + at.out, inner, w_.dx, n, w_.dmixed);
    LanesToRowsEach(w_.dx, n);
    Outer(m_.grads + at.out, inner, memory.mixed, n, inner, w_.rows);
    for (int64_t h = 0; h < s_.heads; ++h) {
      HeadBackward(memory, h, w_.dhidden + h * s_.head_dim * kLanes);
    }
    const float* rows = w_.first_rows;
    if (l > 0) {
      LanesToRowsEach(memory.attention_in, n);
      rows = w_.rows;
    }
    Outer(m_.grads + at.qkv, 3 * inner, w_.dhidden, n, 3 * inner, rows);
    LinearBackward(m_.folded + at.qkv, 3 * inner, w_.dhidden, n, 3 * inner, w_.dnormed, Start::kZero);
  }

  // Gradients of a head's query, key and value, [N][3 * I] from `dquery` on.
  void HeadBackward(const LayerMemory& memory, int64_t h, float* dquery) const {
    const int64_t n = s_.seq_len, inner = s_.inner, row = 3 * inner * kLanes, d = s_.head_dim;
    const float* query = memory.qkv + h * d * kLanes;
    const float* key = query + inner * kLanes;
    const float* value = key + inner * kLanes;
    const float* weights = memory.weights + h * n * n * kLanes;
    const float* dmixed = w_.dmixed + h * d * kLanes;
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
  void AttendLast(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t n = s_.seq_len, inner = s_.inner, width = s_.width, d = s_.head_dim;
    const float* normed = memory.attention_in;
    const float* matrices = m_.folded + at.qkv;
    float* query = memory.qkv;
    float* r = query + inner * kLanes;
    float* c = r + s_.heads * width * kLanes;
    Linear(matrices, inner, normed + (n - 1) * width * kLanes, 1, query);
    for (int64_t h = 0; h < s_.heads; ++h) {
      LinearBackward(matrices + (inner + h * d) * s_.padded, d, query + h * d * kLanes, 1, d, r + h * width * kLanes,
                     Start::kZero);
    }
    Product<false, Start::kZero>({r, width * kLanes, kLanes}, {normed, kLanes, width * kLanes},
                                 {memory.weights, n * kLanes, kLanes}, s_.heads, n, {width});
    for (int64_t h = 0; h < s_.heads; ++h) Softmax(memory.weights + h * n * kLanes, n, scale_);
    Product<false, Start::kZero>({memory.weights, n * kLanes, kLanes}, {normed, width * kLanes, kLanes},
                                 {c, width * kLanes, kLanes}, s_.heads, width, {n});
    for (int64_t h = 0; h < s_.heads; ++h) {
      Linear(matrices + (2 * inner + h * d) * s_.padded, d, c + h * width * kLanes, 1, memory.mixed + h * d * kLanes);
    }
    LinearBackward(m_.weights + at.out, inner, memory.mixed, 1, inner, w_.x, Start::kAdd);
  }

  void AttendLastBackward(int64_t l) const {
    const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
    const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
    const int64_t n = s_.seq_len, inner = s_.inner, width = s_.width, d = s_.head_dim, heads = s_.heads;
    const float* normed = memory.attention_in;
    const float* matrices = m_.folded + at.qkv;
    float* grads = m_.grads + at.qkv;
    const float* query = memory.qkv;
    const float* r = query + inner * kLanes;
    const float* c = r + heads * width * kLanes;
    float* dc = w_.dheads;
    float* dr = dc + heads * width * kLanes;
    Linear(m_.weights + at.out, inner, w_.dx, 1, w_.dmixed);
    LanesToRowsEach(w_.dx, 1);
    Outer(m_.grads + at.out, inner, memory.mixed, 1, inner, w_.rows);
    LanesToRowsEach(c, heads);
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t value = 2 * inner + h * d;
      LinearBackward(matrices + value * s_.padded, d, w_.dmixed + h * d * kLanes, 1, d, dc + h * width * kLanes,
                     Start::kZero);
      Outer(grads + value * s_.padded, d, w_.dmixed + h * d * kLanes, 1, d, w_.rows + h * kLanes * s_.padded);
    }
    Product<false, Start::kZero>({dc, width * kLanes, kLanes}, {normed, kLanes, width * kLanes},
                                 {w_.dweights, n * kLanes, kLanes}, heads, n, {width});
    for (int64_t h = 0; h < heads; ++h) {
      SoftmaxBackward(memory.weights + h * n * kLanes, w_.dweights + h * n * kLanes, n, scale_);
    }
    Product<false, Start::kZero>({w_.dweights, n * kLanes, kLanes}, {normed, width * kLanes, kLanes},
                                 {dr, width * kLanes, kLanes}, heads, width, {n});
    const Out dnormed{w_.dnormed, width * kLanes, kLanes};
    Product<false, Start::kZero>({memory.weights, kLanes, n * kLanes}, {dc, width * kLanes, kLanes}, dnormed, n, width,
                                 {heads});
    Product<false, Start::kAdd>({w_.dweights, kLanes, n * kLanes}, {r, width * kLanes, kLanes}, dnormed, n, width,
                                {heads});
    float* dquery = w_.dmixed;  // the gradient of the heads' outputs is used up
    LanesToRowsEach(dr, heads);
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t key = inner + h * d;
      Linear(matrices + key * s_.padded, d, dr + h * width * kLanes, 1, dquery + h * d * kLanes);
      Outer(grads + key * s_.padded, d, query + h * d * kLanes, 1, d, w_.rows + h * kLanes * s_.padded);
    }
    const float* last_rows = w_.first_rows + (n - 1) * kLanes * s_.padded;
    if (l > 0) {
      LanesToRowsEach(normed + (n - 1) * width * kLanes, 1);
      last_rows = w_.rows;
    }
    Outer(grads, inner, dquery, 1, inner, last_rows);
    LinearBackward(matrices, inner, dquery, 1, inner, w_.dnormed + (n - 1) * width * kLanes, Start::kAdd);
  }

  const ModelView& m_;
  const Shape& s_;
  const Workspace& w_;
  const float scale_;  // of attention scores
  int64_t count_ = 0;  // samples in the chunk
};

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
