// The model's arithmetic in double: gradients against central differences, and the trims against the full computation.
#include <cmath>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/model/layout.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {
namespace {

PointSpec TinyPoint(Mode mode) {
  PointSpec point;
  point.mode = mode;
  point.vocab = 5;
  point.seq_len = 4;
  point.layers = 2;
  point.heads = 2;
  point.head_dim = 3;
  point.width = 4;
  point.dataset_size = 12;
  return point;
}

struct Probed {
  PointSpec point;
  ParamLayout layout;
  Library library;
  std::vector<double> weights;
};

Probed Prepare(const PointSpec& point) {
  Probed probed{point, MakeLayout(point), {}, {}};
  auto library = MakeLibrary(point);
  EXPECT_TRUE(library.ok()) << library.status();
  probed.library = *std::move(library);
  const std::vector<float> initial = InitialWeights(probed.layout, 3);
  probed.weights.assign(initial.begin(), initial.end());
  // Gains of 1 and biases of 0 would hide mistakes.
  for (size_t i = 0; i < probed.weights.size(); ++i) probed.weights[i] += 0.1 * std::sin(static_cast<double>(i));
  return probed;
}

class GradientTest : public testing::TestWithParam<std::tuple<Mode, bool>> {};

TEST_P(GradientTest, EveryTensorAgreesWithCentralDifferences) {
  PointSpec point = TinyPoint(std::get<0>(GetParam()));
  point.freeze_mlp = std::get<1>(GetParam());
  point.lm_targets = LmTargets::kAll;
  Probed probed = Prepare(point);
  const ProbeResult analytic = ProbeModel(point, probed.library, probed.weights);
  ASSERT_EQ(analytic.gradients.size(), static_cast<size_t>(probed.layout.train));
  constexpr double kStep = 1e-5;
  for (const TensorSpec& tensor : probed.layout.tensors) {
    if (tensor.frozen) continue;
    double error = 0, size = 0;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const auto at = static_cast<size_t>(tensor.offset + i);
      const double kept = probed.weights[at];
      probed.weights[at] = kept + kStep;
      const double above = ProbeModel(point, probed.library, probed.weights).loss;
      probed.weights[at] = kept - kStep;
      const double below = ProbeModel(point, probed.library, probed.weights).loss;
      probed.weights[at] = kept;
      const double numeric = (above - below) / (2 * kStep);
      error += (numeric - analytic.gradients[at]) * (numeric - analytic.gradients[at]);
      size += numeric * numeric;
    }
    EXPECT_GT(size, 0) << tensor.name;
    EXPECT_LE(std::sqrt(error), 1e-6 * std::sqrt(size)) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, GradientTest,
                         testing::Combine(testing::Values(Mode::kLabel, Mode::kSeq, Mode::kLm), testing::Bool()),
                         [](const auto& test) {
                           return std::string(ToWord(std::get<0>(test.param))) +
                                  (std::get<1>(test.param) ? "FrozenMlp" : "");
                         });

TEST(TrimTest, LastPositionAloneGivesTheSameLossLogitsAndGradients) {
  for (const int64_t layers : {1, 3}) {
    PointSpec point = TinyPoint(Mode::kLabel);
    point.layers = layers;
    const Probed probed = Prepare(point);
    const ProbeResult trimmed = ProbeModel(point, probed.library, probed.weights, true);
    const ProbeResult whole = ProbeModel(point, probed.library, probed.weights, false);
    ASSERT_EQ(trimmed.logits.size(), 12u * 5u);
    ASSERT_EQ(trimmed.logits.size(), whole.logits.size());
    for (size_t i = 0; i < whole.logits.size(); ++i) EXPECT_NEAR(trimmed.logits[i], whole.logits[i], 1e-12);
    for (size_t i = 0; i < whole.gradients.size(); ++i) EXPECT_NEAR(trimmed.gradients[i], whole.gradients[i], 1e-12);
  }
}

TEST(CausalTest, LmPredictionsDoNotSeeTheTokenTheyPredictOrLaterOnes) {
  PointSpec point = TinyPoint(Mode::kLm);
  point.lm_targets = LmTargets::kAll;
  Probed probed = Prepare(point);
  const std::vector<double> before = ProbeModel(point, probed.library, probed.weights).logits;
  const size_t vocab = 5, changed = 1;  // token 1 of item 0
  probed.library.tokens[changed] = (probed.library.tokens[changed] + 1) % 5;
  const std::vector<double> after = ProbeModel(point, probed.library, probed.weights).logits;
  for (size_t i = 0; i < (changed + 1) * vocab; ++i) EXPECT_EQ(before[i], after[i]);
  double moved = 0;
  for (size_t i = (changed + 1) * vocab; i < 4 * vocab; ++i) moved += std::abs(before[i] - after[i]);
  EXPECT_GT(moved, 1e-3);
}

TEST(CausalTest, SeqPredictionsSeeEveryToken) {
  const PointSpec point = TinyPoint(Mode::kSeq);
  Probed probed = Prepare(point);
  const std::vector<double> before = ProbeModel(point, probed.library, probed.weights).logits;
  probed.library.tokens[3] = (probed.library.tokens[3] + 1) % 5;
  const std::vector<double> after = ProbeModel(point, probed.library, probed.weights).logits;
  EXPECT_NE(before[0], after[0]);
}

TEST(ModelTest, FirstTargetCutsTheSamePositionsFromTheLogits) {
  PointSpec point = TinyPoint(Mode::kLm);
  point.lm_targets = LmTargets::kAll;
  Probed probed = Prepare(point);
  const std::vector<double> all = ProbeModel(point, probed.library, probed.weights).logits;
  point.lm_targets = LmTargets::kDetermined;
  const Library cut = *MakeLibrary(point);
  ASSERT_GT(cut.first_target, 0);
  const std::vector<double> late = ProbeModel(point, cut, probed.weights).logits;
  const size_t row = 5, skipped = static_cast<size_t>(cut.first_target) * row;
  ASSERT_EQ(late.size(), static_cast<size_t>(cut.targets) * row * 12);
  for (size_t i = 0; i < static_cast<size_t>(cut.targets) * row; ++i) EXPECT_NEAR(late[i], all[skipped + i], 1e-12);
}

}  // namespace
}  // namespace capsweep::trainer
