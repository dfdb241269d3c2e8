// What repeats with a larger budget say, row by row.
#include "ecm/budget_study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ecm/report.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

Row MakeRow(double heads, double width, double capacity, double budget) {
  Row row{.heads = heads, .width = width, .seq_len = 8, .capacity = capacity};
  row.budget = row.budget_steps = budget;
  return row;
}

// Two heads at three widths with 1000 steps each.
std::vector<Row> Base() {
  std::vector<Row> rows;
  for (const double heads : {1, 2}) {
    for (const double width : {16, 48, 64}) rows.push_back(MakeRow(heads, width, 100, 1000));
  }
  return rows;
}

BudgetStudy Study(const std::vector<Row>& repeats, const std::vector<bool>& on_bound = {}) {
  std::vector<Row> all = Base();
  all.insert(all.end(), repeats.begin(), repeats.end());
  return StudyBudgets(Base(), on_bound, all);
}

TEST(BudgetStudyTest, RepeatsOfTheLargestWidths_GiveGainWidthsFactorAndHeads) {
  const BudgetStudy study = Study({MakeRow(1, 48, 108, 3000), MakeRow(1, 64, 108, 3000), MakeRow(2, 64, 120, 3000)});
  ASSERT_TRUE(study.gain);
  EXPECT_NEAR(*study.gain, 0.12, 1e-12);
  EXPECT_THAT(study.widths, ElementsAre(48, 64));
  EXPECT_NEAR(study.factor, 3, 1e-12);
  EXPECT_NEAR(study.gain_by_heads.at(1), 0.08, 1e-12);
  EXPECT_NEAR(study.gain_by_heads.at(2), 0.20, 1e-12);
  EXPECT_EQ(study.verdict, "budget-limited");
  EXPECT_EQ(DescribeStudy(study),
            "largest widths 48, 64 at 3.0x steps gained 12 % (heads 1: 8 %, heads 2: 20 %; 3 repeats)");
}

TEST(BudgetStudyTest, NineAndAHalfPercentIsSaturatedAndTenIsNot) {
  EXPECT_EQ(Study({MakeRow(1, 64, 109.5, 3000)}).verdict, "saturated");
  EXPECT_EQ(Study({MakeRow(1, 64, 110, 3000)}).verdict, "budget-limited");
}

TEST(BudgetStudyTest, RowsOnTheBoundAreNotDilutedByOthers) {
  // Base order: heads 1 at 16, 48, 64, heads 2 at 16, 48, 64.
  const std::vector<bool> on_bound = {false, false, true, false, false, false};
  const BudgetStudy study = Study({MakeRow(1, 64, 115, 3000), MakeRow(2, 64, 101, 3000)}, on_bound);
  EXPECT_NEAR(*study.gain, 0.08, 1e-12);
  EXPECT_NEAR(*study.gain_on_bound, 0.15, 1e-12);
  EXPECT_EQ(study.verdict, "budget-limited");
}

TEST(BudgetStudyTest, RepeatsThatProveNothing_AreListedWithTheReason) {
  Row full = MakeRow(1, 64, 104, 3000);
  full.censored = true;
  const BudgetStudy study = Study({MakeRow(1, 16, 200, 3000), MakeRow(1, 48, 200, 2000), full});
  EXPECT_EQ(study.verdict, "no repeats");
  ASSERT_THAT(study.rows, SizeIs(3));
  EXPECT_THAT(study.rows[0].why_not_counted, HasSubstr("two largest widths"));
  EXPECT_THAT(study.rows[1].why_not_counted, HasSubstr("less than 3 times"));
  EXPECT_THAT(study.rows[2].why_not_counted, HasSubstr("lower bound"));
  EXPECT_FALSE(study.gain);
}

TEST(BudgetStudyTest, FullLibraryWithALargeGain_Counts) {
  Row full = MakeRow(1, 64, 140, 3000);
  full.censored = true;
  EXPECT_EQ(Study({full}).verdict, "budget-limited");
}

TEST(BudgetStudyTest, RoundedStepsStillCountAsThreeTimes) {
  EXPECT_EQ(Study({MakeRow(1, 64, 101, 2999)}).verdict, "saturated");
  EXPECT_EQ(Study({MakeRow(1, 64, 101, 2900)}).verdict, "no repeats");
}

TEST(BudgetStudyTest, OfSeveralLargerBudgets_TheSmallestOfAtLeastThreeTimesCounts) {
  const BudgetStudy study = Study({MakeRow(1, 64, 105, 3000), MakeRow(1, 64, 180, 9000)});
  EXPECT_NEAR(*study.gain, 0.05, 1e-12);
  EXPECT_EQ(study.verdict, "saturated");
}

TEST(BudgetStudyTest, NoBudgetsAtAll_IsUnknown) {
  std::vector<Row> rows = Base();
  for (Row& row : rows) row.budget = 0;
  EXPECT_EQ(StudyBudgets(rows, {}, rows).verdict, "unknown");
}

// The fit holds the base budget alone, also where a cell was measured with the larger one only.
TEST(BudgetStudyTest, CellMeasuredWithALargerBudgetOnly_StaysOutOfTheFit) {
  std::vector<Row> rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400}, {.lengths = {4, 8, 16, 32}});
  std::vector<Row> all;
  for (Row row : rows) {
    row.params_train = 100 * row.width * (row.heads + 1) + row.seq_len;
    row.budget = row.budget_steps = std::round(120 * std::sqrt(row.params_train));
    Row larger = row;
    larger.budget = larger.budget_steps = 3 * row.budget;
    larger.capacity *= 1.3;
    const bool no_base = row.width == 64 && row.heads == 3 && row.seq_len == 8;
    if (!no_base) all.push_back(row);
    if (row.width == 64) all.push_back(larger);
  }
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  const GroupFit fit = FitRows(all, settings);
  EXPECT_EQ(fit.rows_used, 99);
  for (const PredictedRow& point : fit.points) {
    EXPECT_TRUE(point.used || point.why_not_used.find("budget of") != std::string::npos) << point.why_not_used;
  }
  EXPECT_LT(WorstRelativeError(fit, "min", rows), 1e-5);
  EXPECT_EQ(fit.budget_study.verdict, "budget-limited");
  std::string text = ReportText({.groups = {fit}});
  for (size_t at = 0; (at = text.find("\n  ", at)) != std::string::npos;) text.replace(at, 3, " ");
  EXPECT_THAT(text, HasSubstr("The fit holds one budget, the smallest of every cell"));
  EXPECT_THAT(text, HasSubstr("Budget study: largest width 64 at 3.0x steps gained 30 %"));
  EXPECT_THAT(text, HasSubstr("measured with a larger budget only"));
}

TEST(BudgetStudyTest, OneBudgetRuleForAll_ExcludesNothing) {
  std::vector<Row> rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400}, {.lengths = {4, 8, 16, 32}});
  for (Row& row : rows) {
    row.params_train = 100 * row.width * row.heads;
    row.budget = row.budget_steps = 1000 * row.heads;
  }
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  const GroupFit fit = FitRows(rows, settings);
  EXPECT_EQ(fit.rows_used, 100);
  EXPECT_THAT(ReportText({.groups = {fit}}), Not(HasSubstr("one budget")));
}

}  // namespace
}  // namespace capsweep::ecm
