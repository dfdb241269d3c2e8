// The course of one training run: which batch comes next at which learning rate, when the library is evaluated, when
// the run stops and what its result is. Back ends do the arithmetic, this decides; so all of them follow the same
// rules.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/point.h"
#include "common/result.h"
#include "worker/trainer/course.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"

namespace capsweep::trainer {

// Everything that changes during a run, outside the weights. Goes into checkpoints as it is.
struct RunState : Progress {
  int64_t items_mem_best = 0;
  std::string stop_reason;  // "" while the run goes on
  std::vector<Evaluation> curve;
  // Distances between the library's activations at the end, {mean, median}; empty where they are not measured.
  std::vector<double> neighbours;
  // Time spent, over all processes that worked on the run.
  double seconds_setup = 0;
  double seconds_train = 0;
  double seconds_eval = 0;

  friend bool operator==(const RunState&, const RunState&) = default;
};

Course MakeCourse(const PointSpec& point, int64_t targets);

// The learning rate of step t = `step`, from 0. In the first W = floor(warmup * budget) steps lr * (t + 1) / W. In the
// others lr, or with cosine lr * (f + (1 - f) * (1 + cos(pi * (t - W) / (budget - W))) / 2), f = lr_final.
double LearningRate(const PointSpec& point, int64_t step);

class TrainingRun {
 public:
  // `targets`: T of the library.
  TrainingRun(const PointSpec& point, int64_t targets) : point_(point), course_(MakeCourse(point, targets)) {}
  TrainingRun(const PointSpec& point, int64_t targets, RunState state)
      : point_(point), course_(MakeCourse(point, targets)), state_(std::move(state)) {}

  // What to do next: nothing if finished, else evaluate if due, else train NextBatch at LearningRate.
  bool finished() const { return !state_.stop_reason.empty(); }
  bool evaluation_due() const { return state_.evaluation_due; }
  Batch NextBatch() const { return trainer::NextBatch(course_, state_); }
  double LearningRate() const { return trainer::LearningRate(point_, state_.step); }

  // `loss`: mean nats per target of the batch before the update. InvalidArgument if it is NaN or infinite.
  absl::Status FinishStep(double loss);
  // Whether the run ends with the evaluation that is due, if it counts so many items.
  bool EndsWith(int64_t items_mem) const;
  // `tally` over the whole library. InvalidArgument if it holds a NaN or infinite logit, or the held-out loss is one.
  absl::Status FinishEvaluation(const Tally& tally) { return FinishEvaluation(tally, kNotMeasured); }
  // With held-out items: their mean loss per target.
  absl::Status FinishEvaluation(const Tally& tally, double heldout_loss);

  // What a kernel did by the same rules: where the run stands now, and the evaluations since the last call.
  void Follow(const Progress& progress, Stop stop, std::span<const Evaluation> evaluations);

  // Measures and work done of a finished run; no provenance.
  PointResult Result(const Library& library) const;

  const RunState& state() const { return state_; }
  RunState& mutable_state() { return state_; }
  const Course& course() const { return course_; }
  int64_t EpochsDone() const { return state_.step / course_.steps_per_epoch; }

 private:
  PointSpec point_;
  Course course_;
  RunState state_;
};

}  // namespace capsweep::trainer
