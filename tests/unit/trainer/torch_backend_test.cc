#include "worker/trainer/torch/torch_backend.h"

#include <algorithm>
#include <cmath>
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

std::vector<PointSpec> OnePointPerMode() {
  PointSpec label = SmallPoint();
  PointSpec seq = SmallPoint();
  seq.mode = Mode::kSeq, seq.seq_len = 4, seq.layers = 2;
  PointSpec lm = SmallPoint();
  lm.mode = Mode::kLm, lm.freeze_mlp = true;
  return {label, seq, lm};
}

TEST(TorchBackendTest, MeasuresKeepTheirBoundsInEveryMode) {
  for (const PointSpec& point : OnePointPerMode()) {
    const PointResult r = TrainPoint(point);
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

TEST(TorchBackendTest, RepeatGivesTheSameBits) {
  for (const PointSpec& point : OnePointPerMode()) {
    EXPECT_EQ(Bits(TrainPoint(point)), Bits(TrainPoint(point)));
  }
}

TEST(TorchBackendTest, SeedsChangeTheResult) {
  PointSpec point = SmallPoint();
  const double loss = TrainPoint(point).train_loss;
  point.init_seed = 2;
  EXPECT_NE(TrainPoint(point).train_loss, loss);
  point.init_seed = 1, point.data_seed = 2;
  EXPECT_NE(TrainPoint(point).train_loss, loss);
}

TEST(TorchBackendTest, SlotNeighboursAndSlicesDoNotChangeTheBits) {
  const PointSpec point = SmallPoint();
  PointSpec neighbour = SmallPoint();
  neighbour.init_seed = 5, neighbour.dataset_size = 33;
  const std::string alone = Bits(TrainPoint(point));
  const auto backend = TorchOnCpu(3);
  ASSERT_EQ(backend->Slots(point), 3);
  ASSERT_TRUE(backend->Load(0, neighbour, nullptr).ok());
  ASSERT_TRUE(backend->Load(2, point, nullptr).ok());
  backend->Run(std::chrono::milliseconds(1));
  ASSERT_TRUE(backend->Load(1, neighbour, nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 2, std::chrono::microseconds(10))), alone);
  backend->Unload(2);
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(TrainPoint(neighbour)));
}

TEST(TorchBackendTest, ResumingAtAnyStepGivesTheSameBits) {
  for (const PointSpec& point : OnePointPerMode()) {
    const std::string whole = Bits(TrainPoint(point));
    for (const int64_t stop_at : {1, 6, 16, 17, 47}) {  // in mid-epoch, before and after an evaluation
      const auto first = TorchOnCpu();
      ASSERT_TRUE(first->Load(0, point, nullptr).ok());
      while (first->Look(0).step < stop_at) first->Run(Duration::zero());
      const auto checkpoint = first->Save(0);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      const auto second = TorchOnCpu();
      ASSERT_TRUE(second->Load(0, point, &*checkpoint).ok());
      EXPECT_EQ(second->Look(0).step, stop_at);
      const PointResult resumed = TrainToEnd(*second, 0);
      EXPECT_EQ(resumed.resumed_from_step, stop_at);
      EXPECT_EQ(Bits(resumed), whole) << ToWord(point.mode) << " from step " << stop_at;
    }
  }
}

TEST(TorchBackendTest, CheckpointOfAnotherPointIsRefusedAndTheSlotStaysFree) {
  const auto backend = TorchOnCpu();
  PointSpec point = SmallPoint();
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  const auto checkpoint = backend->Save(0);
  ASSERT_TRUE(checkpoint.ok());
  backend->Unload(0);
  point.lr = 1e-3;
  EXPECT_TRUE(absl::IsFailedPrecondition(backend->Load(0, point, &*checkpoint)));
  EXPECT_TRUE(backend->Load(0, point, nullptr).ok());
}

TEST(TorchBackendTest, FrozenMlpKeepsItsBytesWhileEverythingElseMoves) {
  PointSpec point = SmallPoint();
  point.freeze_mlp = true, point.layers = 2;
  const ParamLayout layout = MakeLayout(point);
  const std::vector<float> before = InitialWeights(layout, point.init_seed);
  const auto backend = TorchOnCpu();
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

TEST(TorchBackendTest, UntrainedModelGuesses) {
  const PointResult r = TrainPoint(Untrained());
  const double chance = 4000.0 / 16, sigma = std::sqrt(4000.0 / 16 * 15 / 16);
  EXPECT_NEAR(static_cast<double>(r.items_mem), chance, 4 * sigma);
}

TEST(TorchBackendTest, MemorizedItemsFallToChanceWhenLabelsAreShuffled) {
  PointSpec point = SmallPoint();
  point.width = 16, point.dataset_size = 256, point.epochs = 1000, point.batch_size = 32;
  const auto backend = TorchOnCpu();
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

TEST(TorchBackendTest, SixteenItemsAreMemorizedWithinFiveHundredEpochsBySeedsOneToFive) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    PointSpec point;
    point.width = 16, point.heads = 2, point.seq_len = 8;
    point.dataset_size = 16, point.epochs = 500;
    point.data_seed = point.init_seed = seed;
    const PointResult r = TrainPoint(point);
    EXPECT_EQ(r.items_mem, 16) << "seed " << seed;
    EXPECT_EQ(r.stop_reason, "memorized");
    EXPECT_LE(r.epochs, 500);
  }
}

TEST(TorchBackendTest, NanLossFailsItsSlotAndLeavesNeighboursAlone) {
  const PointSpec point = SmallPoint();
  const auto backend = TorchOnCpu(2);
  ASSERT_TRUE(backend->Load(0, point, nullptr).ok());
  CheckpointContent content = *DecodeCheckpoint(backend->Save(0)->bytes);
  backend->Unload(0);
  content.weights.back() = std::nanf("");
  const Checkpoint broken{"torch", EncodeCheckpoint(content)};
  ASSERT_TRUE(backend->Load(0, point, &broken).ok());
  ASSERT_TRUE(backend->Load(1, point, nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(TrainPoint(point)));
  const SlotView view = backend->Look(0);
  EXPECT_FALSE(view.failure.ok());
  EXPECT_EQ(view.cause, FailureCause::kNanLoss);
  EXPECT_FALSE(view.finished);
  EXPECT_FALSE(backend->Result(0).ok());
}

TEST(TorchBackendTest, PointLargerThanMemoryIsRefusedBeforeAnythingIsAllocated) {
  PointSpec huge = SmallPoint();
  huge.width = 65536, huge.heads = 1024, huge.head_dim = 4096, huge.layers = 256;
  const absl::Status loaded = TorchOnCpu()->Load(0, huge, nullptr);
  EXPECT_TRUE(absl::IsResourceExhausted(loaded)) << loaded;
}

TEST(TorchBackendTest, OtherBackendsPointsAreNotTrained) {
  PointSpec point = SmallPoint();
  point.backend = "cuda";
  EXPECT_TRUE(absl::IsUnimplemented(TorchOnCpu()->CanTrain(point)));
  point.backend = "torch";
  EXPECT_TRUE(TorchOnCpu()->CanTrain(point).ok());
}

TEST(TorchBackendTest, UnknownDevicesAreRefusedByName) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeTorchBackend("gpu").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeTorchBackend("cuda:x").status()));
  EXPECT_FALSE(MakeTorchBackend("cuda:4711").ok());
}

}  // namespace
}  // namespace capsweep::trainer
