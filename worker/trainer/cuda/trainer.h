// A slot's run in one thread block: steps, evaluations and the decisions between them, until the launch's time is over.
#pragma once

#include "worker/trainer/adam.h"
#include "worker/trainer/cuda/last_attention.h"
#include "worker/trainer/data/order.h"

namespace capsweep::trainer::cuda {

template <class Kernel>
class Trainer : public LastAttention<Kernel> {
 public:
  CAPSWEEP_HD Trainer(const Kernel& kernel, const Task& task, TaskState& state, typename Kernel::Run& run)
      : LastAttention<Kernel>(kernel, task, run),
        state_(state),
        control_(reinterpret_cast<Control*>(this->Floats(kControl))) {}

  // Trains and evaluates for about `nanoseconds`, at least one step or one chunk of an evaluation.
  CAPSWEEP_HD void RunFor(uint64_t nanoseconds) {
    Begin();
    while (control_->go != 0) {
      if (control_->evaluate != 0) {
        EvaluateChunk(nanoseconds);
      } else {
        Step(nanoseconds);
      }
    }
  }

  // The weights as products use them, and the first decision.
  CAPSWEEP_HD void Begin() {
    run_([=, this](Place at) {
      for (int32_t i = at.thread; i < at_.total; i += at.threads) {
        Floats(kWeights)[i] = FoldedWeight(i);
      }
      if (at.thread == 0) {
        control_->since = run_.Nanoseconds();
        state_.count = 0;
        state_.nanoseconds_train = state_.nanoseconds_eval = 0;
        Decide(~uint64_t{0});
      }
    });
  }

  // One optimizer step as Control says.
  CAPSWEEP_HD void Step(uint64_t nanoseconds) {
    const Control c = *control_;
    run_([=, this](Place at) {
      for (int32_t i = at.thread; i < at_.train; i += at.threads) Floats(kGrads)[i] = 0;
      DrawItems(at, c, 0);
    });
    for (int32_t start = 0; start < c.size; start += this->ChunkSamplesHere()) {
      const int32_t samples = Smaller(this->ChunkSamplesHere(), c.size - start);
      Forward(samples);
      Loss(samples, Divide(1.0f, static_cast<float>(c.size * task_.course.targets)));
      Backward(samples);
      // The last work on a chunk shares its phase with the first of what follows.
      run_([=, this](Place at) {
        EmbeddingBackward(at, samples);
        if (start + samples < c.size) {
          DrawItems(at, c, start + samples);
        } else {
          UpdateGains(at, c);
          if (at.thread == at.threads - 1) {
            FinishStep(c);
            Decide(nanoseconds);
          }
        }
      });
    }
    Update(c);
  }

  // The next items of the evaluation under way.
  CAPSWEEP_HD void EvaluateChunk(uint64_t nanoseconds) {
    const int32_t samples = control_->size;
    const int64_t first = control_->first;
    run_([=, this](Place at) {
      for (int32_t s = at.thread; s < samples; s += at.threads) Ints(kItems)[s] = static_cast<int32_t>(first + s);
    });
    Forward(samples);
    Loss(samples, 0.0f);
    if (s_.mode != TaskMode::kLabel) {
      run_([=, this](Place at) { SumItems(at, samples); });
    }
    run_([=, this](Place at) {
      if (at.thread == 0) {
        CountItems(samples);
        FinishChunk(samples);
        Decide(nanoseconds);
      }
    });
  }

 private:
  using Base = LastAttention<Kernel>;
  using Base::at_;
  using Base::run_;
  using Base::s_;
  using Base::task_;
  using Base::z_;
  CAPSWEEP_HD float* Floats(Piece piece) const { return Base::Floats(piece); }
  CAPSWEEP_HD int32_t* Ints(Piece piece) const { return Base::Ints(piece); }
  CAPSWEEP_HD int32_t Targets() const {
    return s_.mode == TaskMode::kLabel ? 1
           : s_.mode == TaskMode::kSeq ? s_.seq_len
                                       : static_cast<int32_t>(task_.course.targets);
  }
  CAPSWEEP_HD int32_t FirstTarget() const { return s_.mode == TaskMode::kLm ? task_.first_target : 0; }

  // ---- decisions, by thread 0 ----

