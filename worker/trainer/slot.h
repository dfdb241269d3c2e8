// One point in training: the course of its run, evaluation, checkpoints, times and failures. The arithmetic is a
// SlotModel's.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer {

// Trained state in the layout of MakeLayout.
struct Parameters {
  std::vector<float> weights;        // [layout.total]
  std::vector<float> first_moment;   // [layout.train]
  std::vector<float> second_moment;  // [layout.train]
};

// An optimizer step that is to be done: number t, from 1, on the library's items `chosen`.
struct StepOrder {
  std::span<const int64_t> chosen;
  int64_t t = 0;
  double lr = 0;
};

// One model in training, as arithmetic. A pure function of the point and the calls: no clock, no thread, no neighbour.
class SlotModel {
 public:
  virtual ~SlotModel() = default;

  // The mean loss in nats per target, before the update. ResourceExhausted if memory ran out. A model whose back end
  // does its steps, or its evaluations too, keeps the defaults: nobody calls them.
  virtual absl::StatusOr<double> Step(const StepOrder& /*order*/) {
    return absl::InternalError("this model does not step by itself");
  }
  // Adds at least one and no more than a few milliseconds' worth of the library's items to `tally`, from item
  // tally.items on.
  virtual absl::Status Evaluate(Tally& /*tally*/) {
    return absl::InternalError("this model does not evaluate by itself");
  }

  // The same for the held-out items; and for the distances of the library's first NeighbourItems items to their nearest
  // neighbour among these, which are added to `distances` in order, or prepared. Models of points without held-out
  // items keep the defaults.
  virtual absl::Status EvaluateHeldout(HeldoutTally& /*tally*/) {
    return absl::InternalError("this model has no held-out items");
  }
  virtual absl::Status MeasureNeighbours(std::vector<double>& /*distances*/) {
    return absl::InternalError("this model has no held-out items");
  }

  virtual absl::StatusOr<Parameters> Save() = 0;
  virtual absl::Status Restore(const Parameters& parameters) = 0;
};

class Slot {
 public:
  Slot(const PointSpec& point, Library library)
      : point_(point), library_(std::move(library)), run_(point, library_.targets) {}

  const Library& library() const { return library_; }
  const TrainingRun& run() const { return run_; }
  void SetModel(std::unique_ptr<SlotModel> model) { model_ = std::move(model); }

  absl::Status Restore(CheckpointContent content);
  absl::StatusOr<CheckpointContent> Save(const std::string& backend, const std::string& build) const;

  bool active() const { return failure_.ok() && !run_.finished(); }
  bool evaluation_due() const { return run_.evaluation_due(); }
  void AddSetupSeconds(double seconds) { run_.mutable_state().seconds_setup += seconds; }

  // Part of an evaluation that is due, or one step: short enough that the caller stays responsive.
  void Advance();
  // The next step of an active slot without an evaluation due, for callers that do it themselves, and its outcome.
  StepOrder NextStep();
  void FinishStep(const absl::StatusOr<double>& loss, double seconds);
  // For back ends whose kernels train by themselves: what was done since the last call, or the loss that ended it.
  void Follow(const Progress& progress, Stop stop, std::span<const Evaluation> evaluations, double seconds_train,
              double seconds_eval);
  void FollowBadLoss(double loss) { Note(run_.FinishStep(loss)); }
  void FollowBadEvaluation() { Note(run_.FinishEvaluation({.finite = false})); }

  SlotView Look() const;
  PointResult Result(std::string_view backend) const;

 private:
  absl::Status Evaluate();
  bool NeighboursWanted() const;
  void Note(absl::Status status);
  void DrawOrder(int64_t epoch);

  PointSpec point_;
  Library library_;
  TrainingRun run_;
  std::unique_ptr<SlotModel> model_;
  std::vector<int64_t> order_;  // the items of order_epoch_ in the order in which they are shown
  int64_t order_epoch_ = -1;
  // Of the evaluation under way.
  Tally tally_;
  HeldoutTally heldout_;
  std::vector<double> distances_;  // to the nearest neighbours
  int64_t resumed_from_step_ = 0;
  absl::Status failure_;
  FailureCause cause_ = FailureCause::kInternal;
};

}  // namespace capsweep::trainer
