// The phases of the layers over one chunk of samples, forward and backward. A phase is a function of a thread's place
// among the block's threads, called between two barriers: within it no thread reads what another writes.
//
// B width, N seq_len, H heads, I = heads * head_dim, M = 4 * width, R = samples * N rows. Every matrix behind a norm is
// kept times the norm's gain: products then read the normed input itself, and its gradient comes out complete.
#pragma once

#include "worker/trainer/cuda/product.h"
#include "worker/trainer/cuda/task.h"

namespace capsweep::trainer::cuda {

inline constexpr float kNormEpsilon = 1e-5f;

// Kernel: the types Shape and Run, and Plan() with where the pieces of memory stand. Run calls a phase for every thread
// and then waits for all.
template <class Kernel>
class Layers {
 public:
  using Shape = typename Kernel::Shape;

  CAPSWEEP_HD Layers(const Kernel& kernel, const Task& task, typename Kernel::Run& run)
      : kernel_(kernel),
        s_(kernel.shape),
        z_(s_),
        at_(s_),
        task_(task),
        run_(run),
        scale_(Divide(1.0f, Sqrt(static_cast<float>(s_.head_dim)))) {}

 protected:
  CAPSWEEP_HD float* Floats(Piece piece) const {
    const MemoryPlan& plan = kernel_.Plan();
    return plan.shared[piece] ? kernel_.shared + plan.offset[piece] : task_.memory + plan.offset[piece];
  }
  CAPSWEEP_HD int32_t* Ints(Piece piece) const { return reinterpret_cast<int32_t*>(Floats(piece)); }
  CAPSWEEP_HD int32_t ChunkSamplesHere() const { return kernel_.Plan().samples; }
  // The part of a piece that belongs to a layer.
  CAPSWEEP_HD float* OfLayer(Piece piece, int32_t layer, int32_t floats_per_row) const {
    return Floats(piece) + static_cast<int64_t>(layer) * ChunkSamplesHere() * s_.seq_len * floats_per_row;
  }
  CAPSWEEP_HD int32_t AttentionAt(int32_t layer) const { return at_.attention + layer * at_.attention_size; }
  CAPSWEEP_HD int32_t MlpAt(int32_t layer) const { return at_.mlp + layer * at_.mlp_size; }
  CAPSWEEP_HD bool Trimmed(int32_t layer) const { return s_.mode == TaskMode::kLabel && layer + 1 == s_.layers; }

  // ---- rows ----

  // LayerNorm without gain of one row; what fills the row up becomes zero.
  CAPSWEEP_HD void NormRow(const float* x, float* hat, float* rstd) const {
    float sum = 0;
    for (int32_t i = 0; i < s_.width; ++i) sum += x[i];
    const float mean = Divide(sum, static_cast<float>(s_.width));
    float square = 0;
    for (int32_t i = 0; i < s_.width; ++i) square = Fma(x[i] - mean, x[i] - mean, square);
    const float inverse = Divide(1.0f, Sqrt(Divide(square, static_cast<float>(s_.width)) + kNormEpsilon));
    *rstd = inverse;
    for (int32_t i = 0; i < s_.width; ++i) hat[i] = (x[i] - mean) * inverse;
    for (int32_t i = s_.width; i < z_.wide; ++i) hat[i] = 0;
  }

  // dx = residual + rstd * (dhat - mean(dhat) - hat * mean(dhat * hat)); residual may be null, and may be dx.
  CAPSWEEP_HD void NormRowBack(const float* dhat, const float* hat, float rstd, const float* residual,
                               float* dx) const {
    float sum = 0, with_hat = 0;
    for (int32_t i = 0; i < s_.width; ++i) {
      sum += dhat[i];
      with_hat = Fma(dhat[i], hat[i], with_hat);
    }
    const float mean = Divide(sum, static_cast<float>(s_.width));
    const float mean_hat = Divide(with_hat, static_cast<float>(s_.width));
    for (int32_t i = 0; i < s_.width; ++i) {
      const float inner = Fma(-hat[i], mean_hat, dhat[i] - mean);
      dx[i] = Fma(rstd, inner, residual == nullptr ? 0.0f : residual[i]);
    }
    for (int32_t i = s_.width; i < z_.wide; ++i) dx[i] = 0;
  }

  // In place: softmax of the first `seen` of `count` values, the others become 0.
  CAPSWEEP_HD void SoftmaxRow(float* p, int32_t seen, int32_t count) const {
    float top = p[0];
    for (int32_t j = 1; j < seen; ++j) top = Larger(p[j], top);
    float sum = 0;
    for (int32_t j = 0; j < seen; ++j) {
      p[j] = Exp(p[j] - top);
      sum += p[j];
    }
    const float inverse = Divide(1.0f, sum);
    for (int32_t j = 0; j < seen; ++j) p[j] *= inverse;
    for (int32_t j = seen; j < count; ++j) p[j] = 0;
  }