  // What comes next: another step, a chunk of an evaluation, or the end of the launch.
  CAPSWEEP_HD void Decide(uint64_t nanoseconds) {
    Control& c = *control_;
    c.loss = 0;
    c.items_mem = c.tokens_mem = 0;
    const bool possible =
        state_.progress.evaluation_due ? state_.count < kEvaluationsKept : state_.progress.step < task_.rates_end;
    c.go = state_.stop == Stop::kNone && state_.failure == TaskFailure::kNone && possible &&
                   run_.Nanoseconds() < nanoseconds
               ? 1
               : 0;
    if (c.go == 0) {
      return;  // there may be no next step
    }
    c.evaluate = state_.progress.evaluation_due ? 1 : 0;
    if (c.evaluate != 0) {
      const int64_t left = task_.course.dataset_size - state_.evaluated;
      c.first = state_.evaluated;
      c.size = this->ChunkSamplesHere() < left ? this->ChunkSamplesHere() : static_cast<int32_t>(left);
    } else {
      const Batch batch = NextBatch(task_.course, state_.progress);
      c.epoch = batch.epoch;
      c.first = batch.first;
      c.size = static_cast<int32_t>(batch.size);
      const float* rates = task_.rates + 2 * (state_.progress.step - task_.rates_first);
      c.rate = rates[0];
      c.correction2 = rates[1];
    }
  }

  CAPSWEEP_HD void Account(int64_t& nanoseconds) {
    const uint64_t now = run_.Nanoseconds();
    nanoseconds += static_cast<int64_t>(now - control_->since);
    control_->since = now;
  }

  CAPSWEEP_HD void FinishStep(const Control& c) {
    const double loss = control_->loss / static_cast<double>(c.size * task_.course.targets);
    Account(state_.nanoseconds_train);
    if (!Finite(loss)) {
      state_.failure = TaskFailure::kLoss;
      state_.failed_loss = loss;
      return;
    }
    AfterStep(task_.course, state_.progress, loss);
    state_.evaluated = state_.items_mem = state_.tokens_mem = 0;
    state_.nll_nats = 0;
  }

  CAPSWEEP_HD void FinishChunk(int32_t samples) {
    state_.evaluated += samples;
    state_.items_mem += control_->items_mem;
    state_.tokens_mem += control_->tokens_mem;
    state_.nll_nats += control_->loss;
    Account(state_.nanoseconds_eval);
    if (state_.evaluated < task_.course.dataset_size) {
      return;
    }
    if (!Finite(state_.nll_nats)) {
      state_.failure = TaskFailure::kEvaluation;
      return;
    }
    state_.evaluations[state_.count++] = {state_.progress.step, state_.items_mem, state_.tokens_mem, state_.nll_nats,
                                          state_.progress.train_loss};
    state_.stop = AfterEvaluation(task_.course, state_.progress, state_.items_mem);
  }

  // ---- forward ----

  // The items of the chunk that begins at place `start` of the batch.
  CAPSWEEP_HD void DrawItems(Place at, const Control& c, int32_t start) const {
    const int32_t samples = Smaller(this->ChunkSamplesHere(), c.size - start);
    if (at.thread >= samples) return;
    const EpochOrder order(task_.init_seed, c.epoch, task_.course.dataset_size);
    for (int32_t s = at.thread; s < samples; s += at.threads) {
      Ints(kItems)[s] = static_cast<int32_t>(order.At(c.first + start + s));
    }
  }

  CAPSWEEP_HD void Forward(int32_t samples) {
    for (int32_t layer = 0; layer < s_.layers; ++layer) {
      EnterLayer(layer, samples);
      const auto also = [=, this](Place at) {
        if (layer == 0) LinkTokens(at, samples * s_.seq_len);
      };
      if (this->Trimmed(layer)) {
        this->LastForward(this->LastOf(samples), also);
      } else {
        this->AttentionForward(this->AttentionOf(layer, samples), also);
      }
      this->MlpForward(this->MlpOf(layer, samples));
    }
  }

