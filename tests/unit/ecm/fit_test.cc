// The fitter on data made from known parameters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ecm/report.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const Theta kMinTheta = {800, 0.05, 0.8, 2, 20, 300, 400};

FitSettings Quick(std::vector<std::string> forms = {"min", "max", "softmin", "minlin"}) {
  FitSettings settings;
  settings.forms = std::move(forms);
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  return settings;
}

TEST(FitTest, NoiseFreeMinData_ParametersAndPredictionsComeBackExactly) {
  const std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta);
  const GroupFit fit = FitRows(rows, Quick());
  EXPECT_EQ(fit.best, "min");
  EXPECT_LT(WorstRelativeError(fit, "min", rows), 1e-6);
  const auto& p = fit.forms.at("min").parameters;
  EXPECT_NEAR(p.at("alpha"), 300, 300e-4);
  EXPECT_NEAR(p.at("beta"), 400, 400e-4);
  EXPECT_NEAR(p.at("a"), 800, 0.1);
  EXPECT_NEAR(p.at("d"), 2, 1e-3);
  EXPECT_EQ(fit.forms.at("min").variant, "full");
  EXPECT_GT(fit.forms.at("min").starts_agreeing, 2);
  EXPECT_EQ(fit.forms.at("min").starts, 64);
  EXPECT_TRUE(std::isfinite(fit.forms.at("min").aicc));
}

TEST(FitTest, NoiseFreeDataOfEachForm_ThatFormIsChosen) {
  const std::pair<const char*, Theta> cases[] = {{"min", kMinTheta},
                                                 {"max", {300, 0.05, 0.6, 1, 5, 100, 300}},
                                                 {"softmin", kMinTheta},
                                                 {"minlin", {12, 0.7, 0.2, 500, 300}}};
  for (const auto& [form, theta] : cases) {
    const std::vector<Row> rows = MakeSyntheticRows(form, theta);
    const GroupFit fit = FitRows(rows, Quick());
    EXPECT_EQ(fit.best, form);
    EXPECT_LT(WorstRelativeError(fit, form, rows), 1e-6) << form;
  }
}

TEST(FitTest, NoisyDataOfEachForm_ThatFormIsChosen) {
  const std::pair<const char*, Theta> cases[] = {{"min", kMinTheta},
                                                 {"max", {300, 0.05, 0.6, 1, 5, 100, 300}},
                                                 {"softmin", kMinTheta},
                                                 {"minlin", {12, 0.7, 0.2, 500, 300}}};
  for (const auto& [form, theta] : cases) {
    std::vector<Row> rows = MakeSyntheticRows(form, theta);
    Random random(5);
    AddNoise(0.02, random, rows);
    EXPECT_EQ(FitRows(rows, Quick()).best, form);
  }
}

TEST(FitTest, NestedTruth_NestedVariantIsNamedAndHeldParametersAreZero) {
  const std::vector<Row> rows = MakeSyntheticRows("min", {500, 0, 0.7, 0, 0, 200, 500});
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  const FormFit& form = fit.forms.at("min");
  EXPECT_EQ(form.variant, "b=d=e=0");
  EXPECT_EQ(form.parameters_used, 4);
  EXPECT_EQ(form.parameters.at("d"), 0);
  EXPECT_NEAR(form.parameters.at("a"), 500, 1e-2);
}

// Parameters nobody chose by hand, on grids of different shape. The slow suite does many more.
TEST(FitTest, RandomParameters_PredictionsAreExactWithoutNoise) {
  const Grid grids[] = {{},
                        {.lengths = {4, 8, 16, 64}, .widths = {4, 8, 12, 16, 24, 32, 48, 64}},
                        {.heads = {1, 2, 4}, .lengths = {4, 16, 32, 64}, .widths = {8, 16, 32, 64}}};
  for (const char* form : {"min", "max", "minlin"}) {
    for (int i = 0; i < 6; ++i) {
      Random random(77, i);
      const Grid& grid = grids[i % 3];
      const Theta theta = RandomTheta(form, grid, random);
      const std::vector<Row> rows = MakeSyntheticRows(form, theta, grid);
      const GroupFit fit = FitRows(rows, Quick({form}));
      EXPECT_LT(WorstRelativeError(fit, form, rows), 1e-6) << form << " draw " << i;
    }
  }
}

