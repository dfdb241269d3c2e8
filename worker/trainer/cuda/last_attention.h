// Attention of the last layer in mode label, where only the last position reaches the loss. Keys and values are never
// formed: with r = transposed key weights times q a score is r·x̂, and the values' product is taken of c = Σ p x̂
// (docs/science.md, section "Models").
#pragma once

#include "worker/trainer/cuda/layers.h"

namespace capsweep::trainer::cuda {

template <class Kernel>
class LastAttention : public Layers<Kernel> {
 public:
  using Layers<Kernel>::Layers;

 protected:
  using Layers<Kernel>::s_;
  using Layers<Kernel>::z_;
  using Layers<Kernel>::at_;
  using Layers<Kernel>::run_;
  using Layers<Kernel>::scale_;
  using Layers<Kernel>::Floats;
  using Layers<Kernel>::OfLayer;

  struct Last {
    int32_t samples, full;  // of this chunk and of a full one
    float *hat, *rstd;      // of all rows
    float *x, *q, *r, *p, *c, *mixed;
    float *wq, *wk, *wv, *wo;
  };
  CAPSWEEP_HD Last LastOf(int32_t samples) const {
    const int32_t layer = s_.layers - 1;
    float* weights = Floats(kWeights) + this->AttentionAt(layer);
    return {samples,
            this->ChunkSamplesHere(),
            OfLayer(kHat1, layer, z_.wide_row),
            OfLayer(kRstd1, layer, 1),
            Floats(kLastX),
            Floats(kLastQ),
            Floats(kLastR),
            Floats(kLastP),
            Floats(kLastC),
            Floats(kLastMixed),
            weights + at_.qkv,
            weights + at_.qkv + z_.inner * z_.wide_row,
            weights + at_.qkv + 2 * z_.inner * z_.wide_row,
            weights + at_.out};
  }

  // A matrix for every sample: its heads as rows, or its positions.
  CAPSWEEP_HD Matrices HeadRows(float* data) const { return {data, z_.wide_row, s_.heads * z_.wide_row}; }
  CAPSWEEP_HD Matrices ScoreRows(float* data) const { return {data, z_.position_row, s_.heads * z_.position_row}; }
  CAPSWEEP_HD Matrices Positions(float* hat) const { return {hat, z_.wide_row, s_.seq_len * z_.wide_row}; }
  // A matrix for every head: the samples as rows.
  CAPSWEEP_HD Matrices SamplesWide(float* data) const { return {data, s_.heads * z_.wide_row, 0, z_.wide_row}; }
  CAPSWEEP_HD Matrices SamplesHead(float* data) const { return {data, z_.inner_row, 0, z_.head}; }
  CAPSWEEP_HD Matrices HeadWeights(float* weights) const { return {weights, z_.wide_row, 0, z_.head * z_.wide_row}; }
  // The last position of every sample.
  CAPSWEEP_HD Matrices LastRows(float* rows) const {
    return {rows + (s_.seq_len - 1) * z_.wide_row, s_.seq_len * z_.wide_row};
  }

