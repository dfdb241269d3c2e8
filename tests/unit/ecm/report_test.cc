// The words and the JSON of a fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "ecm/report.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Theta kMinTheta = {800, 0.05, 0.8, 2, 20, 300, 400};

GroupFit FitOf(std::vector<Row> rows, int bootstrap = 20) {
  FitSettings settings;
  settings.starts = 64;
  settings.bootstrap = bootstrap;
  return FitRows(rows, settings);
}

std::vector<Row> NoisyMinRows() {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = {4, 8, 16, 32}});
  Random random(2);
  AddNoise(0.03, random, rows);
  return rows;
}

// ln C quadratic in the logarithms: a baseline's own data.
std::vector<Row> LogQuadraticRows() {
  std::vector<Row> rows = MakeSyntheticRows("min", kMinTheta, {.lengths = {4, 8, 16, 32}});
  for (Row& row : rows) {
    const double b = std::log(row.width), h = std::log(row.heads), n = std::log(row.seq_len);
    row.capacity = std::exp(1 + 1.5 * b - 0.1 * b * b + 0.3 * h + 0.2 * h * b + 0.1 * n);
  }
  return rows;
}

std::string Words(const GroupFit& group) {
  std::string text = ReportText({.groups = {group}});
  for (size_t at = 0; (at = text.find("\n  ", at)) != std::string::npos;) text.replace(at, 3, " ");
  return text;
}

TEST(WordsTest, BaselinePredictsBetter_IsSaidWithNameAndNumbers) {
  GroupFit group = FitOf(LogQuadraticRows());
  EXPECT_EQ(group.best_overall, "log_quadratic");
  const std::string text = Words(group);
  EXPECT_THAT(text, HasSubstr("those rows are predicted better by `log_quadratic` (RMSE "));
  EXPECT_THAT(text, HasSubstr("than by `" + group.best + "`"));
  EXPECT_THAT(text, Not(HasSubstr("no other form or baseline predicts")));
  EXPECT_THAT(ReportSentence(group), HasSubstr("is predicted better by `log_quadratic`"));
  // Its RMSE is smaller still, the mean relative error no longer.
  group.baselines.at("log_quadratic").heldout_mape = *group.forms.at(group.best).heldout_mape + 1;
  EXPECT_THAT(ReportSentence(group),
              HasSubstr("is predicted with a smaller RMSE, if a larger mean error, by `log_quadratic`"));
}

TEST(WordsTest, BestFormAlsoPredictsBest_IsSaidOnlyThen) {
  const GroupFit group = FitOf(MakeSyntheticRows("min", kMinTheta, {.lengths = {4, 8, 16, 32}}));
  EXPECT_EQ(group.best_overall, "min");
  EXPECT_THAT(Words(group), HasSubstr("no other form or baseline predicts those rows better"));
  EXPECT_THAT(ReportSentence(group), HasSubstr("best of all tried"));
}

TEST(WordsTest, ReportNamesWeightingRowsStartsAndSaturation) {
  std::vector<Row> rows = NoisyMinRows();
  rows[3].censored = true;
  rows[0].at_chance = true;
  const GroupFit group = FitOf(rows);
  const std::string text = Words(group);
  EXPECT_THAT(text, HasSubstr("98 of 100 rows used (left out: 1 at chance; 1 censored); weighted by"));
  EXPECT_THAT(text, HasSubstr("of 64 starts reached the best fit within 1 %"));
  EXPECT_THAT(text, HasSubstr("held out for validation: heads=5, 20 rows"));
  EXPECT_THAT(text, HasSubstr("Saturation: observed (the input holds no training budgets"));
  EXPECT_THAT(text, HasSubstr("poly4"));
  EXPECT_THAT(text, HasSubstr("cannot identify"));
}

TEST(WordsTest, SaturationNotObserved_IsSaidAndBoundIsNotShownAsFound) {
  const GroupFit group = FitOf(MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 0, 1e6}, {.lengths = {4, 8, 16, 32}}));
  const std::string text = Words(group);
  EXPECT_THAT(text, HasSubstr("Saturation: not observed"));
  EXPECT_THAT(text, HasSubstr("alpha and beta are not identified"));
  EXPECT_THAT(ReportSentence(group), HasSubstr("saturation was not observed"));
}

TEST(WordsTest, NoFit_IsSaidPlainly) {
  const GroupFit group = FitOf(MakeSyntheticRows("min", kMinTheta, {.heads = {1}, .lengths = {8}, .widths = {8}}));
  EXPECT_THAT(Words(group), HasSubstr("No fit: nothing could be fitted"));
  EXPECT_THAT(ReportSentence(group), HasSubstr("no capacity model could be fitted"));
  EXPECT_EQ(ReportText({}), "No rows to fit.\n");
}

