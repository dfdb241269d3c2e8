#include <cmath>
#include <limits>
#include <numbers>

#include "gtest/gtest.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer {
namespace {

PointSpec TenItemsInThreeSteps() {
  PointSpec point;
  point.dataset_size = 10;
  point.batch_size = 4;
  point.epochs = 100;
  point.eval_every = 5;
  point.patience = 0;
  point.lr = 0.1;
  return point;
}

Tally Counted(int64_t items_mem) {
  Tally tally;
  tally.items = 10;
  tally.items_mem = tally.tokens_mem = items_mem;
  tally.nll_nats = 1;
  return tally;
}

// Trains one epoch at a constant loss and answers an evaluation that falls due.
void Epoch(TrainingRun& run, double loss, int64_t items_mem = 0) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(run.FinishStep(loss).ok());
  if (run.evaluation_due()) {
    ASSERT_TRUE(run.FinishEvaluation(Counted(items_mem)).ok());
  }
}

TEST(TrainingRunTest, LastBatchOfAnEpochIsSmaller) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  for (const auto& [epoch, first, size] : {std::tuple{0, 0, 4}, {0, 4, 4}, {0, 8, 2}, {1, 0, 4}}) {
    const Batch batch = run.NextBatch();
    EXPECT_EQ(batch.epoch, epoch);
    EXPECT_EQ(batch.first, first);
    EXPECT_EQ(batch.size, size);
    ASSERT_TRUE(run.FinishStep(1).ok());
  }
}

TEST(TrainingRunTest, CosineFallsFromLrToItsFinalFraction) {
  PointSpec point = TenItemsInThreeSteps();
  point.epochs = 0, point.steps = 100, point.lr_final = 0.02, point.eval_every = 1000;
  TrainingRun run(point, 1);
  EXPECT_DOUBLE_EQ(run.LearningRate(), 0.1);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(run.FinishStep(1).ok());
  EXPECT_NEAR(run.LearningRate(), 0.1 * 0.51, 1e-12);
  for (int i = 50; i < 99; ++i) ASSERT_TRUE(run.FinishStep(1).ok());
  EXPECT_NEAR(run.LearningRate(), 0.1 * (0.02 + 0.98 * 0.5 * (1 + std::cos(M_PI * 0.99))), 1e-15);
}

TEST(TrainingRunTest, ConstantScheduleStays) {
  PointSpec point = TenItemsInThreeSteps();
  point.schedule = Schedule::kConstant;
  TrainingRun run(point, 1);
  Epoch(run, 1);
  EXPECT_EQ(run.LearningRate(), 0.1);
}

TEST(TrainingRunTest, WarmupRisesLinearlyAndLeavesTheScheduleTheRest) {
  PointSpec point = TenItemsInThreeSteps();
  point.epochs = 0, point.steps = 100, point.warmup = 0.2, point.lr_final = 0.02;
  EXPECT_DOUBLE_EQ(LearningRate(point, 0), 0.1 / 20);
  EXPECT_DOUBLE_EQ(LearningRate(point, 9), 0.05);
  EXPECT_DOUBLE_EQ(LearningRate(point, 19), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(point, 20), 0.1);
  EXPECT_NEAR(LearningRate(point, 60), 0.1 * 0.51, 1e-12);
  point.schedule = Schedule::kConstant;
  EXPECT_DOUBLE_EQ(LearningRate(point, 4), 0.025);
  EXPECT_EQ(LearningRate(point, 99), 0.1);
}

TEST(TrainingRunTest, WithoutWarmupTheFormulaHasTheBitsItAlwaysHad) {
  PointSpec point = TenItemsInThreeSteps();
  for (int64_t step = 0; step < 300; ++step) {
    const double fall = 0.5 * (1.0 + std::cos(std::numbers::pi * (static_cast<double>(step) / 300.0)));
    EXPECT_EQ(LearningRate(point, step), 0.1 * (point.lr_final + (1.0 - point.lr_final) * fall));
  }
}

TEST(TrainingRunTest, EpochLossWeighsBatchesByTheirTargets) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  for (const double loss : {1.0, 2.0, 6.0}) ASSERT_TRUE(run.FinishStep(loss).ok());
  EXPECT_DOUBLE_EQ(run.state().train_loss, (4 * 1.0 + 4 * 2.0 + 2 * 6.0) / 10);
}

