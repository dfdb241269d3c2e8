// The statistical checks of docs/science.md, section "Reference cases", against the calibration table: one layer,
// label, head_dim 8, seq_len 8, vocab 16, 3000 items, batch 50, 200 epochs, Adam 3e-3 with cosine, seed 1. The table
// was made by another program with other random numbers, hence the tolerance.
#include <cmath>
#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/trainer/trainer_test_points.h"

namespace capsweep::trainer {
namespace {

constexpr double kTolerance = 0.25;

PointSpec Cell(int64_t heads, int64_t width, bool freeze_mlp) {
  PointSpec point;
  point.heads = heads, point.width = width, point.freeze_mlp = freeze_mlp;
  point.dataset_size = 3000, point.batch_size = 50, point.epochs = 200, point.eval_every = 50, point.patience = 0;
  return point;
}

PointResult Measure(const PointSpec& point, const std::string& backend) {
  const PointResult r = TrainPoint(point, backend);
  std::printf(
      "%-5s heads %d width %2d frozen %d batch %4d epochs %d: items_mem %d, bits per trained weight %.2f, %.1f s\n",
      backend.c_str(), static_cast<int>(point.heads), static_cast<int>(point.width), point.freeze_mlp,
      static_cast<int>(point.batch_size), static_cast<int>(point.epochs), static_cast<int>(r.items_mem),
      r.bits_mem / static_cast<double>(r.params_train), r.seconds);
  std::fflush(stdout);
  return r;
}

class ReferenceCountsTest : public testing::TestWithParam<std::string> {
 protected:
  static PointResult Measure(const PointSpec& point) { return trainer::Measure(point, GetParam()); }
  static double CheckRow(bool freeze_mlp, const std::vector<std::pair<int64_t, double>>& reference);
};
INSTANTIATE_TEST_SUITE_P(Each, ReferenceCountsTest, testing::Values("cpu", "torch"),
                         [](const auto& test) { return test.param; });

// Checks a row of the table (heads 2) and that the count rises with the width; returns the gain from width 8 to 32.
double ReferenceCountsTest::CheckRow(bool freeze_mlp, const std::vector<std::pair<int64_t, double>>& reference) {
  std::map<int64_t, double> counts;
  double previous = 0;
  for (const auto& [width, expected] : reference) {
    const PointResult r = Measure(Cell(2, width, freeze_mlp));
    const auto count = static_cast<double>(r.items_mem);
    EXPECT_NEAR(count, expected, kTolerance * expected) << "width " << width;
    EXPECT_GT(count, previous) << "width " << width;
    const double bits_per_weight = r.bits_mem / static_cast<double>(r.params_train);
    EXPECT_GT(bits_per_weight, 0.2);
    EXPECT_LT(bits_per_weight, 4.5);
    previous = counts[width] = count;
  }
  return counts[32] / counts[8];
}

TEST_P(ReferenceCountsTest, TrainableMlpFollowsTheTableAndGainsFourfoldFromWidth8To32) {
  EXPECT_GE(CheckRow(false, {{4, 292}, {8, 519}, {16, 1324}, {32, 2945}}), 3.6);
}

TEST_P(ReferenceCountsTest, FrozenMlpFollowsTheTableAndGainsLessThanThreefoldFromWidth8To32) {
  EXPECT_LT(CheckRow(true, {{4, 302}, {8, 423}, {16, 674}, {32, 950}}), 3.0);
}

TEST_P(ReferenceCountsTest, CountRisesWithHeadsAndFallsWhenTheMlpIsFrozen) {
  // All widths with the fast back end; with the reference they would take a quarter of an hour.
  const std::vector<int64_t> widths =
      GetParam() == "cpu" ? std::vector<int64_t>{8, 16, 24, 32} : std::vector<int64_t>{16};
  for (const int64_t width : widths) {
    std::map<std::pair<int64_t, bool>, double> counts;
    for (const int64_t heads : {1, 4}) {
      for (const bool freeze_mlp : {false, true}) {
        PointSpec point = Cell(heads, width, freeze_mlp);
        point.dataset_size = width <= 16 ? 3000 : 6000;  // no count may reach the library's size
        counts[{heads, freeze_mlp}] = Measure(point).items_corr;
      }
      EXPECT_LT((counts[{heads, true}]), (counts[{heads, false}])) << "heads " << heads << " width " << width;
    }
    EXPECT_GE((counts[{4, false}] / counts[{1, false}]), 1.3) << "width " << width;
    EXPECT_GE((counts[{4, true}] / counts[{1, true}]), 1.4) << "width " << width;
  }
}

TEST_P(ReferenceCountsTest, SmallerBatchesAndMoreEpochsMemorizeMore) {
  const auto count = [](int64_t batch_size, int64_t epochs) {
    PointSpec point = Cell(2, 8, false);
    point.batch_size = batch_size, point.epochs = epochs;
    return static_cast<double>(Measure(point).items_mem);
  };
  const double batch_1000 = count(1000, 200), batch_250 = count(250, 200), batch_50 = count(50, 200);
  EXPECT_LT(batch_1000, batch_250);
  EXPECT_LT(batch_250, batch_50);
  const double batch_250_longer = count(250, 400), batch_250_longest = count(250, 800);
  EXPECT_GE(batch_250_longer, 0.95 * batch_250);
  EXPECT_GE(batch_250_longest, 0.95 * batch_250_longer);
}

// The back ends round differently, so their counts differ point by point; over seeds they must be the same. One cell
// that trains in packs, one that trains alone.
class BackendCountsTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Each, BackendCountsTest, testing::Values("cpu", "cuda"),
                         [](const auto& test) { return test.param; });

TEST_P(BackendCountsTest, MeansOverTwelveSeedsDifferByLessThanThreeStandardErrors) {
  constexpr int kSeeds = 12;
  for (const int64_t width : {8, 16}) {
    double sum = 0, square = 0;  // of the differences: both train the same library from the same weights
    for (int seed = 1; seed <= kSeeds; ++seed) {
      PointSpec point = Cell(2, width, false);
      point.dataset_size = 1000, point.epochs = 100;
      point.data_seed = point.init_seed = static_cast<uint64_t>(seed);
      const double difference =
          static_cast<double>(Measure(point, GetParam()).items_mem - Measure(point, "torch").items_mem);
      sum += difference, square += difference * difference;
    }
    const double mean = sum / kSeeds;
    const double error = std::sqrt((square / kSeeds - mean * mean) / (kSeeds - 1));
    std::printf("width %d: %s - torch = %.1f +- %.1f items\n", static_cast<int>(width), GetParam().c_str(), mean,
                error);
    EXPECT_LE(std::abs(mean), 3 * error + 1) << "width " << width;
  }
}

}  // namespace
}  // namespace capsweep::trainer