  // Embeds before the first layer, and takes the norm in front of a layer's attention.
  CAPSWEEP_HD void EnterLayer(int32_t layer, int32_t samples) {
    float* x = Floats(kX);
    float* hat = this->OfLayer(kHat1, layer, z_.wide_row);
    float* rstd = this->OfLayer(kRstd1, layer, 1);
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < samples * s_.seq_len; r += at.threads) {
        if (layer == 0) EmbedRow(r, x + r * z_.wide_row);
        this->NormRow(x + r * z_.wide_row, hat + r * z_.wide_row, rstd + r);
      }
    });
  }

  CAPSWEEP_HD float PositionScale() const { return Divide(1.0f, Sqrt(static_cast<float>(s_.width))); }

  // In mode lm a position sees the token before it, and position 0 none.
  CAPSWEEP_HD void EmbedRow(int32_t row, float* x) const {
    const int32_t position = row % s_.seq_len, shown = s_.mode == TaskMode::kLm ? position - 1 : position;
    const int64_t item = Ints(kItems)[row / s_.seq_len];
    const int32_t token = shown < 0 ? -1 : task_.tokens[item * s_.seq_len + shown];
    Ints(kTokens)[row] = token;
    const float* weights = Floats(kWeights);
    const float* embedding = weights + at_.tokens + (token < 0 ? 0 : token) * z_.wide_row;
    const float* positions = weights + at_.positions + position * z_.wide_row;
    for (int32_t i = 0; i < z_.wide; ++i) x[i] = Fma(positions[i], PositionScale(), token < 0 ? 0.0f : embedding[i]);
  }

  // Rows of one token as a list in the order of the rows: gradients of embeddings are then added without a search.
  CAPSWEEP_HD void LinkTokens(Place at, int32_t rows) const {
    const int32_t* tokens = Ints(kTokens);
    for (int32_t r = at.thread; r < rows; r += at.threads) {
      int32_t next = r + 1, before = r - 1;
      while (next < rows && tokens[next] != tokens[r]) ++next;
      while (before >= 0 && tokens[before] != tokens[r]) --before;
      Ints(kLinks)[r] = tokens[r] < 0 ? 0 : 2 * (next < rows ? next + 1 : 0) + (before < 0 ? 1 : 0);
    }
  }

  // ---- head and loss ----

  // The final norm, the logits of every target, its loss, whether it is the arg max, and the gradient of the logits
  // times `share`.
  CAPSWEEP_HD void Loss(int32_t samples, float share) {
    const int32_t targets = Targets(), rows = samples * targets;
    float* hat = Floats(kFinalHat);
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < rows; r += at.threads) {
        this->NormRow(OutputRow(r), hat + r * z_.wide_row, Floats(kFinalRstd) + r);
      }
    });
    run_([=, this](Place at) {
      float* logits = Floats(kLogits);
      RowsByRows(at, {1, 1, rows, z_.vocab, z_.wide, this->ChunkSamplesHere() * targets}, {hat, z_.wide_row},
                 {Floats(kWeights) + at_.head, z_.wide_row},
                 [=, this](int32_t, int32_t, int32_t r, int32_t c, float v) { logits[r * z_.vocab_row + c] = v; });
    });
    run_([=, this](Place at) {
      for (int32_t r = at.thread; r < rows; r += at.threads) {
        const int64_t item = Ints(kItems)[r / targets];
        LossRow(r, task_.target_tokens[item * targets + r % targets], share);
      }
      if (s_.mode == TaskMode::kLabel) SumItems(at, samples);  // a thread's rows are its items
    });
  }

  // The residual stream behind the last layer at a target, and on the way back its gradient.
  CAPSWEEP_HD float* OutputRow(int32_t row) const {
    if (s_.mode == TaskMode::kLabel) {
      return Floats(kLastX) + row * z_.wide_row;
    }
    const int32_t targets = Targets();
    return Floats(kX) + (row / targets * s_.seq_len + FirstTarget() + row % targets) * z_.wide_row;
  }

  CAPSWEEP_HD void LossRow(int32_t row, int32_t target, float share) const {
    float* logits = Floats(kLogits) + row * z_.vocab_row;
    int32_t best = 0;  // the lowest index on ties
    for (int32_t v = 1; v < s_.vocab; ++v) best = logits[v] > logits[best] ? v : best;
    const float top = logits[best], of_target = logits[target];
    float sum = 0;
    for (int32_t v = 0; v < s_.vocab; ++v) {
      logits[v] = Exp(logits[v] - top);
      sum += logits[v];
    }
    const float nll = Log(sum) - (of_target - top);
    // Rounding may leave a certain target just below zero.
    Floats(kRowLoss)[row] = nll < 0 ? 0 : nll;
    Ints(kRowRight)[row] = best == target ? 1 : 0;
    const float inverse = Divide(1.0f, sum);
    for (int32_t v = 0; v < s_.vocab; ++v) {
      logits[v] = (logits[v] * inverse - (v == target ? 1.0f : 0.0f)) * share;
    }
    for (int32_t v = s_.vocab; v < z_.vocab; ++v) logits[v] = 0;
  }

  // Loss and right targets of every item.
  CAPSWEEP_HD void SumItems(Place at, int32_t samples) const {
    const int32_t targets = Targets();
    for (int32_t s = at.thread; s < samples; s += at.threads) {
      double loss = 0;
      int32_t right = 0;
      for (int32_t t = 0; t < targets; ++t) {
        loss += static_cast<double>(Floats(kRowLoss)[s * targets + t]);
        right += Ints(kRowRight)[s * targets + t];
      }
      reinterpret_cast<double*>(Floats(kItemLoss))[s] = loss;
      Ints(kItemRight)[s] = right;
    }
  }
  CAPSWEEP_HD void CountItems(int32_t samples) const {
    for (int32_t s = 0; s < samples; ++s) {
      control_->loss += reinterpret_cast<const double*>(Floats(kItemLoss))[s];
      control_->tokens_mem += Ints(kItemRight)[s];
      control_->items_mem += Ints(kItemRight)[s] == Targets() ? 1 : 0;
    }
  }

  // ---- backward ----

  CAPSWEEP_HD void Backward(int32_t samples) {
    HeadBackward(samples);
    for (int32_t layer = s_.layers - 1; layer >= 0; --layer) {
      this->MlpBackward(this->MlpOf(layer, samples));
      if (this->Trimmed(layer)) {
        this->LastBackward(this->LastOf(samples));
      } else {
        this->AttentionBackward(this->AttentionOf(layer, samples));
      }
    }
  }

  CAPSWEEP_HD void HeadBackward(int32_t samples) {
    const int32_t targets = Targets(), rows = samples * targets;
    float* dhat = Floats(s_.mode == TaskMode::kLabel ? kLastDHat : kDHat);
    run_([=, this](Place at) {
      float* dlogits = Floats(kLogits);
      int32_t jobs = RowsByColumns(at, {1, 1, rows, z_.wide, z_.vocab, this->ChunkSamplesHere() * targets},
                                   {dlogits, z_.vocab_row}, {Floats(kWeights) + at_.head, z_.wide_row},
                                   [=, this](int32_t, int32_t, int32_t r, int32_t c, const Float4& v) {
                                     Store4(dhat + r * z_.wide_row + c, v);
                                   });
      jobs += ColumnsByColumns<true>(at.After(jobs), {1, 1, z_.vocab, z_.wide, rows, 0}, {dlogits, z_.vocab_row},
                                     {Floats(kFinalHat), z_.wide_row}, {Floats(kGrads) + at_.head, z_.wide_row});
      if (s_.mode != TaskMode::kLabel) SumItems(at.After(jobs), samples);
    });
    run_([=, this](Place at) {
      const int32_t all = s_.mode == TaskMode::kLabel ? samples : samples * s_.seq_len;
      for (int32_t r = at.thread; r < all; r += at.threads) FinalNormBackward(r, dhat);
      if (at.thread == at.threads - 1) CountItems(samples);
    });
  }

  // `row`: of the residual stream behind the last layer.
  CAPSWEEP_HD void FinalNormBackward(int32_t row, const float* dhat) const {
    int32_t target = row;
    if (s_.mode == TaskMode::kLm) {
      const int32_t position = row % s_.seq_len - FirstTarget();
      if (position < 0) {
        for (int32_t i = 0; i < z_.wide; ++i) Floats(kX)[row * z_.wide_row + i] = 0;
        return;
      }
      target = row / s_.seq_len * Targets() + position;
    }
    this->NormRowBack(dhat + target * z_.wide_row, Floats(kFinalHat) + target * z_.wide_row, Floats(kFinalRstd)[target],
                      nullptr, OutputRow(target));
  }

  CAPSWEEP_HD void EmbeddingBackward(Place at, int32_t samples) const {
    const float* dx = Floats(kX);
    float* grads = Floats(kGrads);
    const int32_t across = z_.wide / 4, rows = samples * s_.seq_len;
    for (int32_t t = at.thread; t < s_.seq_len * across; t += at.threads) {
      const int32_t position = t / across, col = 4 * (t % across);
      float* to = grads + at_.positions + position * z_.wide_row + col;
      Float4 sum = Load4(to);
      for (int32_t s = 0; s < samples; ++s) {
        sum = Fma4(PositionScale(), Load4(dx + (s * s_.seq_len + position) * z_.wide_row + col), sum);
      }
      Store4(to, sum);
    }
    for (int32_t t = at.After(s_.seq_len * across).thread; t < rows * across; t += at.threads) {
      const int32_t first = t / across, col = 4 * (t % across);
      if (Ints(kLinks)[first] % 2 == 0) continue;
      float* to = grads + at_.tokens + Ints(kTokens)[first] * z_.wide_row + col;
      Float4 sum = Load4(to);
      for (int32_t r = first; r >= 0; r = Ints(kLinks)[r] / 2 - 1) {
        sum = Add4(sum, Load4(dx + r * z_.wide_row + col));
      }
      Store4(to, sum);
    }
  }

  // ---- the optimizer ----

  // Where the gain stands that the parameter at `i` is taken times in kWeights; -1 if none, -2 if it is a gain.
  CAPSWEEP_HD int32_t GainOf(int32_t i) const {
    if (i >= at_.final_norm && i < at_.train) {
      return i < at_.head ? -2 : at_.final_norm + (i - at_.head) % z_.wide_row;
    }
    if (i < at_.attention || i >= at_.train) {
      return -1;
    }
    const int32_t layer = (i - at_.attention) / at_.attention_size, base = this->AttentionAt(layer);
    const int32_t within = i - base, up = at_.mlp_norm + z_.wide_row;
    if (within < at_.qkv || (within >= at_.mlp_norm && within < up)) {
      return -2;
    }
    if (within < at_.out) {
      return base + (within - at_.qkv) % z_.wide_row;
    }
    return within >= up && within < up + at_.up_bias ? base + at_.mlp_norm + (within - up) % z_.wide_row : -1;
  }
  CAPSWEEP_HD float FoldedWeight(int32_t i) const {
    const int32_t gain = GainOf(i);
    return gain < 0 ? task_.weights[i] : task_.weights[i] * task_.weights[gain];
  }

  CAPSWEEP_HD void Adam(int32_t i, float gradient, const Control& c) const {
    constexpr auto kRest1 = static_cast<float>(1.0 - kBeta1), kRest2 = static_cast<float>(1.0 - kBeta2);
    const float m = Fma(task_.moment1[i], static_cast<float>(kBeta1), gradient * kRest1);
    const float v = Fma(task_.moment2[i], static_cast<float>(kBeta2), gradient * gradient * kRest2);
    task_.moment1[i] = m;
    task_.moment2[i] = v;
    task_.weights[i] =
        Fma(-c.rate, Divide(m, Fma(Sqrt(v), c.correction2, static_cast<float>(kEpsilon))), task_.weights[i]);
  }

  // kGrads holds the gradients of matrices behind a norm without its gain: S with dW = S * gain and, for the gain,
  // Σ over rows of W * S. Gains come first; the others then still find the old gains in kWeights.
  CAPSWEEP_HD void UpdateGains(Place at, const Control& c) const {
    const int32_t norms = 2 * s_.layers + 1;
    for (int32_t t = at.thread; t < norms * s_.width; t += at.threads) UpdateGain(t / s_.width, t % s_.width, c);
  }
  CAPSWEEP_HD void Update(const Control c) {
    run_([=, this](Place at) {
      float* folded = Floats(kWeights);
      const float* grads = Floats(kGrads);
      CAPSWEEP_UNROLL_2
      for (int32_t i = at.thread; i < at_.train; i += at.threads) {
        const int32_t gain = GainOf(i);
        if (gain == -2) continue;
        Adam(i, gain < 0 ? grads[i] : grads[i] * folded[gain], c);
        folded[i] = gain < 0 ? task_.weights[i] : task_.weights[i] * task_.weights[gain];
      }
    });
    run_([=, this](Place at) {
      const int32_t norms = 2 * s_.layers + 1;
      for (int32_t t = at.thread; t < norms * s_.width; t += at.threads) {
        const int32_t i = GainAt(t / s_.width) + t % s_.width;
        Floats(kWeights)[i] = task_.weights[i];
      }
    });
  }

  // Norms in the order attention, MLP of every layer, then the final one.
  CAPSWEEP_HD int32_t GainAt(int32_t norm) const {
    return norm == 2 * s_.layers ? at_.final_norm : this->AttentionAt(norm / 2) + (norm % 2 == 0 ? 0 : at_.mlp_norm);
  }
  CAPSWEEP_HD void UpdateGain(int32_t norm, int32_t col, const Control& c) const {
    const bool final = norm == 2 * s_.layers, mlp = !final && norm % 2 == 1;
    const int32_t gain = GainAt(norm);
    if (mlp && s_.freeze_mlp) {
      Adam(gain + col, Floats(kGrads)[gain + col], c);  // FrozenGainBackward took it
      return;
    }
    const int32_t matrix = final ? at_.head : (mlp ? gain + z_.wide_row : gain + at_.qkv);
    const int32_t rows = final ? z_.vocab : (mlp ? z_.hidden : z_.qkv);
    float sum = 0;
    CAPSWEEP_UNROLL_2
    for (int32_t r = 0; r < rows; ++r) {
      const int32_t i = matrix + r * z_.wide_row + col;
      sum = Fma(task_.weights[i], Floats(kGrads)[i], sum);
    }
    Adam(gain + col, sum, c);
  }

  TaskState& state_;
  Control* control_;
};

}  // namespace capsweep::trainer::cuda
