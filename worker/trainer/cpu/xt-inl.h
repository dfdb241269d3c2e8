// Forward and backward pass of the family `xt` over one chunk of samples. Shapes are in cpu_model.h; B width, N
// seq_len, I = heads * head_dim, M hidden, T targets, V vocab.
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

  // The table of embedded and normed inputs, position by position. Whole: a row for every token of the vocabulary (in
  // lm, position 0 sees no token); else one for each of the chunk's sixteen samples.
  void FillTable(const Items& items, int64_t first, int64_t count) {
    const int64_t rows = RowsOfPosition();
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.width));
    for (int64_t row = 0; row < w_.table_rows; ++row) {
      const int64_t position = row / rows;
      int64_t token = row % rows;
      if (!m_.whole_table) {
        token = Token(items, first + std::min(token, count - 1), position);
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

  // Brings a chunk of `count` samples in, sixteen by sixteen: inputs of the first layer, targets and their weights
  // 1 / `terms` in the loss. Lanes beyond `count` repeat its last sample; their weight is 0, so that nothing they
  // compute is added anywhere.
  void Begin(const Items& items, int64_t first, int64_t count, float terms) {
    samples_ = (count + kLanes - 1) / kLanes;
    count_ = count - (samples_ - 1) * kLanes;
    for (int64_t i = 0; i < samples_ * kLanes; ++i) {
      const int64_t sample = std::min(i, count - 1), s = i % kLanes;
      int32_t* index = w_.table_index + i / kLanes * s_.seq_len * kLanes;
      for (int64_t p = 0; p < s_.seq_len; ++p) {
        const int64_t token = m_.whole_table ? std::max<int64_t>(Token(items, first + sample, p), 0) : sample;
        index[p * kLanes + s] = static_cast<int32_t>(p * RowsOfPosition() + token);
      }
      const int32_t* targets = items.targets + items.chosen[first + sample] * s_.targets;
      const int64_t at = i / kLanes * s_.targets * kLanes + s;
      for (int64_t t = 0; t < s_.targets; ++t) {
        w_.target_rows[at + t * kLanes] = targets[t];
        w_.share[at + t * kLanes] = i < count ? 1.0f / terms : 0.0f;
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
          index[p * kLanes + s] = static_cast<int32_t>((p * s_.vocab + token) * s_.row + s);
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
        this->AttendLast(l, [&](int64_t sample, int64_t first, int64_t count) {
          if (l == 0) GatherPositions(sample, first, std::min(count, s_.seq_len - 1 - first));
        });
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
    for (int64_t row = 0; row < Outputs(); ++row) {
      const float* logits = w_.logits + row * s_.vocab * kLanes;
      F top = Load(logits), best = Zero();
      for (int64_t v = 1; v < s_.vocab; ++v) {
        const F logit = Load(logits + v * kLanes);
        best = IfGe(top, logit, best, Set(static_cast<float>(v)));
        top = Max(top, logit);
      }
      F sum = Zero();
      for (int64_t v = 0; v < s_.vocab; ++v) sum = Add(sum, Exp(Sub(Load(logits + v * kLanes), top)));
      Store(Sub(Add(top, Log(sum)), Load(TargetLogits(row))), loss);
      Store(best, chosen);
      const int64_t before = row / s_.targets * kLanes, t = row % s_.targets;
      for (int64_t s = 0; s < std::min<int64_t>(kLanes, count - before); ++s) {
        nll[(before + s) * s_.targets + t] = loss[s];
        right[(before + s) * s_.targets + t] =
            static_cast<int32_t>(chosen[s]) == w_.target_rows[row * kLanes + s] ? 1 : 0;
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
        this->AttendLastBackward(l, l > 0, [&](int64_t sample, int64_t first, int64_t count, const float* dnormed) {
          if (l == 0) ScatterPositions(sample, first, count, dnormed);
        });
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
    // What did not go through the norm: of all rows, in a trimmed layer of those of the last position.
    const int64_t direct = Trimmed(0) ? w_.table_rows - RowsOfPosition() : 0;
    if constexpr (kModels) {
      NormBackward(w_.dtable_norm, w_.table_norm, w_.table_rstd, w_.table_rows, s_.width, w_.dtable);
      for (int64_t row = 0; row < w_.table_rows; ++row) AddTableRow(row, w_.dtable + row * s_.row);
      std::fill_n(w_.dtable, direct * s_.row, 0.0f);
    } else {
      for (int64_t row = 0; row < w_.table_rows; row += kLanes) {
        const int64_t at = row * s_.padded;
        if (row + kLanes > direct) {
          RowsToLanes(w_.dtable + at, s_.padded, w_.dx, s_.width);
        } else {
          std::fill_n(w_.dx, s_.width * kLanes, 0.0f);
        }
        RowsToLanes(w_.dtable_norm + at, s_.padded, w_.dnormed, s_.width);
        RowsToLanes(w_.table_norm + at, s_.padded, w_.x, s_.width);
        NormBackward(w_.dnormed, w_.x, w_.table_rstd + row, 1, s_.width, w_.dx);
        LanesToRows(w_.dx, s_.width, w_.rows, s_.padded);
        for (int64_t s = 0; s < kLanes && row + s < w_.table_rows; ++s) AddTableRow(row + s, w_.rows + s * s_.padded);
        std::fill_n(w_.dtable_norm + at, kLanes * s_.padded, 0.0f);
      }
    }
    std::fill_n(w_.dtable + direct * s_.row, (w_.table_rows - direct) * s_.row, 0.0f);
    if (kModels) std::fill_n(w_.dtable_norm, w_.table_rows * s_.row, 0.0f);
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
  int64_t RowsOfPosition() const { return w_.table_rows / s_.seq_len; }
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
  // `index` of a position, [16]: where lanes are samples, rows of the table; where they are models the lane's place in
  // it, and no two lanes meet there.
  const int32_t* Index(int64_t sample, int64_t position) const {
    return w_.table_index + (sample * s_.seq_len + position) * kLanes;
  }
  void Gather(const float* table, const int32_t* index, float* lanes) const {
    if constexpr (kModels) {
      for (int64_t b = 0; b < s_.row; b += kLanes) Store(Gather16(table + b, index), lanes + b);
    } else {
      RowsToLanes([=, this](int s) { return table + index[s] * s_.padded; }, lanes, s_.width);
    }
  }
  // Of the first `count` lanes, where they are samples.
  void Scatter(const float* lanes, const int32_t* index, int64_t count, float* table) const {
    if constexpr (kModels) {
      for (int64_t b = 0; b < s_.row; b += kLanes) {
        Scatter16(Add(Gather16(table + b, index), Load(lanes + b)), table + b, index);
      }
    } else {
      LanesToRows(lanes, s_.width, [=, this](int s, int64_t b, V v) {
        float* to = table + index[s] * s_.row + b;
        if (s < count) hn::Store(hn::Add(v, hn::Load(D(), to)), D(), to);
      });
    }
  }
  int64_t LanesOf(int64_t sample) const { return sample + 1 < samples_ ? kLanes : count_; }

  // The normed inputs of positions of a sample, and their gradients back to the table.
  void GatherPositions(int64_t sample, int64_t first, int64_t count) const {
    float* normed = w_.layers[0].attention_in + (sample * s_.seq_len + first) * s_.width * kLanes;
    for (int64_t p = 0; p < count; ++p, normed += s_.width * kLanes) {
      Gather(w_.table_norm, Index(sample, first + p), normed);
    }
  }
  void ScatterPositions(int64_t sample, int64_t first, int64_t count, const float* dnormed) const {
    for (int64_t p = 0; p < count; ++p, dnormed += s_.width * kLanes) {
      Scatter(dnormed, Index(sample, first + p), LanesOf(sample), w_.dtable_norm);
    }
  }
  // Where lanes are samples, Outer wants the normed inputs as they stand in the table: rows [16][padded].
  void KeepRows(const int32_t* index, float* rows) const {
    for (int64_t s = 0; s < (kModels ? 0 : kLanes); ++s) {
      std::copy_n(w_.table_norm + index[s] * s_.padded, s_.padded, rows + s * s_.padded);
    }
  }

  // In a trimmed layer of the last position alone; the attention asks for the others when it needs them.
  void GatherInput() const {
    const int64_t n = s_.seq_len, row = s_.width * kLanes, first = Trimmed(0) ? n - 1 : 0;
    int64_t place = 0;
    for (int64_t sample = 0; sample < samples_; ++sample) {
      GatherPositions(sample, first, n - first);
      for (int64_t p = first; p < n; ++p, ++place) {
        KeepRows(Index(sample, p), w_.first_rows + place * kLanes * s_.padded);
        Gather(w_.table, Index(sample, p), w_.x + place * row);
      }
    }
  }
  void ScatterInput() const {
    const int64_t n = s_.seq_len, row = s_.width * kLanes, first = Trimmed(0) ? n - 1 : 0;
    int64_t place = 0;
    for (int64_t sample = 0; sample < samples_; ++sample) {
      if (!Trimmed(0)) ScatterPositions(sample, 0, n, w_.dnormed + sample * n * row);
      for (int64_t p = first; p < n; ++p, ++place) {
        Scatter(w_.dx + place * row, Index(sample, p), LanesOf(sample), w_.dtable);
      }
    }
  }
  // Adds the gradient of a table's row to those of its position and its token.
  void AddTableRow(int64_t row, const float* dx) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(s_.width));
    this->AddRow(dx, scale, m_.grads + m_.at.positions + row / RowsOfPosition() * s_.row);
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
