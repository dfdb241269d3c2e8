#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "worker/trainer/evaluation.h"

namespace capsweep::trainer {
namespace {

TEST(TallyTest, UniformLogitsMemorizeNoBits) {
  const std::vector<float> logits(4096 * 4, 0.5f);
  const std::vector<int32_t> targets(4096, 3);
  Tally tally;
  tally.Add(logits, targets, 4, 4);
  EXPECT_EQ(tally.items, 1024);
  EXPECT_EQ(tally.tokens_mem, 0);  // ties go to index 0
  EXPECT_NEAR(BitsMemorized(1024, 4, 4, tally.nll_bits()) / 8192, 0, 1e-12);
}

TEST(TallyTest, TieGoesToTheLowestIndex) {
  Tally tally;
  tally.Add(std::vector<float>{1, 2, 2, 1, 2, 2}, std::vector<int32_t>{1, 2}, 1, 3);
  EXPECT_EQ(tally.items_mem, 1);
}

TEST(TallyTest, ItemCountsOnlyWithAllTargetsRight) {
  // Two items of two targets over two words: right right, right wrong.
  Tally tally;
  tally.Add(std::vector<float>{5, 0, 0, 5, 5, 0, 5, 0}, std::vector<int32_t>{0, 1, 0, 1}, 2, 2);
  EXPECT_EQ(tally.items_mem, 1);
  EXPECT_EQ(tally.tokens_mem, 3);
  const double sure = std::log1p(std::exp(-5.0)), wrong = 5 + sure;
  EXPECT_NEAR(tally.nll_bits(), (3 * sure + wrong) / std::log(2.0), 1e-12);
}

TEST(TallyTest, ChunksGiveTheSameBitsAsOneCall) {
  std::vector<float> logits;
  std::vector<int32_t> targets;
  for (int i = 0; i < 30; ++i) {
    targets.push_back(i % 3);
    for (int v = 0; v < 3; ++v) logits.push_back(std::sin(static_cast<float>(7 * i + v)));
  }
  Tally whole, parts;
  whole.Add(logits, targets, 1, 3);
  parts.Add({logits.data(), 33}, {targets.data(), 11}, 1, 3);
  parts.Add({logits.data() + 33, 57}, {targets.data() + 11, 19}, 1, 3);
  EXPECT_EQ(whole.nll_nats, parts.nll_nats);
  EXPECT_EQ(whole.items_mem, parts.items_mem);
}

TEST(TallyTest, NanAndInfinityAreNoticed) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Tally tally;
    tally.Add(std::vector<float>{0, bad}, std::vector<int32_t>{0}, 1, 2);
    EXPECT_FALSE(tally.finite);
  }
}

TEST(MeasuresTest, EntropyOfReferenceLibraries) {
  EXPECT_DOUBLE_EQ(BitsMemorized(4096, 4, 2048, 0), 180224);
  EXPECT_DOUBLE_EQ(BitsMemorized(16000, 63, 2048, 0), 11088000);
}

TEST(MeasuresTest, CorrectionTakesGuessesAwayAndNeverGoesBelowZero) {
  EXPECT_NEAR(ItemsCorrected(280, 3000, 1, 16), 98.67, 0.01);
  EXPECT_EQ(ItemsCorrected(100, 3000, 1, 16), 0);
  EXPECT_EQ(ItemsCorrected(3000, 3000, 1, 16), 3000);
  EXPECT_NEAR(ItemsCorrected(40, 50, 8, 16), 40, 1e-6);
}

TEST(NeighbourTest, MeanAndMedianOfOddAndEvenNumbers) {
  EXPECT_EQ(MeanAndMedian({3, 1, 8}), (std::vector<double>{4, 3}));
  EXPECT_EQ(MeanAndMedian({4, 1, 8, 3}), (std::vector<double>{4, 3.5}));
  EXPECT_EQ(MeanAndMedian({5}), (std::vector<double>{5, 5}));
}

TEST(NeighbourTest, LargeLibrariesAreSampled) {
  EXPECT_EQ(NeighbourItems(7), 7);
  EXPECT_EQ(NeighbourItems(50'000), 50'000);
  EXPECT_EQ(NeighbourItems(50'001), 20'000);
}

TEST(HeldoutTallyTest, MeanIsOverTargetsAndNoNumberIsAnError) {
  HeldoutTally tally;
  EXPECT_TRUE(std::isnan(tally.Mean(3)));
  tally.Add(2, 6);
  tally.Add(2, 12);
  EXPECT_EQ(tally.Mean(3), 1.5);
  tally.Add(1, std::nan(""));
  EXPECT_TRUE(std::isinf(tally.Mean(3)));
}

}  // namespace
}  // namespace capsweep::trainer