TEST(FitTest, OnlyLinearRows_SaturationIsNotObservedAndBoundIsNotIdentified) {
  const std::vector<Row> rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 0, 1e6});
  FitSettings settings = Quick();
  settings.bootstrap = 20;
  const GroupFit fit = FitRows(rows, settings);
  EXPECT_EQ(fit.best, "min");
  EXPECT_EQ(fit.saturation, "not observed");
  const FormFit& form = fit.forms.at("min");
  EXPECT_THAT(form.not_identified, Contains("alpha"));
  EXPECT_THAT(form.not_identified, Contains("beta"));
  EXPECT_EQ(form.intervals.count("alpha"), 0u);
  EXPECT_EQ(form.intervals.count("a"), 1u);
  EXPECT_TRUE(std::isnan(form.parameters.at("alpha")));
  EXPECT_LT(WorstRelativeError(fit, "min", rows), 1e-6);
}

TEST(FitTest, OnlySaturatedRows_BoundIsFoundAndSlopeIsNotIdentified) {
  const std::vector<Row> rows = MakeSyntheticRows("min", {1e6, 0, 0.1, 0, 0, 250, 100});
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  const FormFit& form = fit.forms.at("min");
  EXPECT_EQ(form.variant, "saturated branch only");
  EXPECT_NEAR(form.parameters.at("alpha"), 250, 0.01);
  EXPECT_NEAR(form.parameters.at("beta"), 100, 0.01);
  EXPECT_THAT(form.not_identified, Contains("a"));
  EXPECT_EQ(form.rows_linear, 0);
}

TEST(FitTest, TwoSaturatedRows_AlphaAndBetaAreNotIdentified) {
  // Capacity grows with H and falls with N here, so that a level bound between the second and the third largest cuts
  // two.
  const Theta linear = {800, -0.05, 0.8, 2, 20, 0, 1e6};
  std::vector<double> capacities;
  for (const Row& row : MakeSyntheticRows("min", linear)) capacities.push_back(row.capacity);
  std::sort(capacities.rbegin(), capacities.rend());
  Theta theta = linear;
  theta[kEcmBeta] = (capacities[1] + capacities[2]) / 2;
  const std::vector<Row> rows = MakeSyntheticRows("min", theta);
  ASSERT_EQ(CountOnBound("min", theta, rows), 2);
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  EXPECT_EQ(fit.saturation, "not observed");
  EXPECT_THAT(fit.forms.at("min").not_identified, Contains("alpha"));
}

TEST(FitTest, FewSequenceLengths_NestedVariantIsUsedWithAWarning) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = {8, 32}});
  Random random(3);
  AddNoise(0.02, random, rows);
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  EXPECT_EQ(fit.forms.at("min").parameters.at("d"), 0);
  EXPECT_THAT(fit.forms.at("min").not_identified, Contains("d"));
  EXPECT_THAT(fit.warnings, Contains(HasSubstr("2 sequence lengths")));
}

TEST(FitTest, FewSequenceLengthsWithoutNoise_PredictionsAreStillExact) {
  for (const std::vector<double>& lengths : {std::vector<double>{8}, {8, 32}, {4, 16, 64}}) {
    const std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = lengths});
    EXPECT_LT(WorstRelativeError(FitRows(rows, Quick({"min"})), "min", rows), 0.01) << lengths.size();
  }
}

TEST(FitTest, OneNumberOfHeads_BAndAlphaAreNotIdentified) {
  const std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.heads = {2}});
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  EXPECT_THAT(fit.forms.at("min").not_identified, Contains("b"));
  EXPECT_THAT(fit.forms.at("min").not_identified, Contains("alpha"));
  EXPECT_LT(WorstRelativeError(fit, "min", rows), 1e-6);
}

