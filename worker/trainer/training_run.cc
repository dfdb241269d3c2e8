#include "worker/trainer/training_run.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/param_count.h"
#include "common/text.h"

namespace capsweep::trainer {
namespace {

const char* ReasonOf(Stop stop) {
  constexpr const char* kReasons[] = {"", "memorized", "budget", "plateau"};
  return kReasons[static_cast<size_t>(stop)];
}

}  // namespace

Course MakeCourse(const PointSpec& point, int64_t targets) {
  return {point.batch_size,   point.dataset_size, targets,       StepsPerEpoch(point),
          BudgetSteps(point), point.eval_every,   point.patience};
}

double LearningRate(const PointSpec& point, int64_t step) {
  const int64_t budget = BudgetSteps(point);
  const auto warm = static_cast<int64_t>(point.warmup * static_cast<double>(budget));
  if (step < warm) {
    return point.lr * (static_cast<double>(step + 1) / static_cast<double>(warm));
  }
  if (point.schedule == Schedule::kConstant) {
    return point.lr;
  }
  const double done = static_cast<double>(step - warm) / static_cast<double>(budget - warm);
  const double fall = 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return point.lr * (point.lr_final + (1.0 - point.lr_final) * fall);
}

absl::Status TrainingRun::FinishStep(double loss) {
  if (!std::isfinite(loss)) {
    return absl::InvalidArgumentError(StrCat("the training loss became ", std::isnan(loss) ? "NaN" : "infinite",
                                             " at step ", state_.step + 1, " of ", BudgetSteps(point_), " with lr ",
                                             point_.lr, "; lower lr"));
  }
  AfterStep(course_, state_, loss);
  return absl::OkStatus();
}

bool TrainingRun::EndsWith(int64_t items_mem) const {
  Progress progress = state_;
  return AfterEvaluation(course_, progress, items_mem) != Stop::kNone;
}

absl::Status TrainingRun::FinishEvaluation(const Tally& tally, double heldout_loss) {
  if (!tally.finite || std::isinf(heldout_loss)) {
    return absl::InvalidArgumentError(StrCat("the evaluation after step ", state_.step, " of ", BudgetSteps(point_),
                                             " met NaN or infinite logits with lr ", point_.lr, "; lower lr"));
  }
  state_.curve.push_back({EpochsDone(), state_.step, tally.items_mem, tally.tokens_mem, tally.nll_bits(),
                          state_.train_loss, heldout_loss});
  state_.items_mem_best = std::max(state_.items_mem_best, tally.items_mem);
  state_.stop_reason = ReasonOf(AfterEvaluation(course_, state_, tally.items_mem));
  return absl::OkStatus();
}

void TrainingRun::Follow(const Progress& progress, Stop stop, std::span<const Evaluation> evaluations) {
  static_cast<Progress&>(state_) = progress;
  for (const Evaluation& evaluation : evaluations) {
    state_.curve.push_back(evaluation);
    state_.items_mem_best = std::max(state_.items_mem_best, evaluation.items_mem);
  }
  state_.stop_reason = ReasonOf(stop);
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
  const int64_t partial_steps = state_.step % course_.steps_per_epoch;
  result.presentations = result.epochs * point_.dataset_size + partial_steps * point_.batch_size;
  result.stop_reason = state_.stop_reason;
  result.params_total = params.total;
  result.params_train = params.train;
  result.seconds_train = state_.seconds_train;
  result.seconds_eval = state_.seconds_eval;
  result.seconds = state_.seconds_setup + state_.seconds_train + state_.seconds_eval;
  result.heldout_loss = last.heldout_loss;
  if (state_.neighbours.size() == 2) {
    result.neighbour_mean = state_.neighbours[0];
    result.neighbour_median = state_.neighbours[1];
  }
  result.curve = state_.curve;
  return result;
}

}  // namespace capsweep::trainer
