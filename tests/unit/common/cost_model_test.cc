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
  EXPECT_EQ(Lanes(8, 100), 16);
  EXPECT_EQ(Lanes(12, 1000), 16);
  EXPECT_EQ(Lanes(16, 100), 1);
  EXPECT_EQ(Lanes(32, 15), 16);
  EXPECT_EQ(Lanes(32, 16), 1);
  EXPECT_EQ(Lanes(48, 4), 1);
}

TEST(PackLanesTest, TablesMustStayInTheCacheAndOtherBackEndsDoNotPack) {
  EXPECT_EQ(Lanes(8, 100, 128), 16);
  EXPECT_EQ(Lanes(8, 100, 129), 1);
  EXPECT_EQ(Lanes(8, 100, 16, "cpu"), 16);
  EXPECT_EQ(Lanes(8, 100, 16, "torch"), 1);
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

}  // namespace
}  // namespace capsweep
