#include "worker/trainer/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>

#include "common/build_info.h"
#include "common/text.h"
#include "worker/trainer/cpu/cpu_model.h"
#include "worker/trainer/host_facts.h"
#include "worker/trainer/slot_backend.h"

namespace capsweep::trainer {
namespace {

constexpr std::string_view kName = "cpu";
constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
// Items of one part of an evaluation.
constexpr int64_t kEvaluationItems = 1024;

// Sets with fused multiply-add round alike, the others do not: a checkpoint must not cross that line.
std::string Build() {
  const std::string_view set = cpu::InstructionSet();
  return StrCat(kVersion, " cpu ", set == "baseline" ? "without fma" : "fma");
}

class CpuSlotModel : public SlotModel {
 public:
  CpuSlotModel(const PointSpec& point, const Library& library)
      : library_(library), model_(point, library.targets, library.first_target) {
    model_.LoadWeights(InitialWeights(MakeLayout(point), point.init_seed));
  }

  absl::StatusOr<double> Step(std::span<const int64_t> chosen, int64_t t, double lr) override {
    const double correction1 = 1.0 - std::pow(kBeta1, static_cast<double>(t));
    const double correction2 = 1.0 - std::pow(kBeta2, static_cast<double>(t));
    const cpu::AdamStep adam{static_cast<float>(lr / correction1), static_cast<float>(1.0 / std::sqrt(correction2))};
    return model_.Train(Take(chosen), &adam);
  }

  absl::Status Evaluate(Tally& tally) override {
    const int64_t count = std::min(kEvaluationItems, library_.items - tally.items);
    chosen_.resize(static_cast<size_t>(count));
    std::iota(chosen_.begin(), chosen_.end(), tally.items);
    nll_.resize(static_cast<size_t>(count * library_.targets));
    right_.resize(nll_.size());
    model_.Evaluate(Take(chosen_), nll_.data(), right_.data());
    tally.AddCounted(nll_, right_, library_.targets);
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
  cpu::Items Take(std::span<const int64_t> chosen) const {
    return {library_.tokens.data(), library_.target_tokens.data(), chosen.data(), static_cast<int64_t>(chosen.size())};
  }

  const Library& library_;
  cpu::CpuModel model_;
  std::vector<int64_t> chosen_;
  std::vector<float> nll_;
  std::vector<uint8_t> right_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const std::string& device, int slots) {
  if (device != "cpu") {
    return absl::UnimplementedError(StrCat("the cpu back end does not drive device ", device, "; use --device cpu:0"));
  }
  const auto make = [](const PointSpec& point, const Library& library) -> absl::StatusOr<std::unique_ptr<SlotModel>> {
    return std::make_unique<CpuSlotModel>(point, library);
  };
  return MakeSlotBackend({std::string(kName), Build(), HostMemoryBytes(), make}, slots);
}

}  // namespace capsweep::trainer
