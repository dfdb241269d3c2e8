// The course of one training run: which batch comes next at which learning rate, when the library is evaluated, when
// the run stops and what its result is. Back ends do the arithmetic, this decides; so all of them follow the same
// rules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/point.h"
#include "common/result.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"

namespace capsweep::trainer {

// Everything that changes during a run, outside the weights. Goes into checkpoints as it is.
struct RunState {
  int64_t step = 0;             // optimizer steps done
  double epoch_loss_sum = 0;    // nats over the targets shown in the epoch under way
  int64_t epoch_targets = 0;    // how many targets that are
  double train_loss = 0;        // nats per target, mean over the last epoch that ended (or was cut off by the budget)
  double best_loss = 0;         // reference of the plateau rule
  int64_t best_epoch = 0;       // 0 = no epoch has ended yet
  bool evaluation_due = false;  // the library is to be evaluated before the next step
  bool plateau = false;
  int64_t items_mem_best = 0;
  std::string stop_reason;  // "" while the run goes on
  std::vector<Evaluation> curve;
  // Time spent, over all processes that worked on the run.
  double seconds_setup = 0;
  double seconds_train = 0;
  double seconds_eval = 0;

  friend bool operator==(const RunState&, const RunState&) = default;
};

// Places of the epoch's order that make up a batch.
struct Batch {
  int64_t epoch = 0;  // from 0
  int64_t first = 0;
  int64_t size = 0;
};

class TrainingRun {
 public:
  // `targets`: T of the library.
  TrainingRun(const PointSpec& point, int64_t targets) : point_(point), targets_(targets) {}
  TrainingRun(const PointSpec& point, int64_t targets, RunState state)
      : point_(point), targets_(targets), state_(std::move(state)) {}

  // What to do next: nothing if finished, else evaluate if due, else train NextBatch at LearningRate.
  bool finished() const { return !state_.stop_reason.empty(); }
  bool evaluation_due() const { return state_.evaluation_due; }
  Batch NextBatch() const;
  // Of the next step t = step: lr, or with cosine lr * (f + (1 - f) * (1 + cos(pi * t / budget)) / 2), f = lr_final.
  double LearningRate() const;

  // `loss`: mean nats per target of the batch before the update. InvalidArgument if it is NaN or infinite.
  absl::Status FinishStep(double loss);
  // `tally` over the whole library. InvalidArgument if it holds a NaN or infinite logit.
  absl::Status FinishEvaluation(const Tally& tally);

  // Measures and work done of a finished run; no provenance.
  PointResult Result(const Library& library) const;

  const RunState& state() const { return state_; }
  RunState& mutable_state() { return state_; }
  int64_t EpochsDone() const { return state_.step / StepsPerEpoch(point_); }

 private:
  void FinishEpoch();

  PointSpec point_;
  int64_t targets_;
  RunState state_;
};

}  // namespace capsweep::trainer
