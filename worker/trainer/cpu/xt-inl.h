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

template <bool kModels>
class XtPass : LayerPass<kModels> {
  using Base = LayerPass<kModels>;
  using Base::count_;
  using Base::m_;
  using Base::s_;
  using Base::samples_;
  using Base::Trimmed;
  using Base::w_;

 public:
  using Base::Base;

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
      const float* from_position = m_.weights + m_.at.positions + position * s_.row;
      const float* from_token = token < 0 ? nullptr : m_.weights + m_.at.tokens + token * s_.row;
      for (int64_t b = 0; b < s_.row; b += kLanes) {
        const F base = from_token == nullptr ? Zero() : Load(from_token + b);
        Store(MulAdd(Load(from_position + b), Set(scale), base), w_.table + row * s_.row + b);
      }
    }
    if constexpr (kModels) {
      NormForward(w_.table, w_.table_rows, s_.width, w_.table_norm, w_.table_rstd);
    } else {
      for (int64_t row = 0; row < w_.table_rows; row += kLanes) {
        RowsToLanes(w_.table + row * s_.padded, s_.padded, w_.x, s_.width);
        NormForward(w_.x, 1, s_.width, w_.dnormed, w_.table_rstd + row);
        LanesToRows(w_.dnormed, s_.width, w_.table_norm + row * s_.padded, s_.padded);
      }
    }
  }

  // Brings a chunk of `count` samples in: inputs of the first layer, targets and their weights 1 / `terms` in the loss.
  // Lanes beyond `count` repeat its last sample; their weight is 0, so that nothing they compute is added anywhere.
  void Begin(const Items& items, int64_t first, int64_t count, float terms) {
    count_ = count;
    for (int64_t s = 0; s < kLanes; ++s) {
      const int64_t sample = std::min(s, count - 1);
      for (int64_t p = 0; p < s_.seq_len; ++p) {
        const int64_t token = m_.whole_table ? std::max<int64_t>(Token(items, first + sample, p), 0) : sample;
        w_.table_index[p * kLanes + s] = static_cast<int32_t>(token * s_.seq_len + p);
      }
      const int32_t* targets = items.targets + items.chosen[first + sample] * s_.targets;
      for (int64_t t = 0; t < s_.targets; ++t) {
        w_.target_rows[t * kLanes + s] = targets[t];
        w_.share[t * kLanes + s] = s < count ? 1.0f / terms : 0.0f;
      }
    }
    GatherInput();
  }

  // The same for samples first .. first + count - 1 of every lane's batch, side by side.
  void BeginModels(const LaneItems& items, int64_t first, int64_t count) {
    samples_ = count;
    for (int64_t s = 0; s < kLanes; ++s) {
      const Items& own = items.lane[s];
      const int64_t skipped = items.first_target[s], targets = s_.targets - skipped;
      const float share = 1.0f / static_cast<float>(std::max<int64_t>(1, own.count * targets));
      for (int64_t sample = 0; sample < count; ++sample) {
        const bool present = first + sample < own.count;
        int32_t* index = w_.table_index + sample * s_.seq_len * kLanes;
        for (int64_t p = 0; p < s_.seq_len; ++p) {
          const int64_t token = present ? std::max<int64_t>(Token(own, first + sample, p), 0) : 0;
          index[p * kLanes + s] = static_cast<int32_t>((token * s_.seq_len + p) * s_.row + s);
        }
        const int64_t at = sample * s_.targets * kLanes + s;
        for (int64_t t = 0; t < s_.targets; ++t) {
          const bool counts = present && t >= skipped;
          w_.target_rows[at + t * kLanes] =
              counts ? own.targets[own.chosen[first + sample] * targets + t - skipped] : 0;
          w_.share[at + t * kLanes] = counts ? share : 0.0f;
        }
      }
    }
    GatherInput();
  }

  void Forward() {
    const int64_t row = s_.width * kLanes;
    for (int64_t l = 0; l < s_.layers; ++l) {
      const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
      if (l > 0) {
        NormForward(w_.x, samples_ * s_.seq_len, s_.width, memory.attention_in, memory.attention_rstd);
      }
      if (Trimmed(l)) {
        for (int64_t sample = 0; l > 0 && sample < samples_; ++sample) {
          std::copy_n(w_.x + ((sample + 1) * s_.seq_len - 1) * row, row, w_.x + sample * row);
        }
        this->AttendLast(l);
      } else {
        this->Attend(l);
      }
      this->Mlp(l);
    }
    NormForward(w_.x + OutputRow() * row, Outputs(), s_.width, w_.final_in, w_.final_rstd);
    this->Linear(m_.folded + m_.at.head, s_.vocab, this->template Packed<const float>(w_.final_in, s_.width), Outputs(),
                 this->Packed(w_.logits, s_.vocab));
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

  // Turns the logits into their gradient; returns what every lane adds to the mean loss.
  F LossBackward() const {
    F loss = Zero();
    for (int64_t t = 0; t < Outputs(); ++t) {
      float* logits = w_.logits + t * s_.vocab * kLanes;
      const float* shares = w_.share + t * kLanes;
      const F share = Load(shares), target = Load(TargetLogits(t));
      F top = Load(logits);
      for (int64_t v = 1; v < s_.vocab; ++v) top = Max(top, Load(logits + v * kLanes));
      F sum = Zero();
      for (int64_t v = 0; v < s_.vocab; ++v) {
        const F e = Exp(Sub(Load(logits + v * kLanes), top));
        sum = Add(sum, e);
        Store(e, logits + v * kLanes);
      }
      loss = MulAdd(Sub(Add(top, Log(sum)), target), share, loss);
      const F factor = Mul(Div(Set(1.0f), sum), share);
      for (int64_t v = 0; v < s_.vocab; ++v) Store(Mul(Load(logits + v * kLanes), factor), logits + v * kLanes);
      for (int64_t s = 0; s < kLanes; ++s) {
        logits[w_.target_rows[t * kLanes + s] * kLanes + s] -= shares[s];
      }
    }
    return loss;
  }

  // Adds the chunk's gradients: of matrices to grads (of folded ones as if the gain were part of the matrix), of the
  // input to the table.
  void Backward() {
    const int64_t row = s_.width * kLanes;
    const auto dlogits = this->template Packed<const float>(w_.logits, s_.vocab);
    this->Outer(m_.grads + m_.at.head, s_.vocab, dlogits, Outputs(),
                this->Operand(this->template Packed<const float>(w_.final_in, s_.width), Outputs()));
    this->template LinearBackward<Start::kZero>(m_.folded + m_.at.head, s_.vocab, dlogits, Outputs(),
                                                this->Packed(w_.dnormed, s_.width));
    std::fill_n(w_.dx, this->Rows(s_.layers - 1) * row, 0.0f);
    NormBackward(w_.dnormed, w_.final_in, w_.final_rstd, Outputs(), s_.width, w_.dx + OutputRow() * row);
    for (int64_t l = s_.layers - 1; l >= 0; --l) {
      this->MlpBackward(l);
      if (Trimmed(l)) {
        this->AttendLastBackward(l);
      } else {
        this->AttendBackward(l);
      }
      if (l > 0) {
        const LayerMemory& memory = w_.layers[static_cast<size_t>(l)];
        if (Trimmed(l)) {
          SpreadLastRows();
        }
        NormBackward(w_.dnormed, memory.attention_in, memory.attention_rstd, samples_ * s_.seq_len, s_.width, w_.dx);
      }
    }
    ScatterInput();
  }

  // The gradient of the embeddings from that of the table, which is left zero.
  void FinishTable() {
    if constexpr (kModels) {
      NormBackward(w_.dtable_norm, w_.table_norm, w_.table_rstd, w_.table_rows, s_.width, w_.dtable);
      for (int64_t row = 0; row < w_.table_rows; ++row) AddTableRow(row, w_.dtable + row * s_.row);
    } else {
      for (int64_t row = 0; row < w_.table_rows; row += kLanes) {
        const int64_t at = row * s_.padded;
        RowsToLanes(w_.dtable + at, s_.padded, w_.dx, s_.width);
        RowsToLanes(w_.dtable_norm + at, s_.padded, w_.dnormed, s_.width);
        RowsToLanes(w_.table_norm + at, s_.padded, w_.x, s_.width);
        NormBackward(w_.dnormed, w_.x, w_.table_rstd + row, 1, s_.width, w_.dx);
        LanesToRows(w_.dx, s_.width, w_.rows, s_.padded);
        for (int64_t s = 0; s < kLanes && row + s < w_.table_rows; ++s) AddTableRow(row + s, w_.rows + s * s_.padded);
      }
    }
    std::fill_n(w_.dtable, w_.table_rows * s_.row, 0.0f);
    std::fill_n(w_.dtable_norm, w_.table_rows * s_.row, 0.0f);
  }

  // After the last chunk: splits the gradients of folded matrices into those of matrix and gain, sums up the biases.
  void Unfold() {
    for (int64_t l = 0; l < s_.layers; ++l) {
      const LayerOffsets& at = m_.at.layers[static_cast<size_t>(l)];
      UnfoldRows(at.qkv, at.attention_norm, 3 * s_.inner);
      if (kModels) {
        if (!s_.freeze_mlp) UnfoldRows(at.up, at.mlp_norm, s_.hidden);
      } else if (s_.freeze_mlp) {
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
  // Rows of logits.
  int64_t Outputs() const { return samples_ * s_.targets; }
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
    for (int64_t b = 0; b < s_.row; b += kLanes) {
      const F g = Load(m_.weights + gain + b);
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t at = matrix + o * s_.row + b;
        Store(Mul(Load(m_.weights + at), g), m_.folded + at);
      }
    }
  }
  void UnfoldRows(int64_t matrix, int64_t gain, int64_t rows) const {
    for (int64_t b = 0; b < s_.row; b += kLanes) {
      const F g = Load(m_.weights + gain + b);
      F dgain = Zero();
      for (int64_t o = 0; o < rows; ++o) {
        const int64_t at = matrix + o * s_.row + b;
        const F d = Load(m_.grads + at);
        dgain = MulAdd(d, Load(m_.weights + at), dgain);
        Store(Mul(d, g), m_.grads + at);
      }
      Store(dgain, m_.grads + gain + b);
    }
  }
  // ---- first layer's input ----
  // Where lanes are samples `index` is a row of the table, and `rows` also receives what was gathered, as rows. Where
  // they are models it is the lane's place in the table, and no two lanes meet there.
  void Gather(const float* table, const int32_t* index, float* rows, float* lanes) const {
    if constexpr (kModels) {
      for (int64_t b = 0; b < s_.row; b += kLanes) Store(Gather16(table + b, index), lanes + b);
    } else {
      for (int64_t s = 0; s < kLanes; ++s) {
        const float* from = table + index[s] * s_.padded;
        for (int64_t b = 0; b < s_.padded; b += kLanes) Store(Load(from + b), rows + s * s_.padded + b);
      }
      RowsToLanes(rows, s_.padded, lanes, s_.width);
    }
  }
  void Scatter(const float* lanes, const int32_t* index, float* table) const {
    if constexpr (kModels) {
      for (int64_t b = 0; b < s_.row; b += kLanes) {
        Scatter16(Add(Gather16(table + b, index), Load(lanes + b)), table + b, index);
      }
    } else {
      LanesToRows(lanes, s_.width, w_.rows, s_.padded);
      for (int64_t s = 0; s < count_; ++s) this->AddRow(w_.rows + s * s_.padded, 1.0f, table + index[s] * s_.row);
    }
  }
  void GatherInput() const {
    const int64_t n = s_.seq_len, row = s_.width * kLanes;
    for (int64_t p = 0; p < samples_ * n; ++p) {
      const int32_t* index = w_.table_index + p * kLanes;
      float* rows = kModels ? nullptr : w_.first_rows + p * kLanes * s_.padded;
      Gather(w_.table_norm, index, rows, w_.layers[0].attention_in + p * row);
      if (!Trimmed(0)) {
        Gather(w_.table, index, w_.rows, w_.x + p * row);
      } else if ((p + 1) % n == 0) {
        Gather(w_.table, index, w_.rows, w_.x + p / n * row);
      }
    }
  }
  void ScatterInput() const {
    const int64_t n = s_.seq_len, row = s_.width * kLanes;
    for (int64_t p = 0; p < samples_ * n; ++p) {
      const int32_t* index = w_.table_index + p * kLanes;
      Scatter(w_.dnormed + p * row, index, w_.dtable_norm);
      if (!Trimmed(0)) {
        Scatter(w_.dx + p * row, index, w_.dtable);
      } else if ((p + 1) % n == 0) {
        Scatter(w_.dx + p / n * row, index, w_.dtable);
      }
    }
  }
  // Adds the gradient of a table's row to those of its position and its token.
  void AddTableRow(int64_t row, const float* dx) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.width));
    this->AddRow(dx, scale, m_.grads + m_.at.positions + row % s_.seq_len * s_.row);
    if (const int64_t token = w_.table_token[row]; token >= 0) {
      this->AddRow(dx, 1.0f, m_.grads + m_.at.tokens + token * s_.row);
    }
  }
  // The one row of each sample in a trimmed layer becomes the last of its seq_len rows.
  void SpreadLastRows() const {
    const int64_t row = s_.width * kLanes, n = s_.seq_len;
    for (int64_t sample = samples_ - 1; n > 1 && sample >= 0; --sample) {
      std::copy_n(w_.dx + sample * row, row, w_.dx + ((sample + 1) * n - 1) * row);
      std::fill_n(w_.dx + sample * n * row, (n - 1) * row, 0.0f);
    }
  }

  alignas(64) mutable float target_logits_[kLanes];
};

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
