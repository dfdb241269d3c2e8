// Whole runs of what only the torch back end trains: every family, recipe and kind of data.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/trainer/trainer_test_points.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/model/layout.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {
namespace {

struct RunCase {
  std::string name;
  void (*set)(PointSpec&);
};

void SetGpt2(PointSpec& p) {
  p.family = Family::kGpt2, p.head_dim = 4;
}
void SetKs(PointSpec& p) {
  p.family = Family::kKs, p.activation = Activation::kRelu;
}
void SetVectors(PointSpec& p) {
  p.tokens = Tokens::kVectors, p.vocab = 2, p.seq_len = 4;
}

const std::vector<RunCase>& RunCases() {
  static const auto& cases = *new std::vector<RunCase>{
      {"Gpt2Label", SetGpt2},
      {"Gpt2LmClipped", [](PointSpec& p) { SetGpt2(p), p.mode = Mode::kLm, p.clip_norm = 0.5; }},
      {"Gpt2DropoutAdamw",
       [](PointSpec& p) { SetGpt2(p), p.dropout = 0.2, p.optimizer = Optimizer::kAdamw, p.weight_decay = 0.1; }},
      {"XtSgd", [](PointSpec& p) { p.optimizer = Optimizer::kSgd, p.lr = 0.1, p.weight_decay = 1e-3; }},
      {"XtRotarySoftmax",
       [](PointSpec& p) { p.positions = Positions::kRotary, p.activation = Activation::kSoftmax, p.mlp_width = 10; }},
      {"XtNoPositionsDropoutSeq",
       [](PointSpec& p) { p.positions = Positions::kNone, p.mode = Mode::kSeq, p.dropout = 0.1; }},
      {"XtHeldout", [](PointSpec& p) { p.heldout_size = 30; }},
      {"XtHeldoutLm", [](PointSpec& p) { p.heldout_size = 30, p.mode = Mode::kLm; }},
      {"MlpSeqWarmup", [](PointSpec& p) { p.family = Family::kMlp, p.mode = Mode::kSeq, p.warmup = 0.2; }},
      {"MlpVectorsHeldout", [](PointSpec& p) { SetVectors(p), p.family = Family::kMlp, p.heldout_size = 20; }},
      {"Ks", SetKs},
      {"KsVectorsMseHeldout",
       [](PointSpec& p) { SetKs(p), SetVectors(p), p.loss = Loss::kMse, p.lr = 1e-3, p.heldout_size = 20; }},
  };
  return cases;
}

PointSpec PointOf(const RunCase& c) {
  PointSpec point = SmallPoint();
  c.set(point);
  const absl::Status valid = ValidatePoint(point);
  EXPECT_TRUE(valid.ok()) << valid;
  return point;
}

class FamilyTest : public testing::TestWithParam<RunCase> {};
INSTANTIATE_TEST_SUITE_P(Each, FamilyTest, testing::ValuesIn(RunCases()),
                         [](const auto& test) { return test.param.name; });

TEST_P(FamilyTest, LearnsWithinTheBoundsOfItsMeasures) {
  const PointSpec point = PointOf(GetParam());
  const PointResult r = TrainPoint(point, "torch");
  EXPECT_TRUE(ValidateResult(point, r).ok()) << ValidateResult(point, r);
  ASSERT_EQ(r.curve.size(), 3u);
  EXPECT_LT(r.curve[2].train_loss, r.curve[0].train_loss);
  for (const Evaluation& e : r.curve) EXPECT_EQ(std::isnan(e.heldout_loss), point.heldout_size == 0);
  EXPECT_EQ(std::isnan(r.heldout_loss), point.heldout_size == 0);
  EXPECT_EQ(std::isnan(r.neighbour_mean), point.heldout_size == 0);
  if (point.heldout_size > 0) {
    EXPECT_EQ(r.heldout_loss, r.curve[2].heldout_loss);
    EXPECT_GT(r.neighbour_mean, 0);
    EXPECT_GT(r.neighbour_median, 0);
  }
}

TEST_P(FamilyTest, ResumingAtAnyStepGivesTheSameBits) {
  const PointSpec point = PointOf(GetParam());
  const std::string whole = Bits(TrainPoint(point, "torch"));
  EXPECT_EQ(Bits(TrainPoint(point, "torch")), whole);
  for (const int64_t stop_at : {1, 16, 47}) {
    const auto first = BackendNamed("torch");
    ASSERT_TRUE(first->Load(0, point, nullptr).ok());
    while (first->Look(0).step < stop_at) first->Run(Duration::zero());
    const auto checkpoint = first->Save(0);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto second = BackendNamed("torch");
    ASSERT_TRUE(second->Load(0, point, &*checkpoint).ok());
    EXPECT_EQ(Bits(TrainToEnd(*second, 0)), whole) << "from step " << stop_at;
  }
}

TEST_P(FamilyTest, OnlyTorchTrainsIt) {
  const PointSpec point = PointOf(GetParam());
  EXPECT_TRUE(BackendNamed("torch")->CanTrain(point).ok());
  const bool kernels = TorchOnlyField(point).empty();
  for (const char* name : {"cpu", "cuda"}) EXPECT_EQ(BackendNamed(name)->CanTrain(point).ok(), kernels) << name;
}

TEST(FamilyRunTest, StepsForACudaGraphAreTheSameSteps) {
  for (const RunCase& c : RunCases()) {
    const PointSpec point = PointOf(c);
    auto backend = MakeTorchBackend("cpu", 1, StepGraphs::kAlways);
    ASSERT_TRUE(backend.ok());
    ASSERT_TRUE((*backend)->Load(0, point, nullptr).ok());
    const PointResult with = TrainToEnd(**backend, 0), without = TrainPoint(point, "torch");
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(with.curve[i].train_loss, without.curve[i].train_loss, 1e-3 * without.curve[i].train_loss) << c.name;
    }
  }
}

