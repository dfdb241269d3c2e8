#include "ecm/scaling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ecm/random.h"

namespace capsweep::ecm {
namespace {

TEST(ScalingTest, ExactPowerLawIsRecovered) {
  std::vector<double> x, y;
  for (double d = 100; d < 3000; d *= 1.5) {
    x.push_back(d);
    y.push_back(7 * std::pow(d, 0.63));
  }
  const auto law = FitPowerLaw(x, y);
  ASSERT_TRUE(law.ok()) << law.status();
  EXPECT_NEAR(law->exponent, 0.63, 1e-9);
  EXPECT_NEAR(law->factor, 7, 1e-6);
  EXPECT_NEAR(law->low, 0.63, 1e-9);
  EXPECT_NEAR(law->high, 0.63, 1e-9);
}

TEST(ScalingTest, IntervalCoversTheTrueExponentMostly) {
  int covered = 0;
  const int runs = 100;
  for (int run = 0; run < runs; ++run) {
    Random random(static_cast<uint64_t>(run) + 1);
    std::vector<double> x, y;
    for (int i = 0; i < 12; ++i) {
      x.push_back(600 + 100.0 * i);
      y.push_back(3 * std::sqrt(x.back()) * std::exp(0.1 * (random.Uniform() + random.Uniform() - 1)));
    }
    const auto law = FitPowerLaw(x, y, 400);
    ASSERT_TRUE(law.ok());
    covered += law->low <= 0.5 && 0.5 <= law->high ? 1 : 0;
  }
  EXPECT_GE(covered, 82);
  EXPECT_LT(covered, runs);  // an interval that always covers says nothing
}

TEST(ScalingTest, TooLittleIsRefused) {
  EXPECT_FALSE(FitPowerLaw({1, 2}, {1, 2}).ok());
  EXPECT_FALSE(FitPowerLaw({5, 5, 5}, {1, 2, 3}).ok());
  EXPECT_FALSE(FitPowerLaw({1, 2, 0}, {1, 2, 3}).ok());
  EXPECT_FALSE(FitPowerLaw({1, 2, 3}, {1, 2, std::nan("")}).ok());
}

TEST(ScalingTest, TheCurveThatMadeTheDataWins) {
  std::vector<double> items, tokens;
  for (double n : {8.0, 32.0}) {
    for (double d = 600; d <= 1700; d += 100) {
      items.push_back(d);
      tokens.push_back(n);
    }
  }
  const auto winner = [&](auto curve) {
    std::vector<double> parameters;
    for (size_t i = 0; i < items.size(); ++i) {
      parameters.push_back(11 * curve(items[i], tokens[i]) * (1 + 0.01 * static_cast<double>(i % 3)));
    }
    return FitOverlays(items, tokens, parameters).front();
  };
  EXPECT_EQ(winner([](double d, double) { return std::sqrt(d); }).name, "sqrt(D)");
  EXPECT_EQ(winner([](double d, double) { return d; }).name, "D");
  const Overlay best = winner([](double d, double n) { return std::sqrt(n * d); });
  EXPECT_EQ(best.name, "sqrt(n D)");
  EXPECT_NEAR(best.factor, 11.1, 0.1);
  // One length of sequence cannot tell n apart from the factor.
  EXPECT_EQ(FitOverlays(items, std::vector<double>(items.size(), 8.0), items).size(), 3u);
}

}  // namespace
}  // namespace capsweep::ecm