TEST(WordsTest, Lines_FitATerminal) {
  std::istringstream lines(ReportText({.groups = {FitOf(NoisyMinRows())}}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 160u) << line;
}

TEST(JsonTest, Report_HasTheDocumentedKeys) {
  GroupFit group = FitOf(NoisyMinRows());
  group.group = {{"freeze_mlp", "true"}, {"layers", "1"}, {"mode", "label"}};
  const auto parsed = nlohmann::json::parse(ReportToJson({.groups = {group}}));
  const auto& json = parsed.at("groups").at(0);
  EXPECT_EQ(json.at("group").at("freeze_mlp"), true);
  EXPECT_EQ(json.at("group").at("layers"), 1);
  EXPECT_EQ(json.at("group").at("mode"), "label");
  EXPECT_EQ(json.at("best"), group.best);
  EXPECT_EQ(json.at("saturation"), "observed");
  EXPECT_EQ(json.at("rows"), 100);
  EXPECT_EQ(json.at("rows_used"), 100);
  for (const char* form : {"min", "max", "softmin", "minlin"}) {
    for (const char* key : {"parameters", "intervals", "rmse", "mape", "r2", "aicc", "bic", "heldout_rmse",
                            "heldout_mape", "starts_agreeing"}) {
      EXPECT_TRUE(json.at("forms").at(form).contains(key)) << form << " " << key;
    }
  }
  for (const char* name : {"a", "b", "c", "d", "e", "alpha", "beta"}) {
    EXPECT_TRUE(json.at("forms").at("min").at("parameters").contains(name));
  }
  for (const char* name :
       {"constant", "bits", "bits_parts", "power", "power_bhn", "poly1", "poly2", "poly3", "poly4", "log_quadratic"}) {
    EXPECT_TRUE(json.at("baselines").contains(name)) << name;
  }
  EXPECT_TRUE(json.at("baselines").at("poly4").at("dropped_terms").is_array());
  EXPECT_TRUE(json.at("baselines").at("bits").at("rmse").is_null());
  EXPECT_THAT(json.at("baselines").at("bits").at("skipped").get<std::string>(), HasSubstr("parameter counts"));
  EXPECT_EQ(json.at("points").size(), 100u);
  EXPECT_TRUE(json.at("points").at(0).at("used"));
  EXPECT_LE(json.at("points").at(0).at("lower"), json.at("points").at(0).at("predicted"));
  EXPECT_EQ(json.at("draws").size(), 20u);
  const auto& alpha = json.at("forms").at("min").at("intervals").at("alpha");
  EXPECT_LE(alpha.at(0), alpha.at(1));
}

TEST(JsonTest, RoundTrip_GivesTheSameBytes) {
  FitReport report{.groups = {FitOf(NoisyMinRows())}};
  report.groups[0].group = {{"freeze_mlp", "true"}, {"layers", "1"}, {"lr", "3e-05"}, {"mode", "label"}};
  const std::string json = ReportToJson(report);
  const auto back = ReportFromJson(json);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ReportToJson(*back), json);
}

TEST(JsonTest, FailedFit_IsStillValidJson) {
  const GroupFit group = FitOf(MakeSyntheticRows("min", kMinTheta, {.heads = {1}, .lengths = {8}, .widths = {8}}));
  const std::string json = ReportToJson({.groups = {group}});
  EXPECT_TRUE(nlohmann::json::parse(json).at("groups").at(0).at("best").is_null());
  EXPECT_TRUE(ReportFromJson(json).ok());
}

TEST(JsonTest, Nonsense_IsAnError) {
  EXPECT_FALSE(ReportFromJson("").ok());
  EXPECT_FALSE(ReportFromJson("{}").ok());
  EXPECT_FALSE(ReportFromJson("{\"groups\": [{\"group\": 3}]}").ok());
}

TEST(PredictTest, FormsAndBaselines_PredictFromTheirParameters) {
  const std::map<std::string, double> p = {{"a", 800}, {"b", 0.05},    {"c", 0.8},   {"d", 2},
                                           {"e", 20},  {"alpha", 300}, {"beta", 400}};
  EXPECT_NEAR(Predict("min", p, 2, 8, 8), 8 * (800 / (std::pow(8, 0.9) + 2) + 20), 1e-9);
  EXPECT_NEAR(Predict("min", p, 2, 800, 8), 1000, 1e-9);
  EXPECT_NEAR(Predict("max", p, 2, 1, 8), 1000, 1e-9);
  EXPECT_NEAR(Predict("constant", {{"1", 7}}, 1, 1, 1), 7, 1e-12);
  EXPECT_TRUE(std::isnan(Predict("nosuch", p, 1, 1, 1)));
  // Equal branches x = y give 2^(-1/8) x, far ones the smaller.
  EXPECT_NEAR(
      Predict("softmin", {{"a", 0}, {"b", 0}, {"c", 0}, {"d", 0}, {"e", 10}, {"alpha", 0}, {"beta", 80}}, 1, 8, 4),
      80 * std::pow(2, -1.0 / 8), 1e-9);
}

}  // namespace
}  // namespace capsweep::ecm
