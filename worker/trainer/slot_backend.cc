#include "worker/trainer/slot_backend.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/cost_model.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::trainer {

absl::Status CheckKernelsServe(const PointSpec& point, std::string_view backend) {
  const std::string_view field = TorchOnlyField(point);
  return field.empty() ? absl::OkStatus()
                       : absl::UnimplementedError(StrCat(field, ": back end ", backend, " does not serve this value"));
}

namespace {

class SlotBackend : public Backend {
 public:
  explicit SlotBackend(std::unique_ptr<SlotEngine> engine) : engine_(std::move(engine)) {}

  std::string_view name() const override { return engine_->name(); }

  absl::Status CanTrain(const PointSpec& point) const override {
    if (!point.backend.empty() && point.backend != engine_->name()) {
      return absl::UnimplementedError(
          StrCat("backend: the point asks for '", point.backend, "', this is ", engine_->name()));
    }
    return engine_->Serves(point);
  }

  int Slots(const PointSpec& shape) const override { return engine_->Slots(shape); }

  bool Takes(const PointSpec& /*point*/, std::string_view shape) const override {
    const int64_t loaded = Loaded();
    return loaded == 0 || (shape == shape_ && loaded < static_cast<int64_t>(slots_.size()));
  }
  bool Full() const override {
    const int64_t loaded = Loaded();
    return loaded > 0 && loaded == static_cast<int64_t>(slots_.size());
  }

  absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) override {
    const Instant start = std::chrono::steady_clock::now();
    if (EstimateBytes(point) > static_cast<double>(engine_->memory_bytes())) {
      return absl::ResourceExhaustedError(StrCat("the point needs about ",
                                                 static_cast<int64_t>(EstimateBytes(point) / 1e6),
                                                 " MB, the device has ", engine_->memory_bytes() / 1'000'000));
    }
    RETURN_IF_ERROR(TakeShape(point));
    CheckpointContent content;
    if (checkpoint != nullptr) {
      ASSIGN_OR_RETURN(content, DecodeCheckpoint(checkpoint->bytes));
      RETURN_IF_ERROR(CheckResumable(content, point, engine_->name(), engine_->build()));
    }
    ASSIGN_OR_RETURN(Library library, MakeLibrary(point));
    auto loaded = std::make_unique<Slot>(point, std::move(library));
    ASSIGN_OR_RETURN(std::unique_ptr<SlotModel> model, engine_->Make(slot, point, loaded->library()));
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
      if (!(lockstep_ ? AdvanceTogether() : AdvanceInTurn())) {
        return;
      }
    } while (std::chrono::steady_clock::now() < deadline);
  }

  SlotView Look(int slot) const override { return At(slot)->Look(); }

  absl::StatusOr<PointResult> Result(int slot) const override {
    if (!At(slot)->Look().finished) {
      return absl::FailedPreconditionError(StrCat("slot ", slot, " has not finished"));
    }
    return At(slot)->Result(engine_->name());
  }

  absl::StatusOr<Checkpoint> Save(int slot) override {
    ASSIGN_OR_RETURN(const CheckpointContent content, At(slot)->Save(engine_->name(), engine_->build()));
    return Checkpoint{engine_->name(), EncodeCheckpoint(content)};
  }

  void Unload(int slot) override { At(slot).reset(); }

 private:
  // The slots take the shape of the point if they are all free; else it must be theirs.
  absl::Status TakeShape(const PointSpec& point) {
    const std::string shape = ShapeKey(point);
    const bool any = std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot != nullptr; });
    if (any && shape != shape_) {
      return absl::FailedPreconditionError(StrCat("the slots train ", shape_, ", the point is ", shape));
    }
    if (!any) {
      shape_ = shape;
      lockstep_ = engine_->Lockstep(point);
      slots_.resize(static_cast<size_t>(engine_->Slots(point)));
    }
    return absl::OkStatus();
  }

  // Both advance every active slot by a step, or a part of an evaluation. False: nothing is active, or a slot stopped.
  bool AdvanceInTurn() {
    bool any_active = false;
    for (const auto& slot : slots_) {
      if (slot == nullptr || !slot->active()) {
        continue;
      }
      slot->Advance();
      if (!slot->active()) {
        return false;
      }
      any_active = true;
    }
    return any_active;
  }

  bool AdvanceTogether() {
    const Instant start = std::chrono::steady_clock::now();
    bool stopped = false, evaluated = false;
    steps_.clear();
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot* slot = slots_[i].get();
      if (slot == nullptr || !slot->active()) {
        continue;
      }
      if (slot->evaluation_due()) {
        slot->Advance();
        evaluated = true;
        stopped = stopped || !slot->active();
      } else {
        steps_.push_back({static_cast<int>(i), slot->NextStep(), 0});
      }
    }
    // Who evaluates would fall behind if the others went on meanwhile: a pack is full as long as its slots keep step.
    if (evaluated || steps_.empty()) {
      return evaluated && !stopped;
    }
    engine_->Step(steps_);
    const double seconds = ToSeconds(std::chrono::steady_clock::now() - start) / static_cast<double>(steps_.size());
    for (const SlotEngine::SlotStep& step : steps_) {
      Slot& slot = *At(step.slot);
      slot.FinishStep(step.loss, seconds);
      stopped = stopped || !slot.active();
    }
    return !stopped;
  }

  int64_t Loaded() const {
    return std::count_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot != nullptr; });
  }

  std::unique_ptr<Slot>& At(int slot) { return slots_.at(static_cast<size_t>(slot)); }
  const std::unique_ptr<Slot>& At(int slot) const { return slots_.at(static_cast<size_t>(slot)); }

  std::unique_ptr<SlotEngine> engine_;
  std::string shape_;
  bool lockstep_ = false;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<SlotEngine::SlotStep> steps_;
};

}  // namespace

std::unique_ptr<Backend> MakeSlotBackend(std::unique_ptr<SlotEngine> engine) {
  return std::make_unique<SlotBackend>(std::move(engine));
}

}  // namespace capsweep::trainer
