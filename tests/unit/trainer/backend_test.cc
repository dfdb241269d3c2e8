// What every back end on the CPU must keep.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/trainer/trainer_test_points.h"
#include "worker/trainer/checkpoint.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer {
namespace {

class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Backend> Make(int slots = 1) { return BackendNamed(GetParam(), slots); }
  static PointResult Train(const PointSpec& point) { return TrainPoint(point, GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Each, BackendTest, testing::ValuesIn(BackendsHere()),
                         [](const auto& test) { return test.param; });

TEST_P(BackendTest, MeasuresKeepTheirBoundsInEveryMode) {
  for (const PointSpec& point : OnePointPerMode()) {
    const PointResult r = Train(point);
    const int64_t targets = r.targets;
    EXPECT_EQ(r.point_key, PointKey(point));
    EXPECT_EQ(r.stop_reason, "budget");
    EXPECT_GE(r.items_mem, 0);
    EXPECT_LE(r.items_mem, 50);
    EXPECT_GE(r.items_mem_best, r.items_mem);
    EXPECT_LE(r.tokens_mem, 50 * targets);
    EXPECT_LE(r.items_mem, r.tokens_mem / targets);
    EXPECT_GE(r.nll_bits, 0);
    EXPECT_LE(r.bits_mem, static_cast<double>(50 * targets) * 4);
    EXPECT_NEAR(r.bits_mem + r.nll_bits, static_cast<double>(50 * targets) * 4, 1e-6);
    EXPECT_EQ(r.epochs, 12);
    EXPECT_EQ(r.steps, 48);
    EXPECT_EQ(r.presentations, 600);
    ASSERT_EQ(r.curve.size(), 3u);
    EXPECT_EQ(r.curve[0].epoch, 4);
    EXPECT_EQ(r.curve[2].step, 48);
    EXPECT_EQ(r.curve[2].items_mem, r.items_mem);
    EXPECT_LT(r.curve[2].train_loss, r.curve[0].train_loss);
    EXPECT_GT(r.seconds_train, 0);
    EXPECT_GE(r.seconds, r.seconds_train + r.seconds_eval);
  }
}

TEST_P(BackendTest, RepeatGivesTheSameBits) {
  for (const PointSpec& point : OnePointPerMode()) {
    EXPECT_EQ(Bits(Train(point)), Bits(Train(point)));
  }
}

TEST(CpuPackTest, FullPackOfMixedPointsGivesEveryOneItsOwnBits) {
  const auto backend = BackendNamed("cpu");
  std::vector<PointSpec> points;
  for (int slot = 0; slot < 16; ++slot) {
    PointSpec point = SmallPoint();
    point.data_seed = point.init_seed = static_cast<uint64_t>(slot) + 1;
    point.dataset_size = 30 + 7 * slot, point.epochs = 5 + slot % 4, point.lr = 1e-3 * (1 + slot);
    points.push_back(point);
  }
  ASSERT_EQ(backend->Slots(points[0]), 16);
  for (int slot = 0; slot < 16; ++slot) ASSERT_TRUE(backend->Load(slot, points[slot], nullptr).ok());
  for (int slot = 0; slot < 16; ++slot) {
    EXPECT_EQ(Bits(TrainToEnd(*backend, slot)), Bits(TrainPoint(points[slot], "cpu"))) << slot;
    backend->Unload(slot);
  }
}

// A frozen MLP is another shape: its tensors lie elsewhere and its optimizer leaves them alone.
TEST(CpuPackTest, AnotherShapeWaitsUntilTheSlotsAreFree) {
  PointSpec wider = SmallPoint(), frozen = SmallPoint();
  wider.width = 12;
  frozen.freeze_mlp = true;
  for (const PointSpec& other : {wider, frozen}) {
    const auto backend = BackendNamed("cpu");
    ASSERT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(backend->Load(1, other, nullptr)));
    backend->Unload(0);
    EXPECT_TRUE(backend->Load(1, other, nullptr).ok());
    EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(TrainPoint(other, "cpu")));
  }
}

TEST_P(BackendTest, SeedsChangeTheResult) {
  PointSpec point = SmallPoint();
  const double loss = Train(point).train_loss;
  point.init_seed = 2;
  EXPECT_NE(Train(point).train_loss, loss);
  point.init_seed = 1, point.data_seed = 2;
  EXPECT_NE(Train(point).train_loss, loss);
}

TEST_P(BackendTest, SlotNeighboursAndSlicesDoNotChangeTheBits) {
  const PointSpec point = SmallPoint();
  PointSpec neighbour = SmallPoint();
  neighbour.init_seed = 5, neighbour.dataset_size = 33;
  const std::string alone = Bits(Train(point));
  const auto backend = Make(3);
  ASSERT_GE(backend->Slots(point), 3);
  ASSERT_TRUE(backend->Load(0, neighbour, nullptr).ok());
  ASSERT_TRUE(backend->Load(2, point, nullptr).ok());
  backend->Run(std::chrono::milliseconds(1));
  ASSERT_TRUE(backend->Load(1, neighbour, nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 2, std::chrono::microseconds(10))), alone);
  backend->Unload(2);
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(Train(neighbour)));
}