TEST(FamilyRunTest, SixteenItemsAreMemorizedByEveryFamily) {
  for (const auto& set :
       {+[](PointSpec& p) { p.family = Family::kGpt2, p.head_dim = 8; }, +[](PointSpec& p) { p.family = Family::kMlp; },
        +[](PointSpec& p) { p.family = Family::kKs, p.activation = Activation::kRelu; },
        +[](PointSpec& p) { SetKs(p), SetVectors(p), p.loss = Loss::kMse; }}) {
    PointSpec point;
    point.width = 16, point.heads = 2, point.dataset_size = 16, point.epochs = 500;
    set(point);
    ASSERT_TRUE(ValidatePoint(point).ok()) << ValidatePoint(point);
    const PointResult r = TrainPoint(point, "torch");
    EXPECT_EQ(r.items_mem, 16) << CanonicalText(point);
    EXPECT_EQ(r.stop_reason, "memorized");
  }
}

struct Trained {
  PointSpec point;
  Library library;
  PointResult result;
  std::vector<float> weights;
};

Trained TrainAndLook(const PointSpec& point) {
  const auto backend = BackendNamed("torch");
  EXPECT_TRUE(backend->Load(0, point, nullptr).ok());
  Trained trained{point, *MakeLibrary(point), TrainToEnd(*backend, 0), {}};
  trained.weights = DecodeCheckpoint(backend->Save(0)->bytes)->weights;
  return trained;
}

TEST(HeldoutTest, LossIsTheMeanOverTheItemsAfterTheLibrary) {
  for (const RunCase& c : RunCases()) {
    const PointSpec point = PointOf(c);
    if (point.heldout_size == 0) continue;
    const Trained t = TrainAndLook(point);
    const ProbeResult probe = ProbeModel(point, *t.library.heldout, {t.weights.begin(), t.weights.end()});
    EXPECT_NEAR(t.result.heldout_loss, probe.loss, 1e-5 * probe.loss) << c.name;
    // Items that were never shown are no better known than by guessing.
    EXPECT_GT(t.result.heldout_loss, 0.6) << c.name;
  }
}

TEST(HeldoutTest, HeldOutItemsDoNotTouchTheTraining) {
  PointSpec point = SmallPoint();
  const PointResult without = TrainPoint(point, "torch");
  point.heldout_size = 25;
  const PointResult with = TrainPoint(point, "torch");
  EXPECT_EQ(with.train_loss, without.train_loss);
  EXPECT_EQ(with.nll_bits, without.nll_bits);
  EXPECT_EQ(with.redraws, without.redraws);
}

// The activations of family mlp with vectors, computed here from the trained weights, and all distances between them.
TEST(NeighbourTest, DistancesAreThoseOfTheActivationsBeforeTheHead) {
  PointSpec point = SmallPoint();
  SetVectors(point), point.family = Family::kMlp, point.heldout_size = 5, point.activation = Activation::kRelu;
  const Trained t = TrainAndLook(point);
  const ParamLayout layout = MakeLayout(point);
  const auto offset = [&](Role role) { return layout.tensors[static_cast<size_t>(layout.Find(role))].offset; };
  const size_t inputs = 24, hidden = 32, items = 50;  // 4 vectors of 6; 4 * width
  std::vector<std::vector<double>> activations(items, std::vector<double>(hidden));
  for (size_t i = 0; i < items; ++i) {
    for (size_t h = 0; h < hidden; ++h) {
      double sum = t.weights[static_cast<size_t>(offset(Role::kHiddenBias)) + h];
      for (size_t k = 0; k < inputs; ++k) {
        sum += static_cast<double>(t.weights[static_cast<size_t>(offset(Role::kHidden)) + h * inputs + k]) *
               t.library.vectors[i * inputs + k];
      }
      activations[i][h] = std::max(0.0, sum);
    }
  }
  std::vector<double> nearest(items, HUGE_VAL);
  for (size_t a = 0; a < items; ++a) {
    for (size_t b = 0; b < items; ++b) {
      double square = 0;
      for (size_t h = 0; h < hidden; ++h) square += std::pow(activations[a][h] - activations[b][h], 2);
      if (a != b) nearest[a] = std::min(nearest[a], std::sqrt(square));
    }
  }
  std::sort(nearest.begin(), nearest.end());
  double mean = 0;
  for (const double distance : nearest) mean += distance / static_cast<double>(items);
  EXPECT_NEAR(t.result.neighbour_mean, mean, 1e-5 * mean);
  EXPECT_NEAR(t.result.neighbour_median, (nearest[24] + nearest[25]) / 2, 1e-5 * mean);
}

TEST(NeighbourTest, OneItemHasNone) {
  PointSpec point = SmallPoint();
  point.dataset_size = 1, point.heldout_size = 3;
  const PointResult r = TrainPoint(point, "torch");
  EXPECT_TRUE(std::isnan(r.neighbour_mean));
  EXPECT_FALSE(std::isnan(r.heldout_loss));
}

}  // namespace
}  // namespace capsweep::trainer