  // In place: dp becomes p * (dp - sum of p * dp) * scale.
  CAPSWEEP_HD void SoftmaxRowBack(const float* p, float* dp, int32_t count, float scale) const {
    float sum = 0;
    for (int32_t j = 0; j < count; ++j) sum = Fma(p[j], dp[j], sum);
    for (int32_t j = 0; j < count; ++j) dp[j] = p[j] * (dp[j] - sum) * scale;
  }

  // ---- MLP and its norm, of the rows of a full layer or of the last position ----
  struct MlpRows {
    int32_t layer, rows, full_rows;
    float *x, *dhat, *hat, *rstd, *hidden, *slope;
  };
  CAPSWEEP_HD MlpRows MlpOf(int32_t layer, int32_t samples) const {
    if (Trimmed(layer)) {
      return {layer,
              samples,
              ChunkSamplesHere(),
              Floats(kLastX),
              Floats(kLastDHat),
              Floats(kLastHat2),
              Floats(kLastRstd2),
              Floats(kLastHidden),
              Floats(kLastSlope)};
    }
    return {layer,
            samples * s_.seq_len,
            ChunkSamplesHere() * s_.seq_len,
            Floats(kX),
            Floats(kDHat),
            OfLayer(kHat2, layer, z_.wide_row),
            OfLayer(kRstd2, layer, 1),
            OfLayer(kHidden, layer, z_.hidden_row),
            OfLayer(kSlope, layer, z_.hidden_row)};
  }

