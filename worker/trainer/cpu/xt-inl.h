// Forward and backward pass of the family `xt` over one chunk of up to 16 samples, lane = sample. Shapes are in
// cpu_model.h; B width, N seq_len, I = heads * head_dim, M hidden, T targets, V vocab.
#if defined(CAPSWEEP_CPU_XT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAPSWEEP_CPU_XT_INL_H_
#undef CAPSWEEP_CPU_XT_INL_H_
#else
#define CAPSWEEP_CPU_XT_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/trainer/cpu/layers-inl.h"

HWY_BEFORE_NAMESPACE();
namespace capsweep::trainer::cpu {
namespace HWY_NAMESPACE {

class XtPass : LayerPass {
 public:
  using LayerPass::LayerPass;

  // Folds every gain into the matrix behind its norm: what follows a norm then works on the normed input itself.
  void Fold() {
    for (const LayerOffsets& at : m_.at.layers) {
      FoldRows(at.qkv, at.attention_norm, 3 * s_.inner);
      FoldRows(at.up, at.mlp_norm, s_.hidden);
    }
    FoldRows(m_.at.head, m_.at.final_norm, s_.vocab);
  }

  // The table of embedded and normed inputs. Whole: row token * N + position (in lm, row 0 is position 0 of every
  // sample, which sees no token). Else: row sample * N + position of the chunk.
  void FillTable(const Items& items, int64_t first, int64_t count) {
    const int64_t n = s_.seq_len;
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.width));
    for (int64_t row = 0; row < w_.table_rows; ++row) {
      const int64_t position = row % n;
      int64_t token = row / n;
      if (!m_.whole_table) {
        token = Token(items, first + std::min(row / n, count - 1), position);
      } else if (s_.lm && position == 0) {
        token = -1;
      }
      w_.table_token[row] = static_cast<int32_t>(token);
      const float* from_position = m_.weights + m_.at.positions + position * s_.padded;
      const float* from_token = token < 0 ? nullptr : m_.weights + m_.at.tokens + token * s_.padded;
      for (int64_t b = 0; b < s_.padded; b += kLanes) {
        const F base = from_token == nullptr ? Zero() : Load(from_token + b);
        Store(MulAdd(Load(from_position + b), Set(scale), base), w_.table + row * s_.padded + b);
      }
    }
    for (int64_t row = 0; row < w_.table_rows; row += kLanes) {
      RowsToLanes(w_.table + row * s_.padded, s_.padded, w_.x, s_.width);
      NormForward(w_.x, 1, s_.width, w_.dnormed, w_.table_rstd + row);
      LanesToRows(w_.dnormed, s_.width, w_.table_norm + row * s_.padded, s_.padded);
    }
  }

  // Brings a chunk of `count` samples in: inputs of the first layer and targets. Lanes beyond `count` repeat its last
  // sample; what they compute is never added to anything.
  void Begin(const Items& items, int64_t first, int64_t count) {
    count_ = count;
    for (int64_t p = 0; p < s_.seq_len; ++p) {
      int32_t* index = w_.table_index + p * kLanes;
      for (int64_t s = 0; s < kLanes; ++s) {
        const int64_t sample = std::min(s, count - 1);
        const int64_t token = m_.whole_table ? std::max<int64_t>(Token(items, first + sample, p), 0) : sample;
        index[s] = static_cast<int32_t>(token * s_.seq_len + p);
      }
      Gather(w_.table_norm, index, w_.first_rows + p * kLanes * s_.padded,
             w_.layers[0].attention_in + p * s_.width * kLanes);
      if (!Trimmed(0)) {
        Gather(w_.table, index, w_.rows, w_.x + p * s_.width * kLanes);
      } else if (p + 1 == s_.seq_len) {
        Gather(w_.table, index, w_.rows, w_.x);
      }
    }
    for (int64_t t = 0; t < s_.targets; ++t) {
      for (int64_t s = 0; s < kLanes; ++s) {
        const int64_t item = items.chosen[first + std::min(s, count - 1)];
        w_.target_rows[t * kLanes + s] = items.targets[item * s_.targets + t];
      }
    }
  }

  void Forward() {
    for (int64_t l = 0; l < s_.layers; ++l) {
      const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
      if (l > 0) {
        NormForward(w_.x, s_.seq_len, s_.width, memory.attention_in, memory.attention_rstd);
      }
      if (Trimmed(l)) {
        if (l > 0) {
          std::copy_n(w_.x + (s_.seq_len - 1) * s_.width * kLanes, s_.width * kLanes, w_.x);
        }
        AttendLast(l);
      } else {
        Attend(l);
      }
      Mlp(l);
    }
    NormForward(w_.x + OutputRow() * s_.width * kLanes, s_.targets, s_.width, w_.final_in, w_.final_rstd);
    Linear(m_.folded + m_.at.head, s_.vocab, w_.final_in, s_.targets, w_.logits);
  }

