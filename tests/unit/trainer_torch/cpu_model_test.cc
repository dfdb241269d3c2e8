// The kernels of the cpu back end against the reference model in double, and against themselves on other instruction
// sets.
#include "worker/trainer/cpu/cpu_model.h"

#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/model/layout.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer::cpu {
namespace {

struct Case {
  const char* name;
  Mode mode;
  int64_t layers, heads, head_dim, width, seq_len, vocab, items;
  bool freeze_mlp = false;
  int64_t batch_size = 100;
};

void PrintTo(const Case& c, std::ostream* os) {
  *os << c.name;
}

constexpr Case kCases[] = {
    {"LabelTiny", Mode::kLabel, 1, 1, 8, 8, 8, 16, 16},
    {"LabelOddSizesAndRest", Mode::kLabel, 1, 3, 5, 20, 5, 11, 37},
    {"LabelTwoLayers", Mode::kLabel, 2, 2, 3, 12, 6, 7, 21},
    {"LabelFrozen", Mode::kLabel, 1, 2, 8, 16, 8, 16, 40, true},
    {"LabelThreeLayersFrozen", Mode::kLabel, 3, 2, 4, 8, 4, 9, 18, true},
    {"LabelFewItemsManyTokens", Mode::kLabel, 1, 2, 8, 24, 4, 50, 7, false, 10},
    {"LabelOneItem", Mode::kLabel, 1, 1, 1, 4, 3, 5, 1},
    {"LabelOnePosition", Mode::kLabel, 2, 2, 4, 8, 1, 40, 9},
    {"LabelWide", Mode::kLabel, 1, 5, 8, 64, 9, 16, 50},
    {"LabelWidthThree", Mode::kLabel, 1, 1, 1, 3, 2, 8, 16},
    {"SeqTiny", Mode::kSeq, 1, 1, 8, 8, 8, 16, 16},
    {"SeqTwoLayersRest", Mode::kSeq, 2, 3, 4, 20, 7, 10, 19},
    {"SeqFrozen", Mode::kSeq, 1, 2, 8, 16, 5, 8, 33, true},
    {"SeqManyTokens", Mode::kSeq, 1, 2, 4, 12, 6, 60, 20, false, 16},
    {"LmTiny", Mode::kLm, 1, 2, 4, 8, 8, 16, 16},
    {"LmTwoLayersRest", Mode::kLm, 2, 2, 5, 12, 9, 6, 27},
    {"LmFrozenManyTokens", Mode::kLm, 2, 1, 8, 16, 6, 70, 18, true, 8},
};

PointSpec PointOf(const Case& c) {
  PointSpec point;
  point.mode = c.mode, point.layers = c.layers, point.heads = c.heads, point.head_dim = c.head_dim;
  point.width = c.width, point.seq_len = c.seq_len, point.vocab = c.vocab, point.dataset_size = c.items;
  point.freeze_mlp = c.freeze_mlp, point.batch_size = c.batch_size;
  return point;
}

// Weights with gains other than 1 and biases other than 0.
std::vector<float> SomeWeights(const PointSpec& point) {
  std::vector<float> weights = InitialWeights(MakeLayout(point), 3);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += 0.1f * std::sin(static_cast<float>(i));
  return weights;
}

struct Loaded {
  explicit Loaded(const Case& c)
      : point(PointOf(c)),
        library(*MakeLibrary(point)),
        model(point, library.targets, library.first_target),
        all(static_cast<size_t>(c.items)) {
    model.LoadWeights(SomeWeights(point));
    std::iota(all.begin(), all.end(), 0);
  }
  Items items() const { return {library.tokens.data(), library.target_tokens.data(), all.data(), library.items}; }

