#include "worker/trainer/slot_backend.h"

#include <utility>

#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/order.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer {
namespace {

// One point in training.
class Slot {
 public:
  Slot(const PointSpec& point, Library library)
      : point_(point), library_(std::move(library)), run_(point, library_.targets) {}

  const Library& library() const { return library_; }
  void SetModel(std::unique_ptr<SlotModel> model) { model_ = std::move(model); }

  absl::Status Restore(CheckpointContent content) {
    RETURN_IF_ERROR(model_->Restore(
        {std::move(content.weights), std::move(content.first_moment), std::move(content.second_moment)}));
    resumed_from_step_ = content.run.step;
    run_ = TrainingRun(point_, library_.targets, std::move(content.run));
    return absl::OkStatus();
  }

  absl::StatusOr<CheckpointContent> Save(const SlotBackendTraits& traits) const {
    ASSIGN_OR_RETURN(Parameters parameters, model_->Save());
    return CheckpointContent{traits.name,
                             traits.build,
                             PointKey(point_),
                             run_.state(),
                             std::move(parameters.weights),
                             std::move(parameters.first_moment),
                             std::move(parameters.second_moment)};
  }

  bool active() const { return failure_.ok() && !run_.finished(); }
  void AddSetupSeconds(double seconds) { run_.mutable_state().seconds_setup += seconds; }

  // One step, or a part of an evaluation: short enough that the caller stays responsive.
  void Advance() {
    const bool evaluating = run_.evaluation_due();
    const Instant start = std::chrono::steady_clock::now();
    cause_ = FailureCause::kInternal;
    failure_ = evaluating ? Evaluate() : Step();
    if (absl::IsResourceExhausted(failure_)) {
      cause_ = FailureCause::kOutOfMemory;
    } else if (absl::IsInvalidArgument(failure_)) {
      cause_ = FailureCause::kNanLoss;
    }
    const double seconds = ToSeconds(std::chrono::steady_clock::now() - start);
    (evaluating ? run_.mutable_state().seconds_eval : run_.mutable_state().seconds_train) += seconds;
  }

  SlotView Look() const {
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

  PointResult Result(std::string_view backend) const {
    PointResult result = run_.Result(library_);
    result.backend = backend;
    result.resumed_from_step = resumed_from_step_;
    return result;
  }

 private:
  absl::Status Step() {
    const Batch batch = run_.NextBatch();
    DrawOrder(batch.epoch);
    const std::span<const int64_t> chosen(order_.data() + batch.first, static_cast<size_t>(batch.size));
    ASSIGN_OR_RETURN(const double loss, model_->Step(chosen, run_.state().step + 1, run_.LearningRate()));
    return run_.FinishStep(loss);
  }

  absl::Status Evaluate() {
    RETURN_IF_ERROR(model_->Evaluate(tally_));
    if (tally_.items < library_.items) {
      return absl::OkStatus();
    }
    return run_.FinishEvaluation(std::exchange(tally_, Tally()));
  }

  void DrawOrder(int64_t epoch) {
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

  PointSpec point_;
  Library library_;
  TrainingRun run_;
  std::unique_ptr<SlotModel> model_;
  std::vector<int64_t> order_;  // the items of order_epoch_ in the order in which they are shown
  int64_t order_epoch_ = -1;
  Tally tally_;  // of the evaluation under way
  int64_t resumed_from_step_ = 0;
  absl::Status failure_;
  FailureCause cause_ = FailureCause::kInternal;
};

class SlotBackend : public Backend {
 public:
  SlotBackend(SlotBackendTraits traits, int slots) : traits_(std::move(traits)), slots_(static_cast<size_t>(slots)) {}

  std::string_view name() const override { return traits_.name; }

  absl::Status CanTrain(const PointSpec& point) const override {
    if (!point.backend.empty() && point.backend != traits_.name) {
      return absl::UnimplementedError(
          StrCat("backend: the point asks for '", point.backend, "', this is ", traits_.name));
    }
    return absl::OkStatus();
  }

  int Slots(const PointSpec&) const override { return static_cast<int>(slots_.size()); }

  absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) override {
    const Instant start = std::chrono::steady_clock::now();
    if (EstimateBytes(point) > static_cast<double>(traits_.memory_bytes)) {
      return absl::ResourceExhaustedError(StrCat("the point needs about ",
                                                 static_cast<int64_t>(EstimateBytes(point) / 1e6),
                                                 " MB, the device has ", traits_.memory_bytes / 1'000'000));
    }
    CheckpointContent content;
    if (checkpoint != nullptr) {
      ASSIGN_OR_RETURN(content, DecodeCheckpoint(checkpoint->bytes));
      RETURN_IF_ERROR(CheckResumable(content, point, traits_.name, traits_.build));
    }
    ASSIGN_OR_RETURN(Library library, MakeLibrary(point));
    auto loaded = std::make_unique<Slot>(point, std::move(library));
    ASSIGN_OR_RETURN(std::unique_ptr<SlotModel> model, traits_.make(point, loaded->library()));
    loaded->SetModel(std::move(model));
    if (checkpoint != nullptr) {
      RETURN_IF_ERROR(loaded->Restore(std::move(content)));
    }
    loaded->AddSetupSeconds(ToSeconds(std::chrono::steady_clock::now() - start));
    At(slot) = std::move(loaded);
    return absl::OkStatus();
  }

  void Run(Duration budget) override {
    const Instant deadline = std::chrono::steady_clock::now() + budget;
    do {
      bool any_active = false;
      for (const auto& slot : slots_) {
        if (slot == nullptr || !slot->active()) {
          continue;
        }
        slot->Advance();
        if (!slot->active()) {
          return;
        }
        any_active = true;
      }
      if (!any_active) {
        return;
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }

  SlotView Look(int slot) const override { return At(slot)->Look(); }

  absl::StatusOr<PointResult> Result(int slot) const override {
    if (!At(slot)->Look().finished) {
      return absl::FailedPreconditionError(StrCat("slot ", slot, " has not finished"));
    }
    return At(slot)->Result(traits_.name);
  }

  absl::StatusOr<Checkpoint> Save(int slot) const override {
    ASSIGN_OR_RETURN(const CheckpointContent content, At(slot)->Save(traits_));
    return Checkpoint{traits_.name, EncodeCheckpoint(content)};
  }

  void Unload(int slot) override { At(slot).reset(); }

 private:
  std::unique_ptr<Slot>& At(int slot) { return slots_.at(static_cast<size_t>(slot)); }
  const std::unique_ptr<Slot>& At(int slot) const { return slots_.at(static_cast<size_t>(slot)); }

  SlotBackendTraits traits_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace

std::unique_ptr<Backend> MakeSlotBackend(SlotBackendTraits traits, int slots) {
  return std::make_unique<SlotBackend>(std::move(traits), slots);
}

}  // namespace capsweep::trainer