  // For the chunk's samples: negative log likelihood of every target in nats and whether it is the arg max, both
  // [count][targets].
  void Judge(int64_t count, float* nll, uint8_t* right) const {
    HWY_ALIGN float loss[kLanes];
    HWY_ALIGN float chosen[kLanes];
    for (int64_t t = 0; t < s_.targets; ++t) {
      const float* logits = w_.logits + t * s_.vocab * kLanes;
      F top = Load(logits), best = Zero();
      for (int64_t v = 1; v < s_.vocab; ++v) {
        const F logit = Load(logits + v * kLanes);
        best = IfGe(top, logit, best, Set(static_cast<float>(v)));
        top = Max(top, logit);
      }
      F sum = Zero();
      for (int64_t v = 0; v < s_.vocab; ++v) sum = Add(sum, Exp(Sub(Load(logits + v * kLanes), top)));
      Store(Sub(Add(top, Log(sum)), Load(TargetLogits(t))), loss);
      Store(best, chosen);
      for (int64_t s = 0; s < count; ++s) {
        nll[s * s_.targets + t] = loss[s];
        right[s * s_.targets + t] = static_cast<int32_t>(chosen[s]) == w_.target_rows[t * kLanes + s] ? 1 : 0;
      }
    }
  }

  // Turns the logits into their gradient of the loss divided by `terms`; returns the loss of every lane, undivided.
  F LossBackward(float terms) {
    HWY_ALIGN float share[kLanes] = {};
    std::fill_n(share, count_, 1.0f / terms);
    const F scale = Load(share);
    F loss = Zero();
    for (int64_t t = 0; t < s_.targets; ++t) {
      float* logits = w_.logits + t * s_.vocab * kLanes;
      const F target = Load(TargetLogits(t));
      F top = Load(logits);
      for (int64_t v = 1; v < s_.vocab; ++v) top = Max(top, Load(logits + v * kLanes));
      F sum = Zero();
      for (int64_t v = 0; v < s_.vocab; ++v) {
        const F e = Exp(Sub(Load(logits + v * kLanes), top));
        sum = Add(sum, e);
        Store(e, logits + v * kLanes);
      }
      loss = Add(loss, Sub(Add(top, Log(sum)), target));
      const F factor = Mul(Div(Set(1.0f), sum), scale);
      for (int64_t v = 0; v < s_.vocab; ++v) Store(Mul(Load(logits + v * kLanes), factor), logits + v * kLanes);
      for (int64_t s = 0; s < kLanes; ++s) {
        logits[w_.target_rows[t * kLanes + s] * kLanes + s] -= share[s];
      }
    }
    std::fill_n(share, count_, 1.0f);
    return Mul(loss, Load(share));
  }

  // Adds the chunk's gradients: of matrices to grads (of folded ones as if the gain were part of the matrix), of the
  // input to the table.
  void Backward() {
    float* grads = m_.grads;
    LanesToRowsEach(w_.final_in, s_.targets);
    Outer(grads + m_.at.head, s_.vocab, w_.logits, s_.targets, s_.vocab, w_.rows);
    LinearBackward(m_.folded + m_.at.head, s_.vocab, w_.logits, s_.targets, s_.vocab, w_.dnormed, Start::kZero);
    const int64_t rows = Trimmed(s_.layers - 1) ? 1 : s_.seq_len;
    std::fill_n(w_.dx, rows * s_.width * kLanes, 0.0f);
    NormBackward(w_.dnormed, w_.final_in, w_.final_rstd, s_.targets, s_.width, w_.dx + OutputRow() * s_.width * kLanes);
    for (int64_t l = s_.layers - 1; l >= 0; --l) {
      MlpBackward(l);
      if (Trimmed(l)) {
        AttendLastBackward(l);
      } else {
        AttendBackward(l);
      }
      if (l > 0) {
        const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
        if (Trimmed(l)) {
          SpreadLastRow();
        }
        NormBackward(w_.dnormed, memory.attention_in, memory.attention_rstd, s_.seq_len, s_.width, w_.dx);
      }
    }
    ScatterInput();
  }

