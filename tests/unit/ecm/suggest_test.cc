// Which cells are chosen for a prediction, against matrices worked out here.
#include "ecm/suggest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::HasSubstr;

const Theta kMinTheta = {800, 0.05, 0.8, 2, 20, 300, 400};

GroupFit FitMin(const std::vector<Row>& rows) {
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  return FitRows(rows, settings);
}

std::vector<Row> Rows(const Grid& grid, int repeats = 1) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, grid);
  Random random(5);
  AddNoise(0.02, random, rows);
  for (Row& row : rows) row.repeats = repeats;
  return rows;
}

std::vector<SuggestCell> Cells(const Grid& grid, double seconds_per_width) {
  std::vector<SuggestCell> cells;
  for (const Row& row : MakeSyntheticRows("min", kMinTheta, grid)) {
    cells.push_back({.heads = row.heads,
                     .width = row.width,
                     .seq_len = row.seq_len,
                     .seconds = seconds_per_width > 0 ? seconds_per_width * row.width : 1});
  }
  return cells;
}

SuggestRequest Target(double heads, double width, double seq_len, int points) {
  SuggestRequest request{.heads = heads, .width = width, .seq_len = seq_len};
  request.points = points;
  return request;
}

TEST(SuggestTest, IntervalOnlyShrinksAndEveryStepKeepsTheBudget) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  SuggestRequest request = Target(5, 64, 32, 20);
  request.seconds = 300;
  const auto plan = Suggest(FitMin(rows), rows, Cells({}, 1), request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_FALSE(plan->order.empty());
  double last = plan->interval_before, spent = 0;
  for (const Suggestion& step : plan->order) {
    EXPECT_LE(step.interval, last * (1 + 1e-9));
    last = step.interval;
    spent += step.seconds;
  }
  EXPECT_LE(spent, 300);
  EXPECT_LT(last, plan->interval_before);
}

// On the bound C = αH + β alone matters, so only cells there can help.
TEST(SuggestTest, PredictionOnTheBound_AsksForCellsOnTheBound) {
  const std::vector<Row> rows = Rows({.heads = {1, 2, 3, 4}, .lengths = {4, 8, 16, 32}});
  const auto plan =
      Suggest(FitMin(rows), rows, Cells({.heads = {1, 2, 3, 4}, .lengths = {4, 8, 16, 32}}, 0), Target(5, 512, 8, 6));
  ASSERT_TRUE(plan.ok()) << plan.status();
  const std::vector<SuggestCell> cells = Cells({.heads = {1, 2, 3, 4}, .lengths = {4, 8, 16, 32}}, 0);
  for (const Suggestion& step : plan->order) {
    const SuggestCell& cell = cells[step.cell];
    const Row row{.heads = cell.heads, .width = cell.width, .seq_len = cell.seq_len};
    EXPECT_TRUE(CountOnBound("min", kMinTheta, {row}) == 1 || step.near_kink) << cell.heads << " " << cell.width;
  }
  // Far out in heads the line αH + β is held by its ends.
  EXPECT_EQ(cells[plan->order[0].cell].heads, 4);
}

TEST(SuggestTest, OfTwoCellsThatSayTheSameTheCheaperIsTaken) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  // Both lie on the bound, where width says nothing.
  const std::vector<SuggestCell> cells = {{.heads = 4, .width = 512, .seq_len = 8, .seconds = 90},
                                          {.heads = 4, .width = 256, .seq_len = 8, .seconds = 30}};
  const auto plan = Suggest(FitMin(rows), rows, cells, Target(5, 512, 8, 1));
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->order.size(), 1u);
  EXPECT_EQ(plan->order[0].cell, 1);
}

TEST(SuggestTest, RepeatsOfACellHelpLessAndLessAndCountOn) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}}, 2);
  const std::vector<SuggestCell> one = {{.heads = 5, .width = 64, .seq_len = 8, .seconds = 1, .most_repeats = 4}};
  const auto plan = Suggest(FitMin(rows), rows, one, Target(5, 64, 16, 10));
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->order.size(), 4u) << "most_repeats";
  EXPECT_EQ(plan->order[0].repeat, 3) << "two were measured";
  double gain = 1e300, last = plan->interval_before;
  for (const Suggestion& step : plan->order) {
    EXPECT_LT(last - step.interval, gain);
    gain = last - step.interval;
    last = step.interval;
  }
}