TEST(FitTest, MinDataHeldOutHeads_MinPredictsBetterThanPolynomials) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta);
  Random random(9);
  AddNoise(0.03, random, rows);
  FitSettings settings = Quick({"min"});
  settings.holdout_field = "heads";
  settings.bootstrap = 40;
  const GroupFit fit = FitRows(rows, settings);
  EXPECT_EQ(fit.holdout, "heads=5");
  EXPECT_EQ(fit.rows_held_out, 25);
  const double rmse = *fit.forms.at("min").heldout_rmse;
  for (const char* name : {"poly2", "poly3", "poly4"}) EXPECT_LT(rmse, *fit.baselines.at(name).heldout_rmse) << name;
  EXPECT_EQ(fit.best_overall, "min");
  EXPECT_GE(*fit.forms.at("min").heldout_coverage, 0.7);
}

TEST(FitTest, TwoNumbersOfHeads_NothingIsHeldOutAndAiccDecides) {
  FitSettings settings = Quick({"min"});
  settings.holdout_field = "heads";
  const GroupFit fit = FitRows(MakeSyntheticRows("min", kMinTheta, {.heads = {1, 3}}), settings);
  EXPECT_EQ(fit.holdout, "");
  EXPECT_FALSE(fit.forms.at("min").heldout_rmse.has_value());
  EXPECT_THAT(fit.warnings, Contains(HasSubstr("Nothing held out")));
  EXPECT_EQ(fit.best_overall, "min");
}

TEST(FitTest, NamedHoldOut_IsUsed) {
  FitSettings settings = Quick({"min"});
  settings.holdout_field = "width";
  settings.holdout_value = 16;
  const GroupFit fit = FitRows(MakeSyntheticRows("min", kMinTheta), settings);
  EXPECT_EQ(fit.holdout, "width=16");
  EXPECT_LT(*fit.forms.at("min").heldout_mape, 0.01);
}

TEST(FitTest, TooFewRows_GroupSaysSo) {
  const GroupFit fit =
      FitRows(MakeSyntheticRows("min", kMinTheta, {.heads = {1}, .lengths = {8}, .widths = {8, 16}}), Quick());
  EXPECT_THAT(fit.error, HasSubstr("2 of 2 can be used"));
  EXPECT_EQ(fit.saturation, "not observed");
  EXPECT_TRUE(fit.best.empty());
}

TEST(FitTest, TooFewRows_RepeatsWithOtherBudgetsAreCountedInPlainWords) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.heads = {1}, .lengths = {8}, .widths = {8, 16}});
  for (double factor : {3.0, 4.0}) {
    Row longer = rows[0];
    rows[0].budget = 1000;
    longer.budget = 1000 * factor;
    rows.push_back(longer);
  }
  rows[1].budget = 1000;
  EXPECT_THAT(FitRows(rows, Quick()).error,
              HasSubstr("2 of 4 can be used (left out: 2 repeated with a larger budget); measure more cells"));
}

TEST(FitTest, CensoredChanceAndEmptyRows_AreLeftOutWithReasons) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta);
  rows[0].censored = true;
  rows[1].at_chance = true;
  rows[2].capacity = 0;
  const GroupFit fit = FitRows(rows, Quick({"min"}));
  EXPECT_EQ(fit.rows, 125);
  EXPECT_EQ(fit.rows_used, 122);
  EXPECT_THAT(fit.points[0].why_not_used, HasSubstr("censored"));
  EXPECT_THAT(fit.points[1].why_not_used, HasSubstr("at chance"));
  EXPECT_THAT(fit.points[2].why_not_used, HasSubstr("no capacity"));
  EXPECT_TRUE(fit.points[3].used);
}

TEST(FitTest, SameSettings_SameBytesWhateverTheThreads) {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = {4, 8, 16, 32}});
  Random random(4);
  AddNoise(0.03, random, rows);
  FitSettings settings = Quick({"min", "minlin"});
  settings.bootstrap = 20;
  const std::string once = ReportToJson(FitGroups({{.rows = rows}}, settings));
  settings.threads = 2;
  EXPECT_EQ(once, ReportToJson(FitGroups({{.rows = rows}}, settings)));
}

TEST(FitTest, PlainWeighting_FitsToo) {
  FitSettings settings = Quick({"min"});
  settings.weighting = "plain";
  const std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta);
  const GroupFit fit = FitRows(rows, settings);
  EXPECT_EQ(fit.weighting, "plain");
  EXPECT_LT(WorstRelativeError(fit, "min", rows), 1e-6);
}

}  // namespace
}  // namespace capsweep::ecm
