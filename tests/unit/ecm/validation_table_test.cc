// The validation tables: what is held out, who beats the ECM, and what is said of it.
#include "ecm/validation_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "ecm/baselines.h"
#include "ecm/validation.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const Theta kMinTheta = {800, 0.05, 0.8, 2, 20, 300, 400};

FitSettings Quick() {
  FitSettings settings;
  settings.forms = {"min"};
  settings.holdout_field = "";
  settings.bootstrap = 0;
  settings.starts = 64;
  return settings;
}

std::vector<Row> NoisyMinRows() {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = {4, 8, 16, 32}});
  Random random(2);
  AddNoise(0.02, random, rows);
  return rows;
}

// ln C quadratic in the logarithms, far from any ECM.
std::vector<Row> LogQuadraticRows() {
  std::vector<Row> rows = NoisyMinRows();
  for (Row& row : rows) {
    const double b = std::log(row.width), h = std::log(row.heads), n = std::log(row.seq_len);
    row.capacity = std::exp(1 + 1.5 * b - 0.1 * b * b + 0.3 * h + 0.2 * h * b + 0.1 * n);
  }
  return rows;
}

// Of NoisyMinRows, once for all tests.
const Validation& OwnData() {
  static const auto& validation = *new Validation(Validate(NoisyMinRows(), Quick()));
  return validation;
}

const ValidationSplit& Find(const Validation& validation, const std::string& name, const std::string& weighting) {
  for (const ValidationSplit& split : validation.splits) {
    if (split.name == name && split.weighting == weighting) return split;
  }
  ADD_FAILURE() << "no split " << name << " " << weighting;
  return validation.splits.front();
}

TEST(FoldsTest, EveryRowIsHeldOutOnceAndNeverTrainedOnThen) {
  const std::vector<Row> rows = NoisyMinRows();
  const std::vector<Split> folds = MakeFolds(rows, 1);
  ASSERT_EQ(folds.size(), 5u);
  std::multiset<double> held_out;
  for (const Split& fold : folds) {
    EXPECT_EQ(fold.training.size() + fold.held_out.size(), rows.size());
    std::set<double> training;
    for (const Row& row : fold.training) training.insert(row.capacity);
    for (const Row& row : fold.held_out) {
      held_out.insert(row.capacity);
      EXPECT_EQ(training.count(row.capacity), 0u);
    }
  }
  std::multiset<double> all;
  for (const Row& row : rows) all.insert(row.capacity);
  EXPECT_EQ(held_out, all);
  EXPECT_TRUE(MakeFolds({rows.begin(), rows.begin() + 9}, 1).empty());
}

TEST(ValidationTableTest, HoldsEverySplitUnderBothLossesForEveryModel) {
  const Validation& validation = OwnData();
  EXPECT_EQ(validation.ecm, "min");
  ASSERT_EQ(validation.splits.size(), 10u);
  for (const char* weighting : {"weighted", "plain"}) {
    for (const char* name : {"in-sample", "heads=5", "width=64", "seq_len=32", "5-fold"}) {
      const ValidationSplit& split = Find(validation, name, weighting);
      EXPECT_EQ(split.models.size(), 1 + BaselineNames().size()) << name;
      EXPECT_FALSE(split.models.at("min").coverage) << "no bootstrap was asked";
    }
  }
  EXPECT_EQ(Find(validation, "in-sample", "plain").rows, 100);
  EXPECT_EQ(Find(validation, "heads=5", "plain").rows, 20);
  EXPECT_EQ(Find(validation, "seq_len=32", "plain").rows, 25);
  EXPECT_EQ(Find(validation, "5-fold", "weighted").rows, 100);
}

TEST(ValidationTableTest, OnItsOwnDataTheEcmWinsAndIsSaidTo) {
  const Validation& validation = OwnData();
  const ValidationSplit& heads = Find(validation, "heads=5", "weighted");
  EXPECT_TRUE(heads.ecm_wins);
  EXPECT_THAT(heads.beat_ecm, ::testing::IsEmpty());
  EXPECT_LT(heads.models.at("min").mape, 4);
  EXPECT_FALSE(Find(validation, "in-sample", "weighted").ecm_wins) << "in-sample nobody wins";
  EXPECT_THAT(validation.verdict, HasSubstr("heads=5: none"));
}