  // The gradient of the embeddings from that of the table, which is left zero.
  void FinishTable() {
    const int64_t n = s_.seq_len;
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.width));
    for (int64_t row = 0; row < w_.table_rows; row += kLanes) {
      const int64_t at = row * s_.padded;
      RowsToLanes(w_.dtable + at, s_.padded, w_.dx, s_.width);
      RowsToLanes(w_.dtable_norm + at, s_.padded, w_.dnormed, s_.width);
      RowsToLanes(w_.table_norm + at, s_.padded, w_.x, s_.width);
      NormBackward(w_.dnormed, w_.x, w_.table_rstd + row, 1, s_.width, w_.dx);
      LanesToRows(w_.dx, s_.width, w_.rows, s_.padded);
      for (int64_t s = 0; s < kLanes && row + s < w_.table_rows; ++s) {
        const int64_t position = (row + s) % n;
        const float* dx = w_.rows + s * s_.padded;
        AddRow(dx, scale, m_.grads + m_.at.positions + position * s_.padded);
        const int64_t token = w_.table_token[row + s];
        if (token >= 0) {
          AddRow(dx, 1.0f, m_.grads + m_.at.tokens + token * s_.padded);
        }
      }
    }
    std::fill_n(w_.dtable, w_.table_rows * s_.padded, 0.0f);
    std::fill_n(w_.dtable_norm, w_.table_rows * s_.padded, 0.0f);
  }

  // After the last chunk: splits the gradients of folded matrices into those of matrix and gain, sums up the biases.
  void Unfold() {
    for (int64_t l = 0; l < s_.layers; ++l) {
      const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
      UnfoldRows(at.qkv, at.attention_norm, 3 * s_.inner);
      if (s_.freeze_mlp) {
        const float* lanes = w_.lane_gain + l * s_.width * kLanes;
        for (int64_t b = 0; b < s_.width; ++b) m_.grads[at.mlp_norm + b] = SumLanes(Load(lanes + b * kLanes));
      } else {
        UnfoldRows(at.up, at.mlp_norm, s_.hidden);
        const float* lanes = w_.lane_bias + l * s_.hidden * kLanes;
        for (int64_t j = 0; j < s_.hidden; ++j) m_.grads[at.up_bias + j] = SumLanes(Load(lanes + j * kLanes));
      }
    }
    UnfoldRows(m_.at.head, m_.at.final_norm, s_.vocab);
  }

 private:
  // Row of the residual stream at which the outputs begin.
  int64_t OutputRow() const { return s_.label ? 0 : s_.first_target; }

  // Input token of a sample at a position; -1 where none is shown.
  int64_t Token(const Items& items, int64_t sample, int64_t position) const {
    const int64_t shown = position - (s_.lm ? 1 : 0);
    return shown < 0 ? -1 : items.tokens[items.chosen[sample] * s_.seq_len + shown];
  }

  const float* TargetLogits(int64_t t) const {
    for (int64_t s = 0; s < kLanes; ++s) {
      target_logits_[s] = w_.logits[(t * s_.vocab + w_.target_rows[t * kLanes + s]) * kLanes + s];
    }
    return target_logits_;
  }

  void FoldRows(int64_t matrix, int64_t gain, int64_t rows) const {
    for (int64_t b = 0; b < s_.padded; b += kLanes) {
      const F g = Load(m_.weights + gain + b);
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t at = matrix + o * s_.padded + b;
        Store(Mul(Load(m_.weights + at), g), m_.folded + at);
      }
    }
  }
  void UnfoldRows(int64_t matrix, int64_t gain, int64_t rows) const {
    for (int64_t b = 0; b < s_.padded; b += kLanes) {
      const F g = Load(m_.weights + gain + b);
      F dgain = Zero();
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t at = matrix + o * s_.padded + b;
        const F d = Load(m_.grads + at);
        dgain = MulAdd(d, Load(m_.weights + at), dgain);
        Store(Mul(d, g), m_.grads + at);
      }
      Store(dgain, m_.grads + gain + b);
    }
  }
  // ---- first layer's input ----
  void Gather(const float* table, const int32_t* index, float* rows, float* lanes) const {
    for (int64_t s = 0; s < kLanes; ++s) {
      const float* from = table + index[s] * s_.padded;
      for (int64_t b = 0; b < s_.padded; b += kLanes) Store(Load(from + b), rows + s * s_.padded + b);
    }
    RowsToLanes(rows, s_.padded, lanes, s_.width);
  }
  void Scatter(const float* lanes, const int32_t* index, float* table) const {
    LanesToRows(lanes, s_.width, w_.rows, s_.padded);
    for (int64_t s = 0; s < count_; ++s) AddRow(w_.rows + s * s_.padded, 1.0f, table + index[s] * s_.padded);
  }
  void ScatterInput() const {
    for (int64_t p = 0; p < s_.seq_len; ++p) {
      const int32_t* index = w_.table_index + p * kLanes;
      Scatter(w_.dnormed + p * s_.width * kLanes, index, w_.dtable_norm);
      if (!Trimmed(0)) {
        Scatter(w_.dx + p * s_.width * kLanes, index, w_.dtable);
      } else if (p + 1 == s_.seq_len) {
        Scatter(w_.dx, index, w_.dtable);
      }
    }
  }
  // The one row of a trimmed layer becomes the last of seq_len rows.
  void SpreadLastRow() const {
    const int64_t row = s_.width * kLanes;
    if (s_.seq_len > 1) {
      std::copy_n(w_.dx, row, w_.dx + (s_.seq_len - 1) * row);
      std::fill_n(w_.dx, (s_.seq_len - 1) * row, 0.0f);
    }
  }

  alignas(64) mutable float target_logits_[kLanes];
};

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
