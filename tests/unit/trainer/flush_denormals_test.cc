#include "worker/trainer/flush_denormals.h"

#include "gtest/gtest.h"

namespace capsweep::trainer {
namespace {

TEST(FlushDenormalsTest, NumbersBelowANormalFloatAreZeroWhileItLives) {
  volatile float small = 1e-30f, smaller = 1e-40f;
  EXPECT_GT(small * 1e-10f, 0.0f);
  {
    const FlushDenormals flush;
    EXPECT_EQ(small * 1e-10f, 0.0f) << "a result";
    EXPECT_EQ(smaller * 1e10f, 0.0f) << "an operand";
    EXPECT_GT(small * 1e-5f, 0.0f);
  }
  EXPECT_GT(small * 1e-10f, 0.0f);
  EXPECT_GT(smaller * 1e10f, 0.0f);
}

}  // namespace
}  // namespace capsweep::trainer