  PointSpec point;
  Library library;
  CpuModel model;
  std::vector<int64_t> all;
};

ProbeResult Reference(const Loaded& loaded) {
  const std::vector<float> weights = SomeWeights(loaded.point);
  return ProbeModel(loaded.point, loaded.library, {weights.begin(), weights.end()});
}

class CpuModelTest : public testing::TestWithParam<Case> {};

TEST_P(CpuModelTest, LossAndEveryGradientAgreeWithTheReference) {
  Loaded loaded(GetParam());
  const ProbeResult reference = Reference(loaded);
  const float loss = loaded.model.Train(loaded.items(), nullptr);
  EXPECT_NEAR(loss, reference.loss, 2e-6 * std::max(1.0, reference.loss));
  const std::vector<float> grads = loaded.model.Grads();
  ASSERT_EQ(grads.size(), reference.gradients.size());
  for (const TensorSpec& tensor : MakeLayout(loaded.point).tensors) {
    if (tensor.frozen) continue;
    double error = 0, size = 0;
    for (int64_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      const double want = reference.gradients[static_cast<size_t>(i)];
      error += std::pow(grads[static_cast<size_t>(i)] - want, 2);
      size += want * want;
    }
    EXPECT_LE(std::sqrt(error), 2e-5 * std::sqrt(size) + 1e-8) << tensor.name;
  }
}

TEST_P(CpuModelTest, EvaluationAgreesWithTheReference) {
  Loaded loaded(GetParam());
  const ProbeResult reference = Reference(loaded);
  const auto rows = static_cast<size_t>(loaded.library.items * loaded.library.targets);
  std::vector<float> nll(rows);
  std::vector<uint8_t> right(rows);
  loaded.model.Evaluate(loaded.items(), nll.data(), right.data());
  const auto vocab = static_cast<size_t>(loaded.point.vocab);
  for (size_t row = 0; row < rows; ++row) {
    const double* logits = reference.logits.data() + row * vocab;
    const auto target = static_cast<size_t>(loaded.library.target_tokens[row]);
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(logits[v] - logits[target]);
    EXPECT_NEAR(nll[row], std::log(sum), 1e-5);
    EXPECT_EQ(right[row] == 1, std::max_element(logits, logits + vocab) == logits + target);
  }
}

// ---- lane = model ----

// Sixteen models with their own libraries, weights and batch sizes; every third lane rests.
struct Lanes {
  explicit Lanes(const Case& c, uint64_t seed_of_others = 0)
      : point(PointOf(c)), pack(point, MaxTargets(point), 0, Packing::kModels) {
    for (int64_t lane = 0; lane < kLaneCount; ++lane) {
      PointSpec own = point;
      own.data_seed = static_cast<uint64_t>(lane) + 1 + (lane == kWatched ? 0 : seed_of_others);
      libraries[lane] = *MakeLibrary(own);
      chosen[lane].resize(static_cast<size_t>(std::max<int64_t>(1, c.items - lane % 4)));
      std::iota(chosen[lane].begin(), chosen[lane].end(), 0);
      weights[lane] = InitialWeights(MakeLayout(point), own.data_seed);
      for (size_t i = 0; i < weights[lane].size(); ++i) weights[lane][i] += 0.1f * std::sin(static_cast<float>(i));
      pack.LoadWeights(weights[lane], lane);
      items.first_target[lane] = libraries[lane].first_target;
      items.lane[lane] = ItemsOf(lane);
      if (lane % 3 == 2) items.lane[lane].count = 0;
    }
  }
  Items ItemsOf(int64_t lane) const {
    return {libraries[lane].tokens.data(), libraries[lane].target_tokens.data(), chosen[lane].data(),
            static_cast<int64_t>(chosen[lane].size())};
  }

