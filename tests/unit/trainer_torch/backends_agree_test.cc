// The back ends against each other and against the reference model in double.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/trainer/trainer_test_points.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer {
namespace {

// The back ends that are compared with torch.
class BackendsAgreeTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, BackendsAgreeTest, testing::Values("cpu", "cuda"),
                         [](const auto& test) { return test.param; });

// Rounding differs, and training multiplies differences: fifty steps are few enough to compare closely.
TEST_P(BackendsAgreeTest, AgreeOnWhatTheyTrain) {
  for (const PointSpec& point : OnePointPerMode()) {
    const PointResult torch = TrainPoint(point, "torch"), own = TrainPoint(point, GetParam());
    EXPECT_NEAR(own.train_loss, torch.train_loss, 1e-4 * torch.train_loss) << ToWord(point.mode);
    EXPECT_NEAR(own.nll_bits, torch.nll_bits, 1e-4 * torch.nll_bits) << ToWord(point.mode);
    EXPECT_NEAR(static_cast<double>(own.tokens_mem), static_cast<double>(torch.tokens_mem), 2);
    EXPECT_EQ(own.steps, torch.steps);
    EXPECT_EQ(own.presentations, torch.presentations);
    EXPECT_EQ(own.backend, GetParam());
    EXPECT_EQ(torch.backend, "torch");
  }
}

// Shapes, modes, depths, batch remainders and packings at random; the mean loss of every epoch over fifty steps.
TEST_P(BackendsAgreeTest, LossesStayTogetherOverFiftyStepsOfRandomPoints) {
  std::mt19937 random(11);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  int trained = 0;
  while (trained < 24) {
    PointSpec point;
    point.mode = static_cast<Mode>(pick(0, 2));
    point.layers = pick(1, 3), point.heads = pick(1, 4), point.head_dim = pick(1, 9), point.width = pick(4, 40);
    point.seq_len = pick(2, 10), point.vocab = pick(4, 40), point.freeze_mlp = pick(0, 1) == 1;
    point.batch_size = pick(1, 50), point.dataset_size = point.batch_size + pick(0, 60);
    point.lm_targets = pick(0, 1) == 1 ? LmTargets::kAll : LmTargets::kDetermined;
    point.data_seed = point.init_seed = static_cast<uint64_t>(pick(1, 1000));
    point.steps = 50, point.eval_every = 1, point.patience = 0, point.lr = 1e-3;
    if (!ValidatePoint(point).ok() || !MakeLibrary(point).ok()) continue;
    ++trained;
    const PointResult torch = TrainPoint(point, "torch"), own = TrainPoint(point, GetParam());
    ASSERT_EQ(own.curve.size(), torch.curve.size()) << PointToJson(point);
    for (size_t i = 0; i < own.curve.size(); ++i) {
      EXPECT_NEAR(own.curve[i].train_loss, torch.curve[i].train_loss, 1e-5 * std::max(1.0, torch.curve[i].train_loss))
          << PointToJson(point) << " step " << own.curve[i].step;
    }
  }
}

TEST_P(BackendsAgreeTest, CheckpointOfAnotherBackendIsRefused) {
  const auto torch = BackendNamed("torch"), own = BackendNamed(GetParam());
  ASSERT_TRUE(torch->Load(0, SmallPoint(), nullptr).ok());
  const auto checkpoint = torch->Save(0);
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(own->Load(0, SmallPoint(), &*checkpoint)));
}

// A step fit for a CUDA graph rounds Adam's factors to floats; else it is the same step, whole batches and remainders.
TEST(StepGraphTest, StepsMadeForAGraphAreTheSameSteps) {
  for (const PointSpec& point : OnePointPerMode()) {
    const auto backend = MakeTorchBackend("cpu", 1, StepGraphs::kAlways);
    ASSERT_TRUE(backend.ok()) << backend.status();
    ASSERT_TRUE((*backend)->Load(0, point, nullptr).ok());
    const PointResult graph = TrainToEnd(**backend, 0), plain = TrainPoint(point, "torch");
    EXPECT_NEAR(graph.train_loss, plain.train_loss, 1e-4 * plain.train_loss) << ToWord(point.mode);
    EXPECT_NEAR(graph.curve[0].train_loss, plain.curve[0].train_loss, 1e-5 * plain.curve[0].train_loss);
    EXPECT_EQ(graph.steps, plain.steps);
  }
}

class BackendsTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, BackendsTest, testing::ValuesIn(BackendsHere()),
                         [](const auto& test) { return test.param; });

TEST_P(BackendsTest, MemorizedItemsFallToChanceWhenLabelsAreShuffled) {
  PointSpec point = SmallPoint();
  point.width = 16, point.dataset_size = 256, point.epochs = 1000, point.batch_size = 32;
  const auto backend = BackendNamed(GetParam());
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  EXPECT_EQ(TrainToEnd(*backend, 0).items_mem, 256);
  const auto content = DecodeCheckpoint(backend->Save(0)->bytes);
  ASSERT_TRUE(content.ok());
  Library library = *MakeLibrary(point);
  const ProbeResult probed = ProbeModel(point, library, {content->weights.begin(), content->weights.end()});
  const std::vector<float> logits(probed.logits.begin(), probed.logits.end());
  Tally own, shuffled;
  own.Add(logits, library.target_tokens, 1, point.vocab);
  EXPECT_EQ(own.items_mem, 256);
  std::rotate(library.target_tokens.begin(), library.target_tokens.begin() + 100, library.target_tokens.end());
  shuffled.Add(logits, library.target_tokens, 1, point.vocab);
  EXPECT_NEAR(static_cast<double>(shuffled.items_mem), 16, 4 * std::sqrt(15.0));
}

TEST(TorchDeviceTest, UnknownDevicesAreRefusedByName) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeTorchBackend("gpu").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeTorchBackend("cuda:x").status()));
  EXPECT_FALSE(MakeTorchBackend("cuda:4711").ok());
}

}  // namespace
}  // namespace capsweep::trainer
