// The fit and the choice of one round of an adaptive sweep.
#include "ecm/next_cells.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::HasSubstr;

// ln C is quadratic in the logarithms.
double TrueCapacity(double heads, double width, double seq_len) {
  const double h = std::log(heads), b = std::log(width), n = std::log(seq_len);
  return std::exp(3 + 0.6 * h + 1.1 * b - 0.4 * n - 0.05 * b * b + 0.08 * h * b - 0.03 * h * n);
}

// Errors of a share `noise` of the capacity and, with them, those of a count.
std::vector<Measurement> Measure(const Grid& grid, double noise, uint64_t seed) {
  std::vector<Measurement> all;
  Random random(seed);
  for (const double h : grid.heads) {
    for (const double n : grid.lengths) {
      for (const double b : grid.widths) {
        Measurement m;
        m.group = {{"mode", "seq"}};
        m.heads = static_cast<int64_t>(h);
        m.width = static_cast<int64_t>(b);
        m.seq_len = static_cast<int64_t>(n);
        m.vocab = 16;
        m.targets = static_cast<int64_t>(n);
        m.dataset_size = 1'000'000;
        m.budget_steps = 1000;
        const double capacity = TrueCapacity(h, b, n);
        m.items_corr = capacity * (1 + noise * Normal(random)) + (noise > 0 ? std::sqrt(capacity) * Normal(random) : 0);
        m.items_mem = std::llround(m.items_corr);
        all.push_back(m);
      }
    }
  }
  return all;
}

std::vector<SuggestCell> Candidates(const Grid& grid) {
  std::vector<SuggestCell> cells;
  for (const double h : grid.heads) {
    for (const double n : grid.lengths) {
      for (const double b : grid.widths) {
        cells.push_back({.heads = h, .width = b, .seq_len = n, .seconds = 0.01 * b * h, .most_repeats = 2});
      }
    }
  }
  return cells;
}

NextRequest Request(double heads, double width, double seq_len) {
  NextRequest request;
  request.heads = heads;
  request.width = width;
  request.seq_len = seq_len;
  request.seconds = 5;
  return request;
}

const Grid kSmall = {.heads = {1, 2, 4}, .lengths = {4, 8, 16}, .widths = {8, 16, 32}};

TEST(NextCellsTest, QuadraticDataArePredictedExactlyAndTheChoiceKeepsTheBudget) {
  const auto next = ChooseNextCells(Measure(kSmall, 0, 1), Candidates(kSmall), Request(5, 48, 16));
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_EQ(next->unfitted, "");
  EXPECT_NEAR(next->predicted / TrueCapacity(5, 48, 16), 1, 1e-6);
  const auto candidates = Candidates(kSmall);
  double spent = 0;
  std::vector<int> taken(candidates.size(), 0);
  for (const int cell : next->order) {
    spent += candidates[cell].seconds;
    EXPECT_LE(++taken[cell], 2);
  }
  EXPECT_FALSE(next->order.empty());
  EXPECT_LE(spent, 5);
  const auto again = ChooseNextCells(Measure(kSmall, 0, 1), Candidates(kSmall), Request(5, 48, 16));
  EXPECT_EQ(again->order, next->order);
}

TEST(NextCellsTest, TheIntervalHoldsTheTruthInAboutNineteenOfTwentyTrials) {
  int held = 0;
  for (uint64_t trial = 1; trial <= 200; ++trial) {
    const auto next = ChooseNextCells(Measure(kSmall, 0.05, trial), {{1, 8, 4, 1, 1}}, Request(5, 48, 16));
    ASSERT_TRUE(next.ok());
    const double truth = TrueCapacity(5, 48, 16);
    held += next->low <= truth && truth <= next->high ? 1 : 0;
  }
  EXPECT_GE(held, 180);
  EXPECT_LE(held, 199) << "it says something";
}

TEST(NextCellsTest, ThePredictedCellItselfIsNeverChosen) {
  NextRequest request = Request(4, 32, 16);
  request.seconds = 1000;
  const auto next = ChooseNextCells(Measure(kSmall, 0.02, 3), Candidates(kSmall), request);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->order.size(), 2 * (Candidates(kSmall).size() - 1)) << "all repeats but those of the target";
}

TEST(NextCellsTest, TooFewCellsAndUnreachableItemsAreSaid) {
  auto few = Measure(kSmall, 0, 1);
  few.resize(6);
  const auto next = ChooseNextCells(few, Candidates(kSmall), Request(5, 48, 16));
  ASSERT_TRUE(next.ok());
  EXPECT_THAT(next->unfitted, HasSubstr("log_quadratic needs"));
  EXPECT_THAT(ChooseNextCells({}, Candidates(kSmall), Request(5, 48, 16))->unfitted, HasSubstr("nothing is measured"));
  NextRequest design = Request(0, 0, 16);
  design.items = 1e9;
  design.max_heads = 8;
  design.max_width = 64;
  design.params = [](int64_t heads, int64_t width) { return heads * width; };
  EXPECT_THAT(ChooseNextCells(Measure(kSmall, 0, 1), Candidates(kSmall), design)->unfitted,
              HasSubstr("no model up to"));
}

TEST(NextCellsTest, ADesignIsThatOfTheFewestParameters) {
  NextRequest design = Request(0, 0, 16);
  design.items = 700;
  design.max_heads = 8;
  design.max_width = 64;
  design.params = [](int64_t heads, int64_t width) { return 100 * heads + width * width; };
  const auto next = ChooseNextCells(Measure(kSmall, 0, 1), Candidates(kSmall), design);
  ASSERT_TRUE(next.ok()) << next.status();
  int64_t fewest = 1'000'000, best_heads = 0, best_width = 0;
  for (int64_t h = 1; h <= 8; ++h) {
    for (int64_t b = 1; b <= 64; ++b) {
      if (TrueCapacity(static_cast<double>(h), static_cast<double>(b), 16) >= 700 && design.params(h, b) < fewest) {
        fewest = design.params(h, b);
        best_heads = h;
        best_width = b;
      }
    }
  }
  EXPECT_EQ(next->heads, static_cast<double>(best_heads));
  EXPECT_EQ(next->width, static_cast<double>(best_width));
}

TEST(NextCellsTest, SoftminPredictsByItsDraws) {
  std::vector<Measurement> measured = Measure(kSmall, 0.02, 4);
  NextRequest request = Request(5, 48, 16);
  request.form = "softmin";
  const auto next = ChooseNextCells(measured, Candidates(kSmall), request);
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_EQ(next->unfitted, "");
  EXPECT_LT(next->low, next->predicted);
  EXPECT_LT(next->predicted, next->high);
  EXPECT_FALSE(next->order.empty());
}

}  // namespace
}  // namespace capsweep::ecm