TEST(SuggestTest, FewRowsLackRankAndAWeakPriorStandsIn) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  const GroupFit fit = FitMin(rows);
  std::vector<Row> few;  // five rows for up to seven parameters, of every heads and seq_len
  for (int i = 0; i < 5; ++i) few.push_back(rows[20 * i + 5 * (i % 4) + i]);
  const auto plan = Suggest(fit, few, Cells({}, 1), Target(5, 64, 32, 8));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->rank_lacking);
  EXPECT_TRUE(std::isfinite(plan->interval_before));
  EXPECT_LT(plan->order.back().interval, 0.5 * plan->interval_before);
}

TEST(SuggestTest, CellsAtTheBendAreMarked) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  const GroupFit fit = FitMin(rows);
  // Where f·B meets αH + β at heads 2, seq_len 8.
  const double slope = 800 / (std::pow(8, 0.9) + 2) + 20, bend = 1000 / slope;
  const std::vector<SuggestCell> cells = {{.heads = 2, .width = bend, .seq_len = 8, .seconds = 1},
                                          {.heads = 2, .width = 3 * bend, .seq_len = 8, .seconds = 1}};
  const auto plan = Suggest(fit, rows, cells, Target(2, bend, 8, 40));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->target_near_kink);
  for (const Suggestion& step : plan->order) EXPECT_EQ(step.near_kink, step.cell == 0);
}

// The interval promised for a design is, for these data, about that of refits to data made so.
TEST(SuggestTest, ExpectedIntervalIsAboutWhatRefitsShow) {
  const Grid grid{.heads = {1, 2, 3, 4}, .lengths = {4, 8, 16, 32}};
  const std::vector<Row> truth = MakeSyntheticRows("min", kMinTheta, grid);
  Random random(9);
  std::vector<double> predictions;
  double promised = 0;
  constexpr int kDraws = 16;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<Row> rows = truth;
    for (Row& row : rows)
      row.capacity += std::sqrt(row.capacity + 0.0025 * row.capacity * row.capacity) * Normal(random);
    const GroupFit fit = FitMin(rows);
    predictions.push_back(Predict("min", fit.forms.at("min").parameters, 5, 64, 8));
    const auto plan = Suggest(fit, rows, Cells(grid, 1), Target(5, 64, 8, 1));
    ASSERT_TRUE(plan.ok());
    promised += plan->interval_before / kDraws;
  }
  double mean = 0, squares = 0;
  for (const double p : predictions) mean += p / kDraws;
  for (const double p : predictions) squares += (p - mean) * (p - mean) / (kDraws - 1);
  const double seen = 2 * 1.96 * std::sqrt(squares);
  EXPECT_GT(promised, 0.4 * seen);
  EXPECT_LT(promised, 2.5 * seen);
}

TEST(SuggestTest, ByLogQuadraticNoFormIsNeeded) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  FitSettings settings;
  settings.forms.clear();
  settings.holdout_field = "";
  const GroupFit fit = FitRows(rows, settings);
  SuggestRequest request = Target(5, 64, 32, 10);
  EXPECT_FALSE(Suggest(fit, rows, Cells({}, 1), request).ok()) << "there is no form";
  request.form = "log_quadratic";
  const auto plan = Suggest(fit, rows, Cells({}, 1), request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_NEAR(plan->predicted, Predict("log_quadratic", fit.baselines.at("log_quadratic").parameters, 5, 64, 32), 1e-9);
  ASSERT_EQ(plan->order.size(), 10u);
  double last = plan->interval_before;
  for (const Suggestion& step : plan->order) {
    EXPECT_LT(step.interval, last);
    EXPECT_FALSE(step.near_kink);
    last = step.interval;
  }
  request.form = "poly2";
  EXPECT_THAT(Suggest(fit, rows, Cells({}, 1), request).status().message(), HasSubstr("no suggestions by 'poly2'"));
  EXPECT_THAT(Suggest({}, rows, Cells({}, 1), Target(5, 64, 32, 1)).status().message(), HasSubstr("without a fit"));
}

TEST(SuggestTest, NoFitNoCellsAndBadTargets_AreErrors) {
  const std::vector<Row> rows = Rows({.lengths = {4, 8, 16, 32}});
  const GroupFit fit = FitMin(rows);
  GroupFit none;
  none.error = "too few rows";
  EXPECT_THAT(Suggest(none, rows, Cells({}, 1), Target(5, 64, 8, 1)).status().message(), HasSubstr("too few rows"));
  EXPECT_EQ(Suggest(fit, rows, {}, Target(5, 64, 8, 1)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Suggest(fit, rows, Cells({}, 1), Target(0, 64, 8, 1)).status().code(), absl::StatusCode::kInvalidArgument);
  const std::vector<SuggestCell> free = {{.heads = 1, .width = 8, .seq_len = 8, .seconds = 0}};
  EXPECT_EQ(Suggest(fit, rows, free, Target(5, 64, 8, 1)).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capsweep::ecm
