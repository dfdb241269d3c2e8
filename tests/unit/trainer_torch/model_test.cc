// The model's arithmetic in double: gradients against central differences, and the trims against the full computation.
#include <algorithm>
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
  point.steps = 1;
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

void ExpectCentralDifferences(const PointSpec& point, int64_t dropout_step = 0) {
  ASSERT_TRUE(ValidatePoint(point).ok()) << ValidatePoint(point);
  Probed probed = Prepare(point);
  const auto probe = [&] { return ProbeModel(point, probed.library, probed.weights, true, dropout_step); };
  const ProbeResult analytic = probe();
  ASSERT_EQ(analytic.gradients.size(), static_cast<size_t>(probed.layout.train));
  constexpr double kStep = 3e-6;
  for (const TensorSpec& tensor : probed.layout.tensors) {
    if (tensor.frozen) continue;
    double error = 0, size = 0;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      const auto at = static_cast<size_t>(tensor.offset + i);
      const double kept = probed.weights[at];
      probed.weights[at] = kept + kStep;
      const double above = probe().loss;
      probed.weights[at] = kept - kStep;
      const double below = probe().loss;
      probed.weights[at] = kept;
      const double numeric = (above - below) / (2 * kStep);
      error += (numeric - analytic.gradients[at]) * (numeric - analytic.gradients[at]);
      size += numeric * numeric;
    }
    // A key's bias moves all scores of a query alike, which softmax does not see: its gradient is 0.
    if (tensor.role == Role::kKeyBias) {
      EXPECT_LT(std::sqrt(error), 2e-9) << tensor.name;
      continue;
    }
    EXPECT_GT(size, 0) << tensor.name;
    // The differences themselves are no better than a few 1e-10.
    EXPECT_LE(std::sqrt(error), 1e-6 * std::sqrt(size) + 2e-9) << tensor.name;
  }
}

// What a gradient can depend on, one case each: every family in every mode it has, and every option.
struct GradientCase {
  std::string name;
  void (*set)(PointSpec&);
  Mode mode = Mode::kLabel;
  int64_t dropout_step = 0;
};

void Gpt2(PointSpec& p) {
  p.family = Family::kGpt2, p.head_dim = 2;
}
void Ks(PointSpec& p) {
  p.family = Family::kKs, p.activation = Activation::kGelu;
}
void Vectors(PointSpec& p) {
  p.tokens = Tokens::kVectors, p.vector_dim = 3, p.vocab = 2;
}

const std::vector<GradientCase>& GradientCases() {
  static const auto& cases = *new std::vector<GradientCase>{
      {"XtLabel", [](PointSpec&) {}},
      {"XtSeq", [](PointSpec&) {}, Mode::kSeq},
      {"XtLm", [](PointSpec&) {}, Mode::kLm},
      {"XtLabelFrozen", [](PointSpec& p) { p.freeze_mlp = true; }},
      {"XtSeqFrozen", [](PointSpec& p) { p.freeze_mlp = true; }, Mode::kSeq},
      {"XtLmFrozen", [](PointSpec& p) { p.freeze_mlp = true; }, Mode::kLm},
      {"XtMlpWidth", [](PointSpec& p) { p.layers = 1, p.mlp_width = 5; }},
      {"XtSoftmax", [](PointSpec& p) { p.layers = 1, p.activation = Activation::kSoftmax; }},
      {"XtRelu", [](PointSpec& p) { p.layers = 1, p.activation = Activation::kRelu; }, Mode::kSeq},
      {"XtNoPositions", [](PointSpec& p) { p.layers = 1, p.positions = Positions::kNone; }, Mode::kLm},
      {"XtRotaryLabel", [](PointSpec& p) { p.positions = Positions::kRotary, p.head_dim = 4; }},
      {"XtRotaryLm", [](PointSpec& p) { p.layers = 1, p.positions = Positions::kRotary, p.head_dim = 4; }, Mode::kLm},
      {"XtDropout", [](PointSpec& p) { p.layers = 1, p.dropout = 0.3; }, Mode::kSeq, 7},
      {"Gpt2Label", Gpt2},
      {"Gpt2Seq", Gpt2, Mode::kSeq},
      {"Gpt2Lm", Gpt2, Mode::kLm},
      {"Gpt2Frozen",
       [](PointSpec& p) { p.layers = 1, Gpt2(p), p.freeze_mlp = true, p.activation = Activation::kSoftmax; }},
      {"Gpt2Dropout", [](PointSpec& p) { p.layers = 1, Gpt2(p), p.dropout = 0.2; }, Mode::kLabel, 3},
      {"MlpLabel", [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1; }},
      {"MlpSeq", [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1, p.mlp_width = 7; }, Mode::kSeq},
      {"MlpVectors", [](PointSpec& p) { Vectors(p), p.family = Family::kMlp, p.layers = 1; }},
      {"MlpMse",
       [](PointSpec& p) { p.family = Family::kMlp, p.layers = 1, p.vocab = 2, p.seq_len = 6, p.loss = Loss::kMse; }},
      {"Ks", Ks},
      {"KsRelu", [](PointSpec& p) { Ks(p), p.activation = Activation::kRelu; }},
      {"KsNoPositions", [](PointSpec& p) { Ks(p), p.positions = Positions::kNone, p.mlp_width = 3; }},
      {"KsVectorsMse", [](PointSpec& p) { Ks(p), Vectors(p), p.loss = Loss::kMse; }},
  };
  return cases;
}

