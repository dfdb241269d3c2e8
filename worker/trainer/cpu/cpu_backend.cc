#include "worker/trainer/cpu/cpu_backend.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "common/build_info.h"
#include "common/cost_model.h"
#include "common/text.h"
#include "worker/trainer/cpu/cpu_model.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/slot_backend.h"

namespace capsweep::trainer {
namespace {

using cpu::CpuModel;
using cpu::Packing;

// Items of one part of an evaluation.
constexpr int64_t kEvaluationItems = 1024;

// Sets with fused multiply-add round alike, the others do not: a checkpoint must not cross that line.
std::string Build() {
  const std::string_view set = cpu::InstructionSet();
  return StrCat(kVersion, " cpu ", set == "baseline" ? "without fma" : "fma");
}

cpu::Items Take(const Library& library, std::span<const int64_t> chosen) {
  return {library.tokens.data(), library.target_tokens.data(), chosen.data(), static_cast<int64_t>(chosen.size())};
}

// Adds the items from tally.items on, at most kEvaluationItems.
class Evaluator {
 public:
  explicit Evaluator(const Library& library) : library_(library) {}

  void Add(CpuModel& model, Tally& tally) {
    const int64_t count = std::min(kEvaluationItems, library_.items - tally.items);
    chosen_.resize(static_cast<size_t>(count));
    std::iota(chosen_.begin(), chosen_.end(), tally.items);
    nll_.resize(static_cast<size_t>(count * library_.targets));
    right_.resize(nll_.size());
    model.Evaluate(Take(library_, chosen_), nll_.data(), right_.data());
    tally.AddCounted(nll_, right_, library_.targets);
  }

 private:
  const Library& library_;
  std::vector<int64_t> chosen_;
  std::vector<float> nll_;
  std::vector<uint8_t> right_;
};

// Lane = sample: a model by itself.
class AloneModel : public SlotModel {
 public:
  AloneModel(const PointSpec& point, const Library& library)
      : library_(library), model_(point, library.targets, library.first_target), evaluator_(library) {
    model_.LoadWeights(InitialWeights(MakeLayout(point), point.init_seed));
  }

  absl::StatusOr<double> Step(const StepOrder& order) override {
    const cpu::AdamStep adam = cpu::AdamStep::Same(order.t, order.lr);
    return model_.Train(Take(library_, order.chosen), &adam);
  }
  absl::Status Evaluate(Tally& tally) override {
    evaluator_.Add(model_, tally);
    return absl::OkStatus();
  }
  absl::StatusOr<Parameters> Save() override {
    return Parameters{model_.Weights(), model_.FirstMoment(), model_.SecondMoment()};
  }
  absl::Status Restore(const Parameters& parameters) override {
    model_.LoadWeights(parameters.weights);
    model_.LoadMoments(parameters.first_moment, parameters.second_moment);
    return absl::OkStatus();
  }

 private:
  const Library& library_;
  CpuModel model_;
  Evaluator evaluator_;
};

// Lane = model: sixteen models of a shape, each in its lane.
struct Pack {
  explicit Pack(const PointSpec& shape)
      : shape_key(ShapeKey(shape)), model(shape, MaxTargets(shape), 0, Packing::kModels) {}
  std::string shape_key;
  CpuModel model;
  const Library* libraries[cpu::kLaneCount] = {};
  // A lane is evaluated by itself: the lanes' evaluations come at different times. Kept from one point of the lane to
  // the next, for making one takes longer than a short evaluation.
  std::unique_ptr<CpuModel> alone[cpu::kLaneCount];

  CpuModel& Alone(int lane, const PointSpec& point, const Library& library) {
    std::unique_ptr<CpuModel>& kept = alone[lane];
    if (kept == nullptr || kept->view().shape.targets != library.targets ||
        kept->view().shape.first_target != library.first_target) {
      kept = std::make_unique<CpuModel>(point, library.targets, library.first_target);
    }
    return *kept;
  }
};

class LaneModel : public SlotModel {
 public:
  LaneModel(std::shared_ptr<Pack> pack, int lane, const PointSpec& point, const Library& library)
      : pack_(std::move(pack)), lane_(lane), alone_(pack_->Alone(lane, point, library)), evaluator_(library) {
    pack_->model.LoadWeights(InitialWeights(MakeLayout(point), point.init_seed), lane_);
    pack_->model.ZeroMoments(lane_);
    pack_->libraries[lane_] = &library;
  }
  ~LaneModel() override { pack_->libraries[lane_] = nullptr; }

  absl::Status Evaluate(Tally& tally) override {
    if (tally.items == 0) {
      alone_.LoadWeights(pack_->model.Weights(lane_));
    }
    evaluator_.Add(alone_, tally);
    return absl::OkStatus();
  }
  absl::StatusOr<Parameters> Save() override {
    return Parameters{pack_->model.Weights(lane_), pack_->model.FirstMoment(lane_), pack_->model.SecondMoment(lane_)};
  }
  absl::Status Restore(const Parameters& parameters) override {
    pack_->model.LoadWeights(parameters.weights, lane_);
    pack_->model.LoadMoments(parameters.first_moment, parameters.second_moment, lane_);
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<Pack> pack_;
  int lane_;
  CpuModel& alone_;  // of pack_
  Evaluator evaluator_;
};

class CpuEngine : public SlotEngine {
 public:
  explicit CpuEngine(int slots) : slots_(slots) {}

  const std::string& name() const override { return name_; }
  const std::string& build() const override { return build_; }
  int64_t memory_bytes() const override { return memory_bytes_; }
  absl::Status Serves(const PointSpec& point) const override { return CheckKernelsServe(point, name_); }
  int Slots(const PointSpec& shape) const override { return Lockstep(shape) ? cpu::kLaneCount : slots_; }
  bool Lockstep(const PointSpec& shape) const override { return PackLanes(ShapeKey(shape)) == cpu::kLaneCount; }

  absl::StatusOr<std::unique_ptr<SlotModel>> Make(int slot, const PointSpec& point, const Library& library) override {
    if (!Lockstep(point)) {
      return std::make_unique<AloneModel>(point, library);
    }
    if (pack_ == nullptr || pack_->shape_key != ShapeKey(point)) {
      pack_ = std::make_shared<Pack>(point);
    }
    return std::make_unique<LaneModel>(pack_, slot, point, library);
  }

  void Step(std::span<SlotStep> steps) override {
    cpu::LaneItems items{};
    cpu::AdamStep adam{};  // a rate of 0: lanes without a step rest
    for (const SlotStep& step : steps) {
      const Library& library = *pack_->libraries[step.slot];
      items.lane[step.slot] = Take(library, step.order.chosen);
      items.first_target[step.slot] = library.first_target;
      adam.Set(step.slot, step.order.t, step.order.lr);
    }
    float loss[cpu::kLaneCount];
    pack_->model.TrainModels(items, &adam, loss);
    for (SlotStep& step : steps) step.loss = loss[step.slot];
  }

 private:
  const std::string name_ = "cpu";
  const std::string build_ = Build();
  const int64_t memory_bytes_ = HostMemoryBytes();
  int slots_;
  std::shared_ptr<Pack> pack_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const std::string& device, int slots) {
  if (device != "cpu") {
    return absl::UnimplementedError(StrCat("the cpu back end does not drive device ", device, "; use --device cpu:0"));
  }
  return MakeSlotBackend(std::make_unique<CpuEngine>(slots));
}

}  // namespace capsweep::trainer
