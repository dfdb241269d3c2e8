// The word under a bend: of the model, of the budget, or none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "ecm/report.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

FitSettings Quick() {
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  return settings;
}

// Rows with a budget of 3000 steps; of the widest also repeats with `factor` times that, whose capacity is `rise`
// larger.
std::vector<Row> BudgetedRows(double factor, double rise) {
  std::vector<Row> rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400}, {.lengths = {4, 8, 16, 32}});
  for (Row& row : rows) row.budget = row.budget_steps = 3000;
  const size_t base = rows.size();
  for (size_t i = 0; i < base && factor > 0; ++i) {
    if (rows[i].width < 64) continue;
    Row repeat = rows[i];
    repeat.budget = repeat.budget_steps = 3000 * factor;
    repeat.capacity *= 1 + rise;
    rows.push_back(repeat);
  }
  return rows;
}

TEST(SaturationTest, BendWithoutBudgetsKnown_IsObservedWithThatReservation) {
  const GroupFit fit = FitRows(MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400}), Quick());
  EXPECT_EQ(fit.saturation, "observed");
  EXPECT_THAT(fit.saturation_reason, HasSubstr("no training budgets"));
}

TEST(SaturationTest, BendWithoutRepeats_IsBudgetLimitedWithAWarning) {
  const GroupFit fit = FitRows(BudgetedRows(0, 0), Quick());
  EXPECT_EQ(fit.saturation, "budget-limited");
  EXPECT_THAT(fit.warnings, Contains(HasSubstr("repeated with at least 3 times the budget")));
}

TEST(SaturationTest, RepeatsRiseLittle_IsObservedAndRepeatsStayOutOfTheFit) {
  const GroupFit fit = FitRows(BudgetedRows(3, 0.05), Quick());
  EXPECT_EQ(fit.saturation, "observed");
  EXPECT_EQ(fit.rows_used, 100);
  EXPECT_EQ(fit.rows, 120);
  EXPECT_THAT(
      std::count_if(fit.points.begin(), fit.points.end(),
                    [](const PredictedRow& p) { return p.why_not_used.find("saturation check") != std::string::npos; }),
      20);
}

TEST(SaturationTest, RepeatsRiseMuch_IsBudgetLimited) {
  const GroupFit fit = FitRows(BudgetedRows(3, 0.30), Quick());
  EXPECT_EQ(fit.saturation, "budget-limited");
  EXPECT_THAT(fit.saturation_reason, HasSubstr("at 3.0x steps gained 30 %"));
}

TEST(SaturationTest, RepeatsOfTwiceTheBudget_AreNoCheck) {
  EXPECT_EQ(FitRows(BudgetedRows(2, 0.02), Quick()).saturation, "budget-limited");
}

// Measured with a trainable MLP at seq_len 8 (docs/science.md): capacity grows with width throughout.
TEST(SaturationTest, MeasuredTrainableMlp_IsNotObserved) {
  const std::vector<std::vector<double>> table = {
      {1, 293, 902, 1592, 2241, 3152}, {3, 482, 1598, 2597, 3679, 5387}, {5, 602, 2063, 3478, 4633, 7105}};
  const double widths[] = {8, 16, 24, 32, 48};
  std::vector<Row> rows;
  for (const auto& line : table) {
    for (int i = 0; i < 5; ++i) {
      Row row;
      row.heads = line[0];
      row.width = widths[i];
      row.seq_len = 8;
      row.capacity = line[i + 1];
      rows.push_back(row);
    }
  }
  FitSettings settings = Quick();
  settings.forms = {"min", "max", "softmin", "minlin"};
  EXPECT_EQ(FitRows(rows, settings).saturation, "not observed");
}

}  // namespace
}  // namespace capsweep::ecm