PointSpec PointOf(const GradientCase& c) {
  PointSpec point = TinyPoint(c.mode);
  point.lm_targets = LmTargets::kAll;
  c.set(point);
  return point;
}

class GradientTest : public testing::TestWithParam<GradientCase> {};

TEST_P(GradientTest, EveryTensorAgreesWithCentralDifferences) {
  ExpectCentralDifferences(PointOf(GetParam()), GetParam().dropout_step);
}

INSTANTIATE_TEST_SUITE_P(Each, GradientTest, testing::ValuesIn(GradientCases()),
                         [](const auto& test) { return test.param.name; });

TEST(TrimTest, LastPositionAloneGivesTheSameLossLogitsAndGradients) {
  for (const GradientCase& c : GradientCases()) {
    for (const int64_t layers : {1, 3}) {
      PointSpec point = PointOf(c);
      if (point.mode != Mode::kLabel || point.family == Family::kMlp) continue;
      point.layers = layers;
      const Probed probed = Prepare(point);
      const ProbeResult trimmed = ProbeModel(point, probed.library, probed.weights, true, c.dropout_step);
      const ProbeResult whole = ProbeModel(point, probed.library, probed.weights, false, c.dropout_step);
      ASSERT_EQ(trimmed.logits.size(), static_cast<size_t>(12 * point.vocab));
      ASSERT_EQ(trimmed.logits.size(), whole.logits.size());
      EXPECT_NEAR(trimmed.loss, whole.loss, 1e-12);
      for (size_t i = 0; i < whole.logits.size(); ++i) {
        ASSERT_NEAR(trimmed.logits[i], whole.logits[i], 1e-12) << c.name;
      }
      for (size_t i = 0; i < whole.gradients.size(); ++i) {
        ASSERT_NEAR(trimmed.gradients[i], whole.gradients[i], 1e-12) << c.name;
      }
    }
  }
}

double LossOf(const Probed& probed, int64_t dropout_step = 0) {
  return ProbeModel(probed.point, probed.library, probed.weights, true, dropout_step).loss;
}

TEST(DropoutTest, MasksDependOnTheStepAloneAndAreOffInEvaluation) {
  PointSpec point = TinyPoint(Mode::kSeq);
  const double without = LossOf(Prepare(point));
  point.dropout = 0.5;
  const Probed probed = Prepare(point);
  EXPECT_EQ(LossOf(probed), without);
  EXPECT_NE(LossOf(probed, 1), without);
  EXPECT_NE(LossOf(probed, 1), LossOf(probed, 2));
  EXPECT_EQ(LossOf(probed, 1), LossOf(probed, 1));
}

TEST(PositionTest, WithoutPositionsAttentionSeesASetAndRotaryADistance) {
  PointSpec point = TinyPoint(Mode::kLabel);
  point.head_dim = 4;
  // Items 0 and 1: the same tokens before the last one, in another order.
  const auto logits = [&](Positions positions) {
    point.positions = positions;
    Probed probed = Prepare(point);
    const std::vector<int32_t> swapped = {0, 1, 2, 3, 2, 1, 0, 3};
    std::copy(swapped.begin(), swapped.end(), probed.library.tokens.begin());
    const std::vector<double> all = ProbeModel(point, probed.library, probed.weights).logits;
    double difference = 0;
    for (size_t v = 0; v < 5; ++v) difference += std::abs(all[v] - all[5 + v]);
    return difference;
  };
  EXPECT_LT(logits(Positions::kNone), 1e-12);
  EXPECT_GT(logits(Positions::kAbsolute), 1e-3);
  EXPECT_GT(logits(Positions::kRotary), 1e-3);
}

TEST(KsTest, AttentionIsUniformOverThePositions) {
  PointSpec point = TinyPoint(Mode::kLabel);
  point.family = Family::kKs, point.positions = Positions::kNone;
  Probed probed = Prepare(point);
  const std::vector<int32_t> swapped = {0, 1, 2, 3, 2, 1, 0, 3};
  std::copy(swapped.begin(), swapped.end(), probed.library.tokens.begin());
  const std::vector<double> all = ProbeModel(point, probed.library, probed.weights).logits;
  for (size_t v = 0; v < 5; ++v) EXPECT_NEAR(all[v], all[5 + v], 1e-12);
}

TEST(MseTest, LogitsAreTheOutputAndItsNegative) {
  PointSpec point = TinyPoint(Mode::kLabel);
  point.family = Family::kKs, point.vocab = 2, point.seq_len = 6, point.loss = Loss::kMse;
  const Probed probed = Prepare(point);
  const ProbeResult r = ProbeModel(point, probed.library, probed.weights);
  double loss = 0;
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(r.logits[2 * i], -r.logits[2 * i + 1]);
    const double target = probed.library.target_tokens[i] == 1 ? 1 : -1;
    loss += std::pow(r.logits[2 * i + 1] - target, 2) / 12;
  }
  EXPECT_NEAR(r.loss, loss, 1e-12);
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
