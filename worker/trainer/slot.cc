#include "worker/trainer/slot.h"

#include <utility>

#include "common/status.h"
#include "worker/trainer/data/order.h"

namespace capsweep::trainer {

absl::Status Slot::Restore(CheckpointContent content) {
  RETURN_IF_ERROR(
      model_->Restore({std::move(content.weights), std::move(content.first_moment), std::move(content.second_moment)}));
  resumed_from_step_ = content.run.step;
  run_ = TrainingRun(point_, library_.targets, std::move(content.run));
  return absl::OkStatus();
}

absl::StatusOr<CheckpointContent> Slot::Save(const std::string& backend, const std::string& build) const {
  ASSIGN_OR_RETURN(Parameters parameters, model_->Save());
  return CheckpointContent{backend,
                           build,
                           PointKey(point_),
                           run_.state(),
                           std::move(parameters.weights),
                           std::move(parameters.first_moment),
                           std::move(parameters.second_moment)};
}

void Slot::Advance() {
  const Instant start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return ToSeconds(std::chrono::steady_clock::now() - start); };
  if (run_.evaluation_due()) {
    Note(Evaluate());
    run_.mutable_state().seconds_eval += elapsed();
    return;
  }
  const absl::StatusOr<double> loss = model_->Step(NextStep());
  FinishStep(loss, elapsed());
}

StepOrder Slot::NextStep() {
  const Batch batch = run_.NextBatch();
  DrawOrder(batch.epoch);
  return {{order_.data() + batch.first, static_cast<size_t>(batch.size)}, run_.state().step + 1, run_.LearningRate()};
}

void Slot::FinishStep(const absl::StatusOr<double>& loss, double seconds) {
  Note(loss.ok() ? run_.FinishStep(*loss) : loss.status());
  run_.mutable_state().seconds_train += seconds;
}

void Slot::Follow(const Progress& progress, Stop stop, std::span<const Evaluation> evaluations, double seconds_train,
                  double seconds_eval) {
  run_.Follow(progress, stop, evaluations);
  run_.mutable_state().seconds_train += seconds_train;
  run_.mutable_state().seconds_eval += seconds_eval;
}

SlotView Slot::Look() const {
  SlotView view;
  view.finished = run_.finished();
  view.failure = failure_;
  view.cause = cause_;
  view.step = run_.state().step;
  view.budget_steps = BudgetSteps(point_);
  view.epoch = run_.EpochsDone();
  view.train_loss = run_.state().train_loss;
  if (!run_.state().curve.empty()) {
    view.last = run_.state().curve.back();
  }
  return view;
}

PointResult Slot::Result(std::string_view backend) const {
  PointResult result = run_.Result(library_);
  result.backend = backend;
  result.resumed_from_step = resumed_from_step_;
  return result;
}

absl::Status Slot::Evaluate() {
  const int64_t heldout_items = library_.heldout != nullptr ? library_.heldout->items : 0;
  if (tally_.items < library_.items) {
    RETURN_IF_ERROR(model_->Evaluate(tally_));
  } else if (heldout_.items < heldout_items) {
    RETURN_IF_ERROR(model_->EvaluateHeldout(heldout_));
  } else {
    RETURN_IF_ERROR(model_->MeasureNeighbours(distances_));
  }
  if (tally_.items < library_.items || heldout_.items < heldout_items || NeighboursWanted()) {
    return absl::OkStatus();
  }
  if (!distances_.empty()) {
    run_.mutable_state().neighbours = MeanAndMedian(std::exchange(distances_, {}));
  }
  const double heldout_loss = std::exchange(heldout_, {}).Mean(library_.targets);
  return run_.FinishEvaluation(std::exchange(tally_, Tally()), heldout_loss);
}

// The evaluation under way is counted; is it the last, and are distances missing?
bool Slot::NeighboursWanted() const {
  const int64_t items = NeighbourItems(library_.items);
  return library_.heldout != nullptr && items > 1 && tally_.finite && run_.EndsWith(tally_.items_mem) &&
         static_cast<int64_t>(distances_.size()) < items;
}

void Slot::Note(absl::Status status) {
  failure_ = std::move(status);
  cause_ = absl::IsResourceExhausted(failure_) ? FailureCause::kOutOfMemory
           : absl::IsInvalidArgument(failure_) ? FailureCause::kNanLoss
                                               : FailureCause::kInternal;
}

void Slot::DrawOrder(int64_t epoch) {
  if (epoch == order_epoch_) {
    return;
  }
  const EpochOrder order(point_.init_seed, epoch, library_.items);
  order_.resize(static_cast<size_t>(library_.items));
  for (int64_t place = 0; place < library_.items; ++place) {
    order_[static_cast<size_t>(place)] = order.At(place);
  }
  order_epoch_ = epoch;
}

}  // namespace capsweep::trainer