TEST_P(BackendTest, ResumingAtAnyStepGivesTheSameBits) {
  for (const PointSpec& point : OnePointPerMode()) {
    const std::string whole = Bits(Train(point));
    for (const int64_t stop_at : {1, 6, 16, 17, 47}) {  // in mid-epoch, before and after an evaluation
      const auto first = Make();
      ASSERT_TRUE(first->Load(0, point, nullptr).ok());
      while (first->Look(0).step < stop_at) first->Run(Duration::zero());
      const auto checkpoint = first->Save(0);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      const auto second = Make();
      ASSERT_TRUE(second->Load(0, point, &*checkpoint).ok());
      const int64_t saved_at = first->Look(0).step;  // a back end may have had a step under way
      EXPECT_LE(saved_at, stop_at + 1);
      EXPECT_EQ(second->Look(0).step, saved_at);
      const PointResult resumed = TrainToEnd(*second, 0);
      EXPECT_EQ(resumed.resumed_from_step, saved_at);
      EXPECT_EQ(Bits(resumed), whole) << ToWord(point.mode) << " from step " << saved_at;
    }
  }
}

TEST_P(BackendTest, CheckpointOfAnotherPointIsRefusedAndTheSlotStaysFree) {
  const auto backend = Make();
  PointSpec point = SmallPoint();
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  const auto checkpoint = backend->Save(0);
  ASSERT_TRUE(checkpoint.ok());
  backend->Unload(0);
  point.lr = 1e-3;
  EXPECT_TRUE(absl::IsFailedPrecondition(backend->Load(0, point, &*checkpoint)));
  EXPECT_TRUE(backend->Load(0, point, nullptr).ok());
}

TEST_P(BackendTest, FrozenMlpKeepsItsBytesWhileEverythingElseMoves) {
  PointSpec point = SmallPoint();
  point.freeze_mlp = true, point.layers = 2;
  const ParamLayout layout = MakeLayout(point);
  const std::vector<float> before = InitialWeights(layout, point.init_seed);
  const auto backend = Make();
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  TrainToEnd(*backend, 0);
  const auto content = DecodeCheckpoint(backend->Save(0)->bytes);
  ASSERT_TRUE(content.ok());
  for (const TensorSpec& tensor : layout.tensors) {
    const auto from = before.begin() + tensor.offset;
    const bool same = std::equal(from, from + tensor.size(), content->weights.begin() + tensor.offset);
    EXPECT_EQ(same, tensor.frozen) << tensor.name;
  }
}

// One step of size lr = 1e-7 leaves the model untrained for all that matters here.
PointSpec Untrained() {
  PointSpec point = SmallPoint();
  point.dataset_size = 4000, point.batch_size = 4000, point.epochs = 0, point.steps = 1, point.lr = 1e-7;
  return point;
}

TEST_P(BackendTest, UntrainedModelGuesses) {
  const PointResult r = Train(Untrained());
  const double chance = 4000.0 / 16, sigma = std::sqrt(4000.0 / 16 * 15 / 16);
  EXPECT_NEAR(static_cast<double>(r.items_mem), chance, 4 * sigma);
}

TEST_P(BackendTest, SixteenItemsAreMemorizedWithinFiveHundredEpochsBySeedsOneToFive) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    PointSpec point;
    point.width = 16, point.heads = 2, point.seq_len = 8;
    point.dataset_size = 16, point.epochs = 500;
    point.data_seed = point.init_seed = seed;
    const PointResult r = Train(point);
    EXPECT_EQ(r.items_mem, 16) << "seed " << seed;
    EXPECT_EQ(r.stop_reason, "memorized");
    EXPECT_LE(r.epochs, 500);
  }
}

TEST_P(BackendTest, NanLossFailsItsSlotAndLeavesNeighboursAlone) {
  const PointSpec point = SmallPoint();
  const auto backend = Make(2);
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  CheckpointContent content = *DecodeCheckpoint(backend->Save(0)->bytes);
  backend->Unload(0);
  content.weights.back() = std::nanf("");
  const Checkpoint broken{GetParam(), EncodeCheckpoint(content)};
  ASSERT_TRUE(backend->Load(0, point, &broken).ok());
  ASSERT_TRUE(backend->Load(1, point, nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(Train(point)));
  const SlotView view = backend->Look(0);
  EXPECT_FALSE(view.failure.ok());
  EXPECT_EQ(view.cause, FailureCause::kNanLoss);
  EXPECT_FALSE(view.finished);
  EXPECT_FALSE(backend->Result(0).ok());
}

TEST_P(BackendTest, PointLargerThanMemoryIsRefusedBeforeAnythingIsAllocated) {
  PointSpec huge = SmallPoint();
  huge.width = 65536, huge.heads = 1024, huge.head_dim = 4096, huge.layers = 256;
  const absl::Status loaded = Make()->Load(0, huge, nullptr);
  EXPECT_TRUE(absl::IsResourceExhausted(loaded)) << loaded;
}

TEST_P(BackendTest, OtherBackendsPointsAreNotTrained) {
  PointSpec point = SmallPoint();
  point.backend = GetParam() == "cuda" ? "torch" : "cuda";
  EXPECT_TRUE(absl::IsUnimplemented(Make()->CanTrain(point)));
  point.backend = GetParam();
  EXPECT_TRUE(Make()->CanTrain(point).ok());
}

TEST(CpuDeviceTest, OtherDevicesAreLeftToOtherBackends) {
  EXPECT_TRUE(absl::IsUnimplemented(MakeCpuBackend("cuda:0").status()));
}

}  // namespace
}  // namespace capsweep::trainer
