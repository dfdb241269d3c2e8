// Niu and others: the exact inequalities, over random draws.
#include "ecm/associative.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ecm/random.h"

namespace capsweep::ecm {
namespace {

double Normal(Random& random) {
  double sum = -6;
  for (int i = 0; i < 12; ++i) sum += random.Uniform();
  return sum;
}

Pattern Draw(Random& random, int dimensions, double scale) {
  Pattern x;
  for (int i = 0; i < dimensions; ++i) x.push_back(scale * Normal(random));
  return x;
}

double SquaredNorm(const Pattern& x) {
  return SquaredDistance(x, Pattern(x.size(), 0.0));
}

TEST(AssociativeTest, PropositionsHoldOnAThousandDraws) {
  Random random(7);
  for (int draw = 0; draw < 1000; ++draw) {
    const int dimensions = 1 + random.Below(12), d = 1 + random.Below(40);
    const double scale = std::exp(random.Uniform(-3, 2));
    std::vector<Pattern> patterns;
    double largest = 0, least = 1e300;
    for (int i = 0; i < d; ++i) {
      patterns.push_back(Draw(random, dimensions, scale));
      largest = std::max(largest, SquaredNorm(patterns.back()));
      least = std::min(least, SquaredNorm(patterns.back()));
    }
    const Pattern x = draw % 3 == 0 ? patterns[0] : Draw(random, dimensions, scale);
    const double energy = DistanceEnergy(x, patterns), g = NearestSquaredDistance(x, patterns);
    const double slack = 1e-9 * (1 + std::abs(energy) + largest);
    EXPECT_LE(g - std::log(d), energy + slack);
    EXPECT_LE(energy, g + slack);
    const double distance = std::abs(energy - (2 * HopfieldEnergy(x, patterns, 2) - std::log(d)));
    EXPECT_LE(distance, largest - least + slack);
    // The bound is not loose by construction: with one pattern, or equal norms, the two energies are the same.
    if (d == 1) {
      EXPECT_NEAR(distance, 0, slack);
    }
  }
}

TEST(AssociativeTest, GlobalEnergyLiesWithinTheLogarithmOfTheLayers) {
  Random random(8);
  for (int draw = 0; draw < 1000; ++draw) {
    std::vector<double> layers;
    const int l = 1 + random.Below(24);
    for (int t = 0; t < l; ++t) layers.push_back(random.Uniform(-30, 30));
    const double least = *std::min_element(layers.begin(), layers.end()), global = GlobalEnergy(layers);
    EXPECT_LE(global, least + 1e-9);
    EXPECT_GE(global, least - std::log(l) - 1e-9);
  }
  EXPECT_NEAR(GlobalEnergy({3, 3, 3, 3}), 3 - std::log(4), 1e-12);
}

TEST(AssociativeTest, BalancedLossIsLeastAtOne) {
  EXPECT_DOUBLE_EQ(BalancedLoss(1), 1);
  Random random(9);
  for (int draw = 0; draw < 1000; ++draw) EXPECT_GE(BalancedLoss(std::exp(random.Uniform(-5, 5))), 1);
  EXPECT_GT(BalancedLoss(1.01), 1);
  EXPECT_GT(BalancedLoss(0.99), 1);
}

TEST(AssociativeTest, FiguresOfThePaper) {
  EXPECT_NEAR(TheoryRadius(1024), 7.743, 5e-4);
  // Table: N, D* in millions, N / D*^2 in 1e-10.
  for (const auto& [n, d, ratio] : {std::tuple{39.95, 214.18, 8.71}, {60.26, 261.78, 8.79}, {80.20, 309.37, 8.38}}) {
    EXPECT_NEAR(n * 1e6 / (d * 1e6 * d * 1e6) * 1e10, ratio, 0.005);
  }
}

TEST(AssociativeTest, GapLooksAtWhatFollowsTheLeastHeldOutLoss) {
  const std::vector<LossPair> curve = {{3, 3}, {2, 2.5}, {1.5, 2.0}, {1.0, 2.2}, {0.5, 2.4}};
  EXPECT_DOUBLE_EQ(BalanceGap(curve, 2), (1.0 + 2.25) / 2);
  EXPECT_DOUBLE_EQ(BalanceGap(curve, 100), (1.0 + 2.25) / 2);
  EXPECT_DOUBLE_EQ(BalanceGap(curve, 1), 1.0);
  EXPECT_DOUBLE_EQ(BalanceGap({{3, 3}, {2, 2.5}}, 5), 0.25);  // still falling: the last one
  EXPECT_TRUE(std::isinf(BalanceGap({}, 5)));
}

TEST(AssociativeTest, CriticalSizeIsTheFirstBelowTheLimit) {
  CriticalSize found = FindCriticalSize({{100, 0.5}, {200, 0.03}, {400, 0.01}}, 0.04);
  EXPECT_EQ(found.tokens, 200);
  EXPECT_FALSE(found.below_smallest);
  EXPECT_FALSE(found.returns);
  found = FindCriticalSize({{100, 0.03}, {200, 0.05}}, 0.04);
  EXPECT_EQ(found.tokens, 100);
  EXPECT_TRUE(found.below_smallest);
  EXPECT_TRUE(found.returns);
  EXPECT_EQ(FindCriticalSize({{100, 0.5}}, 0.04).tokens, 0);
}

}  // namespace
}  // namespace capsweep::ecm