TEST(TrainingRunTest, EvaluatesEveryFewEpochsAndStopsWhenAllIsMemorized) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  for (int epoch = 1; epoch <= 4; ++epoch) {
    Epoch(run, 1.0 / epoch);
    EXPECT_TRUE(run.state().curve.empty());
  }
  Epoch(run, 0.1, 7);
  ASSERT_EQ(run.state().curve.size(), 1u);
  EXPECT_FALSE(run.finished());
  for (int epoch = 6; epoch <= 10; ++epoch) Epoch(run, 0.1 / epoch, 10);
  EXPECT_EQ(run.state().stop_reason, "memorized");
  EXPECT_EQ(run.state().curve.back().epoch, 10);
}

TEST(TrainingRunTest, BudgetInStepsEndsInsideAnEpochWithAnEvaluation) {
  PointSpec point = TenItemsInThreeSteps();
  point.epochs = 0, point.steps = 5;
  TrainingRun run(point, 1);
  Epoch(run, 3);
  ASSERT_TRUE(run.FinishStep(1).ok());
  EXPECT_FALSE(run.evaluation_due());
  ASSERT_TRUE(run.FinishStep(2).ok());
  ASSERT_TRUE(run.evaluation_due());
  ASSERT_TRUE(run.FinishEvaluation(Counted(4)).ok());
  EXPECT_EQ(run.state().stop_reason, "budget");
  Library library;
  library.items = 10, library.targets = 1;
  const PointResult result = run.Result(library);
  EXPECT_EQ(result.steps, 5);
  EXPECT_EQ(result.epochs, 1);
  EXPECT_EQ(result.presentations, 18);
  EXPECT_DOUBLE_EQ(result.train_loss, 1.5);
}

TEST(TrainingRunTest, PlateauStopsAfterPatienceEpochsWithoutProgress) {
  PointSpec point = TenItemsInThreeSteps();
  point.patience = 8;
  TrainingRun run(point, 1);
  Epoch(run, 2);
  Epoch(run, 1);
  for (int epoch = 3; epoch <= 9; ++epoch) {
    Epoch(run, 1 - 1e-5);  // an improvement, but not by 1e-4
    ASSERT_FALSE(run.finished()) << epoch;
  }
  Epoch(run, 1 - 1e-5);
  EXPECT_EQ(run.state().stop_reason, "plateau");
  EXPECT_EQ(run.EpochsDone(), 10);
}

TEST(TrainingRunTest, SlowProgressIsNoPlateau) {
  PointSpec point = TenItemsInThreeSteps();
  point.patience = 8;
  TrainingRun run(point, 1);
  double loss = 1;
  for (int epoch = 1; epoch <= 90; ++epoch) {
    Epoch(run, loss);
    loss *= 1 - 5e-5;  // 1e-4 is reached every third epoch
  }
  EXPECT_FALSE(run.finished());
}

TEST(TrainingRunTest, ZeroPatienceNeverStopsEarly) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  for (int epoch = 1; epoch <= 99; ++epoch) Epoch(run, 1);
  EXPECT_FALSE(run.finished());
  Epoch(run, 1);
  EXPECT_EQ(run.state().stop_reason, "budget");
}

TEST(TrainingRunTest, BestCountSurvivesALaterFall) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  for (int epoch = 1; epoch <= 5; ++epoch) Epoch(run, 1, 8);
  for (int epoch = 6; epoch <= 100; ++epoch) Epoch(run, 1, 3);
  Library library;
  library.items = 10, library.targets = 1;
  const PointResult result = run.Result(library);
  EXPECT_EQ(result.items_mem, 3);
  EXPECT_EQ(result.items_mem_best, 8);
}

TEST(TrainingRunTest, NanLossAndNanLogitsAreErrorsThatNameTheStep) {
  TrainingRun run(TenItemsInThreeSteps(), 1);
  const absl::Status loss = run.FinishStep(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(absl::IsInvalidArgument(loss));
  EXPECT_NE(loss.ToString().find("step 1 of 300"), std::string::npos);
  EXPECT_FALSE(run.FinishStep(std::numeric_limits<double>::infinity()).ok());
  Tally broken = Counted(0);
  broken.finite = false;
  EXPECT_FALSE(run.FinishEvaluation(broken).ok());
}

}  // namespace
}  // namespace capsweep::trainer