TEST(ValidationTableTest, OnOtherDataTheBaselineIsNamedWithItsFigures) {
  const Validation validation = Validate(LogQuadraticRows(), Quick());
  const ValidationSplit& heads = Find(validation, "heads=5", "weighted");
  EXPECT_FALSE(heads.ecm_wins);
  EXPECT_EQ(heads.beat_ecm.front(), "log_quadratic");
  EXPECT_LT(heads.models.at("log_quadratic").rmse, heads.models.at("min").rmse);
  EXPECT_THAT(validation.verdict, HasSubstr("heads=5: log_quadratic (RMSE "));
  EXPECT_THAT(validation.verdict, HasSubstr("in 0 of 8 tests"));
  for (const std::string& name : heads.beat_ecm) {
    EXPECT_GE(heads.models.at(name).parameters_used, heads.models.at("min").parameters_used) << name;
  }
}

// The errors of the table are those of the single hold-out that the plain report has always shown.
TEST(ValidationTableTest, AgreesWithTheSingleHoldOut) {
  FitSettings settings = Quick();
  settings.holdout_field = "heads";
  const std::vector<Row> rows = NoisyMinRows();
  const GroupFit fit = FitRows(rows, settings);
  const Validation& validation = OwnData();
  const ValidationSplit& heads = Find(validation, "heads=5", "weighted");
  EXPECT_NEAR(heads.models.at("poly2").rmse, *fit.baselines.at("poly2").heldout_rmse, 1e-9);
  EXPECT_NEAR(heads.models.at("min").rmse / *fit.forms.at("min").heldout_rmse, 1, 1e-3);
  EXPECT_NEAR(heads.models.at("poly2").bias, *fit.baselines.at("poly2").heldout_bias, 1e-9);
}

TEST(ValidationTableTest, WithABootstrapFormsHaveACoverageAndBaselinesNone) {
  FitSettings settings = Quick();
  settings.bootstrap = 20;
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.heads = {1, 2, 4}, .lengths = {4, 16}});
  Random random(3);
  AddNoise(0.02, random, rows);
  const Validation validation = Validate(rows, settings);
  const ValidationSplit& folds = Find(validation, "5-fold", "weighted");
  ASSERT_TRUE(folds.models.at("min").coverage);
  EXPECT_GT(*folds.models.at("min").coverage, 0.8);
  EXPECT_FALSE(folds.models.at("poly2").coverage);
}

TEST(ValidationTableTest, SplitsThatTheRowsDoNotAllow_SayWhy) {
  const std::vector<Row> rows =
      MakeSyntheticRows("min", kMinTheta, {.heads = {1, 2}, .lengths = {4, 8, 16, 32}, .widths = {4, 64}});
  const Validation validation = Validate(rows, Quick());
  EXPECT_THAT(Find(validation, "heads=2", "plain").why_not, HasSubstr("2 are needed"));
  EXPECT_TRUE(Find(validation, "5-fold", "plain").why_not.empty());
  EXPECT_THAT(ValidationText(validation), HasSubstr("heads=2: not possible"));
}

TEST(ValidationTableTest, JsonHoldsEverythingAndReadsBack) {
  FitSettings settings = Quick();
  settings.validate = true;
  FitReport report{
      .groups = {FitRows(MakeSyntheticRows("min", kMinTheta, {.heads = {1, 2, 4}, .lengths = {4, 8, 32}}), settings)}};
  const std::string text = ReportToJson(report);
  const auto json = nlohmann::json::parse(text).at("groups").at(0).at("validation");
  EXPECT_EQ(json.at("ecm"), "min");
  EXPECT_EQ(json.at("splits").size(), 10u);
  const auto& split = json.at("splits").at(1);
  EXPECT_EQ(split.at("split"), "heads=4");
  EXPECT_EQ(split.at("weighting"), "weighted");
  EXPECT_TRUE(split.at("models").at("min").at("rmse").is_number());
  EXPECT_THAT(split.at("models").at("bits").at("skipped").get<std::string>(), HasSubstr("parameter counts"));
  const auto back = ReportFromJson(text);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ReportToJson(*back), text);
  EXPECT_THAT(ReportText(report), HasSubstr("Validation, seq_len=32 held out, 15 rows"));
}

}  // namespace
}  // namespace capsweep::ecm