  template <class Also>
  CAPSWEEP_HD void LastForward(const Last l, const Also& also) {
    run_([=, this](Place at) {
      const int32_t jobs = RowsByRows(
          at, {1, 1, l.samples, z_.inner, z_.wide, l.full}, LastRows(l.hat), {l.wq, z_.wide_row},
          [=, this](int32_t, int32_t, int32_t s, int32_t c, float v) { l.q[s * z_.inner_row + c] = v * scale_; });
      also(at.After(jobs));
    });
    run_([=, this](Place at) {
      const Matrices r = SamplesWide(l.r);
      RowsByColumns(
          at, {1, s_.heads, l.samples, z_.wide, z_.head, l.full}, SamplesHead(l.q), HeadWeights(l.wk),
          [=](int32_t, int32_t h, int32_t s, int32_t c, const Float4& v) { Store4(r.At(0, h) + s * r.row + c, v); });
    });
    run_([=, this](Place at) {
      const Matrices p = ScoreRows(l.p);
      RowsByRows(at, {l.samples, 1, s_.heads, s_.seq_len, z_.wide, l.full * s_.heads}, HeadRows(l.r), Positions(l.hat),
                 [=](int32_t s, int32_t, int32_t h, int32_t t, float v) { p.At(s, 0)[h * p.row + t] = v; });
    });
    run_([=, this](Place at) {
      for (int32_t u = at.thread; u < l.samples * s_.heads; u += at.threads) {
        this->SoftmaxRow(l.p + u * z_.position_row, s_.seq_len, s_.seq_len);
      }
    });
    run_([=, this](Place at) {
      const Matrices c = HeadRows(l.c);
      RowsByColumns(at, {l.samples, 1, s_.heads, z_.wide, s_.seq_len, l.full * s_.heads}, ScoreRows(l.p),
                    Positions(l.hat), [=](int32_t s, int32_t, int32_t h, int32_t col, const Float4& v) {
                      Store4(c.At(s, 0) + h * c.row + col, v);
                    });
    });
    run_([=, this](Place at) {
      const Matrices mixed = SamplesHead(l.mixed);
      RowsByRows(at, {1, s_.heads, l.samples, z_.head, z_.wide, l.full}, SamplesWide(l.c), HeadWeights(l.wv),
                 [=](int32_t, int32_t h, int32_t s, int32_t c, float v) { mixed.At(0, h)[s * mixed.row + c] = v; });
    });
    run_([=, this](Place at) {
      const Matrices x = LastRows(Floats(kX));
      RowsByRows(at, {1, 1, l.samples, z_.wide, z_.inner, l.full}, {l.mixed, z_.inner_row}, {l.wo, z_.inner_row},
                 [=, this](int32_t, int32_t, int32_t s, int32_t c, float v) {
                   l.x[s * z_.wide_row + c] = x.data[s * x.row + c] + v;
                 });
    });
  }

