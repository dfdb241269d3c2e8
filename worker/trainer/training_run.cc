#include "worker/trainer/training_run.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/param_count.h"
#include "common/text.h"

namespace capsweep::trainer {
namespace {

// Relative improvement of the epoch's mean loss that counts as progress.
constexpr double kPlateauImprovement = 1e-4;

}  // namespace

Batch TrainingRun::NextBatch() const {
  const int64_t per_epoch = StepsPerEpoch(point_);
  Batch batch;
  batch.epoch = state_.step / per_epoch;
  batch.first = (state_.step % per_epoch) * point_.batch_size;
  batch.size = std::min(point_.batch_size, point_.dataset_size - batch.first);
  return batch;
}

double TrainingRun::LearningRate() const {
  if (point_.schedule == Schedule::kConstant) {
    return point_.lr;
  }
  const double done = static_cast<double>(state_.step) / static_cast<double>(BudgetSteps(point_));
  const double fall = 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return point_.lr * (point_.lr_final + (1.0 - point_.lr_final) * fall);
}

absl::Status TrainingRun::FinishStep(double loss) {
  if (!std::isfinite(loss)) {
    return absl::InvalidArgumentError(StrCat("the training loss became ", std::isnan(loss) ? "NaN" : "infinite",
                                             " at step ", state_.step + 1, " of ", BudgetSteps(point_), " with lr ",
                                             point_.lr, "; lower lr"));
  }
  const int64_t shown = NextBatch().size * targets_;
  state_.epoch_loss_sum += loss * static_cast<double>(shown);
  state_.epoch_targets += shown;
  ++state_.step;
  const bool last = state_.step == BudgetSteps(point_);
  if (last || state_.step % StepsPerEpoch(point_) == 0) {
    FinishEpoch();
  }
  const bool epoch_ended = state_.step % StepsPerEpoch(point_) == 0;
  state_.evaluation_due = last || state_.plateau || (epoch_ended && EpochsDone() % point_.eval_every == 0);
  return absl::OkStatus();
}

void TrainingRun::FinishEpoch() {
  state_.train_loss = state_.epoch_loss_sum / static_cast<double>(state_.epoch_targets);
  state_.epoch_loss_sum = 0;
  state_.epoch_targets = 0;
  if (state_.step % StepsPerEpoch(point_) != 0) {
    return;  // cut off by the budget: no whole epoch to judge progress by
  }
  const int64_t epoch = EpochsDone();
  if (state_.best_epoch == 0 || state_.train_loss < state_.best_loss * (1.0 - kPlateauImprovement)) {
    state_.best_loss = state_.train_loss;
    state_.best_epoch = epoch;
  }
  state_.plateau = point_.patience > 0 && epoch - state_.best_epoch >= point_.patience;
}

absl::Status TrainingRun::FinishEvaluation(const Tally& tally) {
  if (!tally.finite) {
    return absl::InvalidArgumentError(StrCat("the evaluation after step ", state_.step, " of ", BudgetSteps(point_),
                                             " met NaN or infinite logits with lr ", point_.lr, "; lower lr"));
  }
  state_.curve.push_back(
      {EpochsDone(), state_.step, tally.items_mem, tally.tokens_mem, tally.nll_bits(), state_.train_loss});
  state_.items_mem_best = std::max(state_.items_mem_best, tally.items_mem);
  state_.evaluation_due = false;
  if (tally.items_mem == point_.dataset_size) {
    state_.stop_reason = "memorized";
  } else if (state_.step == BudgetSteps(point_)) {
    state_.stop_reason = "budget";
  } else if (state_.plateau) {
    state_.stop_reason = "plateau";
  }
  return absl::OkStatus();
}

PointResult TrainingRun::Result(const Library& library) const {
  const Evaluation& last = state_.curve.back();
  const ParamCount params = CountParams(point_);
  PointResult result;
  result.point_key = PointKey(point_);
  result.items_mem = last.items_mem;
  result.items_mem_best = state_.items_mem_best;
  result.tokens_mem = last.tokens_mem;
  result.nll_bits = last.nll_bits;
  result.bits_mem = BitsMemorized(library.items, library.targets, point_.vocab, last.nll_bits);
  result.items_corr = ItemsCorrected(last.items_mem, library.items, library.targets, point_.vocab);
  result.targets = library.targets;
  result.lm_first_target = library.first_target;
  result.redraws = library.redraws;
  result.train_loss = last.train_loss;
  result.epochs = EpochsDone();
  result.steps = state_.step;
  const int64_t partial_steps = state_.step % StepsPerEpoch(point_);
  result.presentations = result.epochs * point_.dataset_size + partial_steps * point_.batch_size;
  result.stop_reason = state_.stop_reason;
  result.params_total = params.total;
  result.params_train = params.train;
  result.seconds_train = state_.seconds_train;
  result.seconds_eval = state_.seconds_eval;
  result.seconds = state_.seconds_setup + state_.seconds_train + state_.seconds_eval;
  result.curve = state_.curve;
  return result;
}

}  // namespace capsweep::trainer