  static constexpr int64_t kWatched = 4;
  PointSpec point;
  Library libraries[kLaneCount];
  std::vector<int64_t> chosen[kLaneCount];
  std::vector<float> weights[kLaneCount];
  CpuModel pack;
  LaneItems items{};
};

TEST_P(CpuModelTest, LanesOfModelsAgreeWithModelsAlone) {
  Lanes lanes(GetParam());
  float loss[kLaneCount];
  lanes.pack.TrainModels(lanes.items, nullptr, loss);
  for (int64_t lane = 0; lane < kLaneCount; ++lane) {
    const std::vector<float> got = lanes.pack.Grads(lane);
    std::vector<float> want(got.size());
    if (lanes.items.lane[lane].count > 0) {
      CpuModel alone(lanes.point, lanes.libraries[lane].targets, lanes.libraries[lane].first_target);
      alone.LoadWeights(lanes.weights[lane]);
      EXPECT_NEAR(loss[lane], alone.Train(lanes.ItemsOf(lane), nullptr), 1e-5);
      want = alone.Grads();
    }
    for (const TensorSpec& tensor : MakeLayout(lanes.point).tensors) {
      if (tensor.frozen) continue;
      double error = 0, size = 0;
      for (int64_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
        error += std::pow(got[static_cast<size_t>(i)] - want[static_cast<size_t>(i)], 2);
        size += std::pow(want[static_cast<size_t>(i)], 2);
      }
      EXPECT_LE(std::sqrt(error), 3e-5 * std::sqrt(size) + 1e-8) << tensor.name << " of lane " << lane;
    }
  }
}

TEST_P(CpuModelTest, NeighbouringLanesChangeNoBit) {
  Lanes some(GetParam()), others(GetParam(), 1000);
  others.items.lane[Lanes::kWatched + 2].count = 0;
  others.pack.LoadWeights(std::vector<float>(MakeLayout(others.point).total, std::nanf("")), Lanes::kWatched + 1);
  AdamStep adam{};
  for (int t = 1; t <= 3; ++t) {
    for (int64_t lane = 0; lane < kLaneCount; ++lane) adam.Set(lane, t, 1e-3);
    float loss[2][kLaneCount];
    some.pack.TrainModels(some.items, &adam, loss[0]);
    others.pack.TrainModels(others.items, &adam, loss[1]);
    EXPECT_EQ(loss[0][Lanes::kWatched], loss[1][Lanes::kWatched]);
  }
  EXPECT_EQ(some.pack.Weights(Lanes::kWatched), others.pack.Weights(Lanes::kWatched));
}

TEST_P(CpuModelTest, RestingLaneKeepsItsWeights) {
  Lanes lanes(GetParam());
  AdamStep adam{};
  for (int64_t lane = 0; lane < kLaneCount; ++lane) {
    if (lane % 3 != 2) adam.Set(lane, 1, 1e-2);
  }
  float loss[kLaneCount];
  lanes.pack.TrainModels(lanes.items, &adam, loss);
  EXPECT_EQ(lanes.pack.Weights(2), lanes.weights[2]);
  EXPECT_NE(lanes.pack.Weights(3), lanes.weights[3]);
}

// Restricts the kernels to one instruction set for a while.
class OnlyTarget {
 public:
  explicit OnlyTarget(int64_t target) { Use(target); }
  ~OnlyTarget() { Use(0); }
  OnlyTarget(const OnlyTarget&) = delete;
  OnlyTarget& operator=(const OnlyTarget&) = delete;

 private:
  static void Use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// The sets with fused multiply-add that this host has; AVX-512 hosts have two, others compare a set with itself.
std::vector<int64_t> FusedTargets() {
  std::vector<int64_t> targets;
  for (const int64_t target : {int64_t{HWY_AVX3}, int64_t{HWY_AVX2}}) {
    if ((hwy::SupportedTargets() & target) != 0) targets.push_back(target);
  }
  return targets;
}

// Trains some steps in both packings and returns everything that came out of them.
constexpr int kSteps = 5;
std::vector<float> TrainSome(const Case& c, int64_t target) {
  const OnlyTarget only(target);
  Loaded loaded(c);
  Lanes lanes(c);
  std::vector<float> out;
  for (int t = 1; t <= kSteps; ++t) {
    const AdamStep adam = AdamStep::Same(t, 1e-3);
    out.push_back(loaded.model.Train(loaded.items(), &adam));
    float loss[kLaneCount];
    lanes.pack.TrainModels(lanes.items, &adam, loss);
    out.push_back(loss[Lanes::kWatched]);
  }
  for (const std::vector<float>& weights : {loaded.model.Weights(), lanes.pack.Weights(Lanes::kWatched)}) {
    out.insert(out.end(), weights.begin(), weights.end());
  }
  return out;
}

TEST_P(CpuModelTest, InstructionSetsWithFusedMultiplyAddGiveTheSameBits) {
  const std::vector<int64_t> targets = FusedTargets();
  ASSERT_FALSE(targets.empty()) << "this host has no fused multiply-add";
  EXPECT_EQ(TrainSome(GetParam(), targets.front()), TrainSome(GetParam(), targets.back()));
}

TEST_P(CpuModelTest, InstructionSetsWithoutItAgreeClosely) {
  const std::vector<float> best = TrainSome(GetParam(), hwy::SupportedTargets());
  for (const int64_t target : {int64_t{HWY_SSE4}, int64_t{HWY_SCALAR}}) {
    const std::vector<float> other = TrainSome(GetParam(), target);
    ASSERT_EQ(other.size(), best.size());
    for (int i = 0; i < 2 * kSteps; ++i) EXPECT_NEAR(other[i], best[i], 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CpuModelTest, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace capsweep::trainer::cpu
