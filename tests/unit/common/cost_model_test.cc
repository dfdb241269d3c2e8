// Which shapes share a core: the rule that trainer and coordinator have in common.
#include "common/cost_model.h"
#include "gtest/gtest.h"

namespace capsweep {
namespace {

int32_t Lanes(int64_t width, int64_t batch_size, int64_t vocab = 16, std::string backend = "") {
  PointSpec point;
  point.width = width, point.batch_size = batch_size, point.vocab = vocab, point.backend = std::move(backend);
  return PackLanes(ShapeKey(point));
}

TEST(PackLanesTest, NarrowModelsAndSmallBatchesShareACore) {
  EXPECT_EQ(Lanes(8, 16), 16);
  EXPECT_EQ(Lanes(12, 24), 16);
  EXPECT_EQ(Lanes(12, 25), 1);
  EXPECT_EQ(Lanes(13, 24), 1);
  EXPECT_EQ(Lanes(32, 15), 16);
  EXPECT_EQ(Lanes(32, 16), 1);
  EXPECT_EQ(Lanes(48, 4), 1);
}

TEST(PackLanesTest, TablesMustStayInTheCacheAndOtherBackEndsDoNotPack) {
  EXPECT_EQ(Lanes(8, 16, 128), 16);
  EXPECT_EQ(Lanes(8, 16, 129), 1);
  EXPECT_EQ(Lanes(8, 16, 16, "cpu"), 16);
  EXPECT_EQ(Lanes(8, 16, 16, "torch"), 1);
  EXPECT_EQ(PackLanes(""), 1);
  EXPECT_EQ(PackLanes("xt/label/w/n8//b"), 1);
}

TEST(CostModelTest, TimeGrowsWithEverythingThatCosts) {
  PointSpec point;
  point.steps = 1000, point.epochs = 0;
  const double seconds = EstimateSeconds(point);
  for (const auto& grow : {&PointSpec::width, &PointSpec::seq_len, &PointSpec::layers, &PointSpec::steps,
                           &PointSpec::batch_size, &PointSpec::heads}) {
    PointSpec larger = point;
    larger.*grow *= 2;
    larger.dataset_size = std::max(larger.dataset_size, larger.batch_size);
    EXPECT_GT(EstimateSeconds(larger), seconds);
  }
  PointSpec reference = point;
  reference.backend = "torch";
  EXPECT_GT(EstimateSeconds(reference), 5 * seconds);
}

// Counted by hand from the shapes of the products, 2·m·k·n each, times 3 for the backward pass and 10 for the batch.
TEST(CostModelTest, EveryFamilyCountsItsProducts) {
  PointSpec point;
  point.vocab = 16, point.seq_len = 4, point.width = 8, point.heads = 2, point.head_dim = 4, point.batch_size = 10;
  const auto flops = [&](Algebra algebra) { return ProductFlopsPerStep(point, algebra) / 30; };
  const double mlp = 2 * (8 * 32 + 32 * 8), projection = 2 * 8 * 8, head = 2 * 8 * 16;
  EXPECT_EQ(flops(Algebra::kPlain), 4 * (4 * projection + 2 * 2 * 4 * 8 + mlp) + head);
  EXPECT_EQ(flops(Algebra::kTrimmed), (4 * 2 + 2) * projection + 2 * 2 * 4 * 8 + mlp + head);
  EXPECT_EQ(flops(Algebra::kAbsorbed), 8 * 8 * 8 + 4 * 4 * 2 * 8 + mlp + head);
  point.family = Family::kGpt2;
  EXPECT_EQ(flops(Algebra::kAbsorbed), flops(Algebra::kTrimmed));
  point.family = Family::kMlp;
  EXPECT_EQ(flops(Algebra::kPlain), 2 * 4 * 8 * 32 + 2 * 16 * 32);
  point.mode = Mode::kSeq;
  EXPECT_EQ(flops(Algebra::kPlain), 2 * 4 * 8 * 32 + 2 * 4 * 16 * 32);
  point.mode = Mode::kLabel, point.tokens = Tokens::kVectors, point.vector_dim = 6;
  EXPECT_EQ(flops(Algebra::kPlain), 2 * 4 * 6 * 32 + 2 * 16 * 32);
  point.family = Family::kKs, point.layers = 3, point.loss = Loss::kMse, point.vocab = 2;
  EXPECT_EQ(flops(Algebra::kPlain), 2 * 4 * 6 * 8 + 2 * 3 * 4 * mlp + 2 * projection + 2 * 8);
  EXPECT_EQ(flops(Algebra::kTrimmed), 2 * 4 * 6 * 8 + 3 * (4 + 1) * mlp + 2 * projection + 2 * 8);
}

TEST(CostModelTest, NarrowMlpsAndHeldOutItemsCount) {
  PointSpec point;
  point.steps = 1000;
  const double bytes = EstimateBytes(point), seconds = EstimateSeconds(point);
  PointSpec narrow = point, heldout = point;
  narrow.mlp_width = 4, heldout.heldout_size = 1000;
  EXPECT_LT(EstimateBytes(narrow), bytes);
  EXPECT_GT(EstimateBytes(heldout), bytes);
  EXPECT_GT(EstimateSeconds(heldout), seconds);
}

// A sequence of 1,000 tokens once seemed to need 40 GB, for its attention was taken for one with scores.
TEST(CostModelTest, OnlyAttentionKeepsScores) {
  PointSpec point;
  point.family = Family::kKs, point.tokens = Tokens::kVectors, point.vector_dim = 6, point.loss = Loss::kMse;
  point.width = 4, point.layers = 16, point.batch_size = 100, point.dataset_size = 500, point.seq_len = 1000;
  EXPECT_LT(EstimateBytes(point), 2e9);
  PointSpec longer = point;
  longer.seq_len = 10'000;
  EXPECT_LT(EstimateBytes(longer), 11 * EstimateBytes(point));
  PointSpec attention;
  attention.seq_len = 1000;
  longer = attention;
  longer.seq_len = 10'000;
  EXPECT_GT(EstimateBytes(longer), 50 * EstimateBytes(attention));
}

}  // namespace
}  // namespace capsweep
