#include "ecm/bits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/param_count.h"

namespace capsweep::ecm {
namespace {

using ::testing::HasSubstr;

TEST(BitsTest, LibrariesHaveTheBitsThatAreInPrint) {
  EXPECT_EQ(LibraryBits(4096, 4, 2048), 180'224);
  EXPECT_EQ(LibraryBits(16'000, 63, 2048), 11'088'000);
  EXPECT_EQ(LibraryBits(1, 64, 2048), 704);
}

TEST(BitsTest, TableOfMorrisAgreesWithItself) {
  double mean32 = 0, mean16 = 0;
  for (const MorrisSize& size : MorrisTable1()) {
    const auto parameters = static_cast<double>(CountGpt2Params(2048, 64, size.layers, size.width));
    EXPECT_NEAR(parameters / size.parameters, 1, 0.005);
    EXPECT_NEAR(size.bits / parameters / size.alpha_fp32, 1, 0.015) << size.layers << " layers, width " << size.width;
    mean32 += size.alpha_fp32 / 16;
    mean16 += size.alpha_bf16 / 16;
  }
  EXPECT_NEAR(mean32, 3.83, 0.005);
  EXPECT_NEAR(mean16, 3.51, 0.005);
  EXPECT_TRUE(FindMorrisSize(2, 128, 2048, 64).has_value());
  EXPECT_FALSE(FindMorrisSize(2, 128, 2048, 32).has_value());
  EXPECT_FALSE(FindMorrisSize(3, 128, 2048, 64).has_value());
}

BitsCapacity Three(double a, double b, double c) {
  BitsCapacity capacity;
  capacity.params_total = 1000;
  capacity.params_train = 800;
  capacity.cells = {{10, a, 1, 3, 0, 1000}, {20, b, 1, 3, 2, 2000}, {40, c, 1, 3, 3, 4000}};
  return capacity;
}

TEST(BitsTest, CapacityIsTheLargestMean) {
  const BitsCapacity capacity = Three(900, 1500, 1400);
  EXPECT_EQ(capacity.Best().dataset_size, 20);
  EXPECT_DOUBLE_EQ(capacity.alpha_total(), 1.5);
  EXPECT_DOUBLE_EQ(capacity.alpha_train(), 1.875);
  EXPECT_DOUBLE_EQ(capacity.saturation_ratio(), 4000 / 3600.0);
}

TEST(BitsTest, VerdictSaysWhatTheCellsShow) {
  EXPECT_TRUE(Three(900, 1500, 1400).settled());
  EXPECT_THAT(BitsVerdict(Three(900, 1500, 1400)), HasSubstr("no more bits; budget-limited lower bound: 2 of 3"));
  EXPECT_FALSE(Three(900, 1500, 2000).settled());
  EXPECT_THAT(BitsVerdict(Three(900, 1500, 2000)), HasSubstr("lower bound: bits still rose"));
  EXPECT_THAT(BitsVerdict(Three(1000, 2000, 3999)), HasSubstr("was memorized whole"));
}

}  // namespace
}  // namespace capsweep::ecm
