// The rules of a training run as arithmetic on plain data: which batch is next, when an epoch ends, when the library is
// evaluated, when the run stops. TrainingRun follows them on the host; a kernel that trains many steps in one launch
// follows the very same functions, so that both stop at the same step with the same bits.
#pragma once

#include <cstdint>

#include "worker/trainer/host_device.h"

namespace capsweep::trainer {

// What of a point and its library decides the course of the run.
struct Course {
  int64_t batch_size = 0;
  int64_t dataset_size = 0;
  int64_t targets = 0;  // T of the library
  int64_t steps_per_epoch = 0;
  int64_t budget_steps = 0;
  int64_t eval_every = 0;  // epochs
  int64_t patience = 0;    // epochs; 0: no plateau rule
};

// Where a run stands.
struct Progress {
  int64_t step = 0;             // optimizer steps done
  double epoch_loss_sum = 0;    // nats over the targets shown in the epoch under way
  int64_t epoch_targets = 0;    // how many targets that are
  double train_loss = 0;        // nats per target, mean over the last epoch that ended (or was cut off by the budget)
  double best_loss = 0;         // reference of the plateau rule
  int64_t best_epoch = 0;       // 0 = no epoch has ended yet
  bool evaluation_due = false;  // the library is to be evaluated before the next step
  bool plateau = false;

  friend bool operator==(const Progress&, const Progress&) = default;
};

// Places of the epoch's order that make up a batch.
struct Batch {
  int64_t epoch = 0;  // from 0
  int64_t first = 0;
  int64_t size = 0;
};

enum class Stop : int32_t { kNone, kMemorized, kBudget, kPlateau };

CAPSWEEP_HD Batch NextBatch(const Course& course, const Progress& progress) {
  Batch batch;
  batch.epoch = progress.step / course.steps_per_epoch;
  batch.first = (progress.step % course.steps_per_epoch) * course.batch_size;
  const int64_t left = course.dataset_size - batch.first;
  batch.size = course.batch_size < left ? course.batch_size : left;
  return batch;
}

CAPSWEEP_HD void FinishEpoch(const Course& course, Progress& progress) {
  // Relative improvement of the epoch's mean loss that counts as progress.
  constexpr double kPlateauImprovement = 1e-4;
  progress.train_loss = progress.epoch_loss_sum / static_cast<double>(progress.epoch_targets);
  progress.epoch_loss_sum = 0;
  progress.epoch_targets = 0;
  if (progress.step % course.steps_per_epoch != 0) {
    return;  // cut off by the budget: no whole epoch to judge progress by
  }
  const int64_t epoch = progress.step / course.steps_per_epoch;
  if (progress.best_epoch == 0 || progress.train_loss < progress.best_loss * (1.0 - kPlateauImprovement)) {
    progress.best_loss = progress.train_loss;
    progress.best_epoch = epoch;
  }
  progress.plateau = course.patience > 0 && epoch - progress.best_epoch >= course.patience;
}

// `loss`: mean nats per target of the batch before the update, finite.
CAPSWEEP_HD void AfterStep(const Course& course, Progress& progress, double loss) {
  const int64_t shown = NextBatch(course, progress).size * course.targets;
  progress.epoch_loss_sum += loss * static_cast<double>(shown);
  progress.epoch_targets += shown;
  ++progress.step;
  const bool last = progress.step == course.budget_steps;
  const bool epoch_ended = progress.step % course.steps_per_epoch == 0;
  if (last || epoch_ended) {
    FinishEpoch(course, progress);
  }
  progress.evaluation_due =
      last || progress.plateau || (epoch_ended && progress.step / course.steps_per_epoch % course.eval_every == 0);
}

CAPSWEEP_HD Stop AfterEvaluation(const Course& course, Progress& progress, int64_t items_mem) {
  progress.evaluation_due = false;
  return items_mem == course.dataset_size       ? Stop::kMemorized
         : progress.step == course.budget_steps ? Stop::kBudget
         : progress.plateau                     ? Stop::kPlateau
                                                : Stop::kNone;
}

}  // namespace capsweep::trainer
