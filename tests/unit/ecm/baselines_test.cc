#include "ecm/baselines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ecm/statistics.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<Row> GridRows(double (*capacity)(double b, double h, double n), const Grid& grid = {}) {
  std::vector<Row> rows = MakeSyntheticRows("min", {1, 0, 0, 0, 0, 0, 1}, grid);
  for (Row& row : rows) {
    row.capacity = capacity(row.width, row.heads, row.seq_len);
    row.params_train = row.params_total = 100 * row.width + 8 * row.width * row.width;
    row.params_parts = {20 * row.width, 32 * row.width * row.heads, 8 * row.width * row.width, 16 * row.width};
    row.bits_per_item = 4;
  }
  return rows;
}

double WorstError(const std::string& name, const std::vector<Row>& rows) {
  const BaselineFit fit = FitBaseline(name, rows, std::vector<double>(rows.size(), 1));
  EXPECT_EQ(fit.skipped, "") << name;
  double worst = 0;
  for (const Row& row : rows) {
    worst = std::max(worst, std::abs(PredictBaseline(name, fit.parameters, row) / row.capacity - 1));
  }
  return worst;
}

TEST(BaselinesTest, DataOfTheirOwnKind_AreFittedExactly) {
  const auto power = GridRows([](double b, double h, double n) { return 3 * std::pow(b, 1.2) * std::pow(h, 0.5) / n; });
  EXPECT_LT(WorstError("power_bhn", power), 1e-9);
  EXPECT_LT(WorstError("log_quadratic", power), 1e-9);
  EXPECT_LT(WorstError("poly2", GridRows([](double b, double h, double n) {
                         return 500 + b * h + 0.1 * b * b + 20 * std::log(n) * h;
                       })),
            1e-9);
  EXPECT_LT(WorstError("poly2_n", GridRows([](double b, double h, double n) { return 500 + b * n + h * h; })), 1e-9);
  EXPECT_LT(WorstError("bits", GridRows([](double b, double, double) { return 0.9 * (100 * b + 8 * b * b) / 4; })),
            1e-9);
  EXPECT_LT(WorstError("power", GridRows([](double b, double, double) { return std::pow(100 * b + 8 * b * b, 0.7); })),
            1e-9);
  EXPECT_LT(WorstError("bits_parts", GridRows([](double b, double h, double) { return 2 * b + 9 * b * h + b * b; })),
            1e-9);
  EXPECT_LT(WorstError("constant", GridRows([](double, double, double) { return 42.0; })), 1e-12);
}

TEST(BaselinesTest, FourLevelsOfHeadsAndLength_TheirFourthPowersAreDroppedAndNamed) {
  const auto rows = GridRows([](double b, double h, double n) { return b * h + n; },
                             {.heads = {1, 2, 3, 4}, .lengths = {4, 8, 16, 32}, .widths = {8, 12, 16, 24, 32}});
  const BaselineFit fit = FitBaseline("poly4", rows, std::vector<double>(rows.size(), 1));
  EXPECT_THAT(fit.dropped_terms, ElementsAre("H^4", "lnN^4"));
  EXPECT_EQ(fit.parameters_used, 33);
}

TEST(BaselinesTest, EnoughLevels_NothingIsDropped) {
  const auto rows = GridRows([](double b, double h, double n) { return b * h + n; });
  const BaselineFit fit = FitBaseline("poly4", rows, std::vector<double>(rows.size(), 1));
  EXPECT_THAT(fit.dropped_terms, IsEmpty());
  EXPECT_EQ(fit.parameters_used, 35);
}

TEST(BaselinesTest, UnknownParameterCounts_AreAReasonToSkip) {
  const auto rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400});
  for (const char* name : {"bits", "bits_parts", "power"}) {
    EXPECT_THAT(FitBaseline(name, rows, std::vector<double>(rows.size(), 1)).skipped, HasSubstr("parameter counts"));
  }
}

TEST(BaselinesTest, FewerRowsThanTerms_IsAReasonToSkip) {
  const auto rows = GridRows([](double b, double h, double n) { return b * h + n; },
                             {.heads = {1, 2}, .lengths = {4, 8}, .widths = {8, 16}});
  EXPECT_THAT(FitBaseline("poly3", rows, std::vector<double>(rows.size(), 1)).skipped, HasSubstr("rows"));
}

TEST(BaselinesTest, GradientsAreThoseOfThePrediction) {
  const auto rows = MakeSyntheticRows("min", {800, 0.05, 0.8, 2, 20, 300, 400});
  const Row at{.heads = 6, .width = 24, .seq_len = 12};
  for (const std::string name : {"log_quadratic", "poly2", "power_bhn"}) {
    const BaselineFit fit = FitBaseline(name, rows, std::vector<double>(rows.size(), 1));
    const BaselinePoint point = BaselineGradient(name, fit.parameters, at);
    EXPECT_DOUBLE_EQ(point.value, PredictBaseline(name, fit.parameters, at));
    ASSERT_EQ(static_cast<int>(point.terms.size()), fit.parameters_used);
    for (size_t t = 0; t < point.terms.size(); ++t) {
      auto moved = fit.parameters;
      const double step = 1e-6 * std::max(1.0, std::abs(moved[point.terms[t]]));
      moved[point.terms[t]] += step;
      const double difference = (PredictBaseline(name, moved, at) - point.value) / step;
      EXPECT_NEAR(point.by[t], difference, 1e-4 * std::max(1.0, std::abs(difference))) << name << " " << point.terms[t];
    }
  }
  EXPECT_TRUE(BaselineGradient("none", {}, at).terms.empty());
}

TEST(StatisticsTest, KnownValues) {
  EXPECT_EQ(Quantile({3, 1, 2}, 0.5), 2);
  EXPECT_DOUBLE_EQ(Quantile({0, 10}, 0.25), 2.5);
  EXPECT_NEAR(StudentT975(10), 2.228, 0.01);
  EXPECT_NEAR(StudentT975(120), 1.980, 0.002);
  // n ln(RSS/n) + 2K + 2K(K+1)/(n−K−1) with n = 10, K = 3.
  EXPECT_NEAR(Aicc(20, 10, 2), 10 * std::log(2.0) + 6 + 24.0 / 6, 1e-12);
  EXPECT_TRUE(std::isinf(Aicc(1, 4, 2)));
  FormFit fit;
  FillErrors({100, 200}, {110, 180}, {1, 1}, 1, fit);
  EXPECT_NEAR(fit.rmse, std::sqrt(250.0), 1e-12);
  EXPECT_NEAR(fit.mae, 15, 1e-12);
  EXPECT_NEAR(fit.mape, 10, 1e-12);
  EXPECT_NEAR(fit.r2, 1 - 500.0 / 5000, 1e-12);
}

}  // namespace
}  // namespace capsweep::ecm