  // l.x holds the gradient of the attention's output at the last position; kX gets that of the layer's input.
  CAPSWEEP_HD void LastBackward(const Last l) {
    float* grads = Floats(kGrads) + this->AttentionAt(s_.layers - 1);
    float* dq_weights = grads + at_.qkv;
    float* dk_weights = dq_weights + z_.inner * z_.wide_row;
    float* dv_weights = dk_weights + z_.inner * z_.wide_row;
    float* dmixed = Floats(kLastDMixed);
    float* dq = Floats(kLastDQ);
    float* dr = Floats(kLastDR);
    float* dp = Floats(kLastDP);
    float* dc = Floats(kLastDC);
    float* dhat = Floats(kX);  // what stood there has been read for the last time
    const int32_t rows = l.samples * s_.seq_len;
    run_([=, this](Place at) {
      const int32_t jobs =
          RowsByColumns(at, {1, 1, l.samples, z_.inner, z_.wide, l.full}, {l.x, z_.wide_row}, {l.wo, z_.inner_row},
                        [=, this](int32_t, int32_t, int32_t s, int32_t c, const Float4& v) {
                          Store4(dmixed + s * z_.inner_row + c, v);
                        });
      ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.wide, z_.inner, l.samples, 0}, {l.x, z_.wide_row},
                             {l.mixed, z_.inner_row}, {grads + at_.out, z_.inner_row});
    });
    run_([=, this](Place at) {
      const Matrices to = SamplesWide(dc);
      const int32_t jobs = RowsByColumns(
          at, {1, s_.heads, l.samples, z_.wide, z_.head, l.full}, SamplesHead(dmixed), HeadWeights(l.wv),
          [=](int32_t, int32_t h, int32_t s, int32_t c, const Float4& v) { Store4(to.At(0, h) + s * to.row + c, v); });
      ColumnsByColumns<true>(at.After(jobs), {1, s_.heads, z_.head, z_.wide, l.samples, 0}, SamplesHead(dmixed),
                             SamplesWide(l.c), HeadWeights(dv_weights));
    });
    run_([=, this](Place at) {
      const Matrices to = ScoreRows(dp);
      RowsByRows(at, {l.samples, 1, s_.heads, s_.seq_len, z_.wide, l.full * s_.heads}, HeadRows(dc), Positions(l.hat),
                 [=](int32_t s, int32_t, int32_t h, int32_t t, float v) { to.At(s, 0)[h * to.row + t] = v; });
    });
    run_([=, this](Place at) {
      for (int32_t u = at.thread; u < l.samples * s_.heads; u += at.threads) {
        this->SoftmaxRowBack(l.p + u * z_.position_row, dp + u * z_.position_row, s_.seq_len, 1.0f);
      }
    });
    run_([=, this](Place at) {
      const Matrices to = HeadRows(dr);
      const int32_t jobs = RowsByColumns(
          at, {l.samples, 1, s_.heads, z_.wide, s_.seq_len, l.full * s_.heads}, ScoreRows(dp), Positions(l.hat),
          [=](int32_t s, int32_t, int32_t h, int32_t c, const Float4& v) { Store4(to.At(s, 0) + h * to.row + c, v); });
      InputGradients(at.After(jobs), l, dp, dc, dhat);
    });
    run_([=, this](Place at) {
      const Matrices to = SamplesHead(dq);
      const int32_t jobs = RowsByRows(
          at, {1, s_.heads, l.samples, z_.head, z_.wide, l.full}, SamplesWide(dr), HeadWeights(l.wk),
          [=, this](int32_t, int32_t h, int32_t s, int32_t c, float v) { to.At(0, h)[s * to.row + c] = v * scale_; });
      ColumnsByColumns<true>(at.After(jobs), {1, s_.heads, z_.head, z_.wide, l.samples, 0}, SamplesHead(l.q),
                             SamplesWide(dr), HeadWeights(dk_weights));
    });
    run_([=, this](Place at) {
      const Matrices to = LastRows(dhat);
      const int32_t jobs =
          RowsByColumns(at, {1, 1, l.samples, z_.wide, z_.inner, l.full}, {dq, z_.inner_row}, {l.wq, z_.wide_row},
                        [=](int32_t, int32_t, int32_t s, int32_t c, const Float4& v) {
                          float* d = to.data + s * to.row + c;
                          Store4(d, Add4(Load4(d), v));
                        });
      ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.inner, z_.wide, l.samples, 0}, {dq, z_.inner_row},
                             LastRows(l.hat), {dq_weights, z_.wide_row});
    });
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < rows; r += at.threads) {
        const float* residual = r % s_.seq_len == s_.seq_len - 1 ? l.x + r / s_.seq_len * z_.wide_row : nullptr;
        this->NormRowBack(dhat + r * z_.wide_row, l.hat + r * z_.wide_row, l.rstd[r], residual, dhat + r * z_.wide_row);
      }
    });
  }

  // dhat of every position: Σ over heads of ds·r + p·dc.
  CAPSWEEP_HD void InputGradients(Place at, const Last& l, const float* ds, const float* dc, float* dhat) const {
    const int32_t across = z_.wide / 4;
    for (int32_t t = at.thread; t < l.samples * s_.seq_len * across; t += at.threads) {
      const int32_t row = t / across, col = 4 * (t % across), s = row / s_.seq_len, position = row % s_.seq_len;
      Float4 sum = {};
      for (int32_t h = 0; h < s_.heads; ++h) {
        const int32_t u = s * s_.heads + h;
        sum = Fma4(ds[u * z_.position_row + position], Load4(l.r + u * z_.wide_row + col), sum);
        sum = Fma4(l.p[u * z_.position_row + position], Load4(dc + u * z_.wide_row + col), sum);
      }
      Store4(dhat + row * z_.wide_row + col, sum);
    }
  }
};

}  // namespace capsweep::trainer::cuda