  CAPSWEEP_HD void MlpForward(const MlpRows m) {
    float* weights = Floats(kWeights) + MlpAt(m.layer);
    // A frozen matrix stays as it is: its input takes the gain instead. dhat is free on the way forward.
    const float* gain = s_.freeze_mlp ? task_.weights + AttentionAt(m.layer) + at_.mlp_norm : nullptr;
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < m.rows; r += at.threads) {
        float* hat = m.hat + r * z_.wide_row;
        NormRow(m.x + r * z_.wide_row, hat, m.rstd + r);
        if (gain != nullptr) {
          for (int32_t i = 0; i < z_.wide; ++i) m.dhat[r * z_.wide_row + i] = hat[i] * gain[i];
        }
      }
    });
    run_([=, this](Place at) {
      const float* bias = weights + at_.up_bias;
      RowsByRows(at, {1, 1, m.rows, z_.hidden, z_.wide, m.full_rows}, {gain == nullptr ? m.hat : m.dhat, z_.wide_row},
                 {weights, z_.wide_row}, [=, this](int32_t, int32_t, int32_t r, int32_t c, float v) {
                   const GeluValue g = Gelu(v + bias[c]);
                   m.hidden[r * z_.hidden_row + c] = g.value;
                   m.slope[r * z_.hidden_row + c] = g.slope;
                 });
    });
    run_([=, this](Place at) {
      const float* bias = weights + at_.down_bias;
      RowsByRows(at, {1, 1, m.rows, z_.wide, z_.hidden, m.full_rows}, {m.hidden, z_.hidden_row},
                 {weights + at_.down, z_.hidden_row}, [=, this](int32_t, int32_t, int32_t r, int32_t c, float v) {
                   m.x[r * z_.wide_row + c] += v + bias[c];
                 });
    });
  }

  // m.x holds the gradient of the layer's output and gets that of the MLP's input.
  CAPSWEEP_HD void MlpBackward(const MlpRows m) {
    float* weights = Floats(kWeights) + MlpAt(m.layer);
    float* grads = s_.freeze_mlp ? nullptr : Floats(kGrads) + MlpAt(m.layer);
    run_([=, this](Place at) {
      int32_t jobs = RowsByColumns(at, {1, 1, m.rows, z_.hidden, z_.wide, m.full_rows}, {m.x, z_.wide_row},
                                   {weights + at_.down, z_.hidden_row},
                                   [=, this](int32_t, int32_t, int32_t r, int32_t c, const Float4& v) {
                                     float* slope = m.slope + r * z_.hidden_row + c;
                                     const Float4 g = Load4(slope);
                                     Store4(slope, {v.x * g.x, v.y * g.y, v.z * g.z, v.w * g.w});
                                   });
      if (grads != nullptr) {
        jobs += ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.wide, z_.hidden, m.rows, 0}, {m.x, z_.wide_row},
                                       {m.hidden, z_.hidden_row}, {grads + at_.down, z_.hidden_row});
        AddColumnSums(at.After(jobs), z_.wide, m.rows, m.x, z_.wide_row, grads + at_.down_bias);
      }
    });
    run_([=, this](Place at) {
      int32_t jobs =
          RowsByColumns(at, {1, 1, m.rows, z_.wide, z_.hidden, m.full_rows}, {m.slope, z_.hidden_row},
                        {weights, z_.wide_row}, [=, this](int32_t, int32_t, int32_t r, int32_t c, const Float4& v) {
                          Store4(m.dhat + r * z_.wide_row + c, v);
                        });
      if (grads != nullptr) {
        jobs += ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.hidden, z_.wide, m.rows, 0}, {m.slope, z_.hidden_row},
                                       {m.hat, z_.wide_row}, {grads, z_.wide_row});
        AddColumnSums(at.After(jobs), z_.hidden, m.rows, m.slope, z_.hidden_row, grads + at_.up_bias);
      }
    });
    if (s_.freeze_mlp) {
      FrozenGainBackward(m);
    }
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < m.rows; r += at.threads) {
        float* dx = m.x + r * z_.wide_row;
        NormRowBack(m.dhat + r * z_.wide_row, m.hat + r * z_.wide_row, m.rstd[r], dx, dx);
      }
    });
  }

  // Of the gain in front of a frozen matrix; every thread keeps to its columns.
  CAPSWEEP_HD void FrozenGainBackward(const MlpRows m) {
    const float* gain = task_.weights + AttentionAt(m.layer) + at_.mlp_norm;
    float* dgain = Floats(kGrads) + AttentionAt(m.layer) + at_.mlp_norm;
    run_([=, this](Place at) {
      for (int32_t i = at.thread; i < s_.width; i += at.threads) {
        float sum = dgain[i];
        for (int32_t r = 0; r < m.rows; ++r) {
          float& d = m.dhat[r * z_.wide_row + i];
          sum = Fma(d, m.hat[r * z_.wide_row + i], sum);
          d *= gain[i];
        }
        dgain[i] = sum;
      }
    });
  }

  // ---- attention over all positions ----
  struct FullAttention {
    int32_t layer, samples, rows, full_rows;
    float *x, *dhat, *hat, *rstd, *qkv, *p, *mixed;
  };
  CAPSWEEP_HD FullAttention AttentionOf(int32_t layer, int32_t samples) const {
    return {layer,
            samples,
            samples * s_.seq_len,
            ChunkSamplesHere() * s_.seq_len,
            Floats(kX),
            Floats(kDHat),
            OfLayer(kHat1, layer, z_.wide_row),
            OfLayer(kRstd1, layer, 1),
            OfLayer(kQkv, layer, z_.qkv_row),
            OfLayer(kP, layer, s_.heads * z_.position_row),
            OfLayer(kMixed, layer, z_.inner_row)};
  }
  // Query, key or value (part 0 to 2) of rows like kQkv's, a matrix for every sample and head.
  CAPSWEEP_HD Matrices Part(float* qkv, int32_t part) const {
    return {qkv + part * z_.inner, z_.qkv_row, s_.seq_len * z_.qkv_row, z_.head};
  }
  CAPSWEEP_HD Matrices Pairs(float* p) const {
    return {p, z_.position_row, s_.heads * s_.seq_len * z_.position_row, s_.seq_len * z_.position_row};
  }
  CAPSWEEP_HD Matrices HeadsOf(float* inner) const { return {inner, z_.inner_row, s_.seq_len * z_.inner_row, z_.head}; }

  // `also`: more work for the first phase, called with the place after it.
  template <class Also>
  CAPSWEEP_HD void AttentionForward(const FullAttention a, const Also& also) {
    float* weights = Floats(kWeights) + AttentionAt(a.layer);
    run_([=, this](Place at) {
      const int32_t jobs = RowsByRows(
          at, {1, 1, a.rows, z_.qkv, z_.wide, a.full_rows}, {a.hat, z_.wide_row}, {weights + at_.qkv, z_.wide_row},
          [=, this](int32_t, int32_t, int32_t r, int32_t c, float v) { a.qkv[r * z_.qkv_row + c] = v; });
      also(at.After(jobs));
    });
    const Extent scores{a.samples, s_.heads, s_.seq_len, s_.seq_len, z_.head, a.full_rows};
    const Extent mixes{a.samples, s_.heads, s_.seq_len, z_.head, s_.seq_len, a.full_rows};
    const Matrices p = Pairs(a.p);
    run_([=, this](Place at) {
      RowsByRows(
          at, scores, Part(a.qkv, 0), Part(a.qkv, 1),
          [=, this](int32_t s, int32_t h, int32_t r, int32_t c, float v) { p.At(s, h)[r * p.row + c] = v * scale_; });
    });
    run_([=, this](Place at) {
      for (int32_t u = at.thread; u < a.rows * s_.heads; u += at.threads) {
        const int32_t seen = s_.mode == TaskMode::kLm ? u % s_.seq_len + 1 : s_.seq_len;
        SoftmaxRow(a.p + u * z_.position_row, seen, s_.seq_len);
      }
    });
    run_([=, this](Place at) {
      const Matrices mixed = HeadsOf(a.mixed);
      RowsByColumns(at, mixes, p, Part(a.qkv, 2), [=](int32_t s, int32_t h, int32_t r, int32_t c, const Float4& v) {
        Store4(mixed.At(s, h) + r * mixed.row + c, v);
      });
    });
    run_([=, this](Place at) {
      RowsByRows(at, {1, 1, a.rows, z_.wide, z_.inner, a.full_rows}, {a.mixed, z_.inner_row},
                 {weights + at_.out, z_.inner_row},
                 [=, this](int32_t, int32_t, int32_t r, int32_t c, float v) { a.x[r * z_.wide_row + c] += v; });
    });
  }

  // a.x holds the gradient of the attention's output and gets that of the layer's input.
  CAPSWEEP_HD void AttentionBackward(const FullAttention a) {
    float* weights = Floats(kWeights) + AttentionAt(a.layer);
    float* grads = Floats(kGrads) + AttentionAt(a.layer);
    float* dmixed = Floats(kDMixed);
    float* dqkv = DQkvInHidden(z_) ? OfLayer(kHidden, a.layer, z_.hidden_row) : Floats(kDQkv);
    const Matrices p = Pairs(a.p),
                   dp = Pairs(DPInSlope(s_, z_) ? OfLayer(kSlope, a.layer, z_.hidden_row) : Floats(kDP));
    const Extent scores{a.samples, s_.heads, s_.seq_len, s_.seq_len, z_.head, a.full_rows};
    const Extent mixes{a.samples, s_.heads, s_.seq_len, z_.head, s_.seq_len, a.full_rows};
    run_([=, this](Place at) {
      const int32_t jobs = RowsByColumns(at, {1, 1, a.rows, z_.inner, z_.wide, a.full_rows}, {a.x, z_.wide_row},
                                         {weights + at_.out, z_.inner_row},
                                         [=, this](int32_t, int32_t, int32_t r, int32_t c, const Float4& v) {
                                           Store4(dmixed + r * z_.inner_row + c, v);
                                         });
      ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.wide, z_.inner, a.rows, 0}, {a.x, z_.wide_row},
                             {a.mixed, z_.inner_row}, {grads + at_.out, z_.inner_row});
    });
    run_([=, this](Place at) {
      const int32_t jobs =
          RowsByRows(at, scores, HeadsOf(dmixed), Part(a.qkv, 2),
                     [=](int32_t s, int32_t h, int32_t r, int32_t c, float v) { dp.At(s, h)[r * dp.row + c] = v; });
      ColumnsByColumns<false>(at.After(jobs), mixes, p, HeadsOf(dmixed), Part(dqkv, 2));
    });
    run_([=, this](Place at) {
      for (int32_t u = at.thread; u < a.rows * s_.heads; u += at.threads) {
        SoftmaxRowBack(p.data + u * p.row, dp.data + u * dp.row, s_.seq_len, scale_);
      }
    });
    run_([=, this](Place at) {
      const Matrices dq = Part(dqkv, 0);
      const int32_t jobs = RowsByColumns(at, mixes, dp, Part(a.qkv, 1),
                                         [=](int32_t s, int32_t h, int32_t r, int32_t c, const Float4& v) {
                                           Store4(dq.At(s, h) + r * dq.row + c, v);
                                         });
      ColumnsByColumns<false>(at.After(jobs), mixes, dp, Part(a.qkv, 0), Part(dqkv, 1));
    });
    run_([=, this](Place at) {
      const int32_t jobs = RowsByColumns(at, {1, 1, a.rows, z_.wide, z_.qkv, a.full_rows}, {dqkv, z_.qkv_row},
                                         {weights + at_.qkv, z_.wide_row},
                                         [=, this](int32_t, int32_t, int32_t r, int32_t c, const Float4& v) {
                                           Store4(a.dhat + r * z_.wide_row + c, v);
                                         });
      ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.qkv, z_.wide, a.rows, 0}, {dqkv, z_.qkv_row},
                             {a.hat, z_.wide_row}, {grads + at_.qkv, z_.wide_row});
    });
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < a.rows; r += at.threads) {
        float* dx = a.x + r * z_.wide_row;
        NormRowBack(a.dhat + r * z_.wide_row, a.hat + r * z_.wide_row, a.rstd[r], dx, dx);
      }
    });
  }

  const Kernel& kernel_;
  const Shape s_;
  const Sizes<Shape> z_;
  const ParameterPlan<Shape> at_;
  const Task& task_;
  typename Kernel::Run& run_;
  const float scale_;  // of scores
};

}  // namespace capsweep::trainer::cuda
