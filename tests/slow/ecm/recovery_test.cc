// Many draws of parameters and of noise: the claims of docs/science.md about the fitter.
#include <gtest/gtest.h>

#include <cmath>

#include "ecm/report.h"
#include "tests/unit/ecm/synthetic.h"

namespace capsweep::ecm {
namespace {

const Theta kMinTheta = {800, 0.05, 0.8, 2, 20, 300, 400};

const Grid& GridOf(int draw) {
  static const auto& grids =
      *new std::vector<Grid>{{},
                             {.lengths = {4, 8, 16, 64}, .widths = {4, 8, 12, 16, 24, 32, 48, 64}},
                             {.lengths = {4, 8, 16, 32, 64}, .widths = {4, 6, 8, 12, 16, 24, 32, 48, 64}},
                             {.heads = {1, 2, 4}, .lengths = {4, 16, 32, 64}, .widths = {8, 16, 32, 64}},
                             {.heads = {1, 2, 3, 4, 5}, .lengths = {4, 8, 16, 32}, .widths = {8, 16, 32, 64}}};
  return grids[draw % grids.size()];
}

FitSettings Settings(std::vector<std::string> forms) {
  FitSettings settings;
  settings.forms = std::move(forms);
  settings.holdout_field = "";
  settings.bootstrap = 0;
  return settings;
}

// A failure is counted, not excused: all draws of every form have to come back.
TEST(RecoverySlowTest, UnseenParametersWithoutNoise_EveryPredictionIsExactAndTheBoundToo) {
  for (const char* form : {"min", "max", "softmin", "minlin"}) {
    int wrong = 0;
    for (int draw = 0; draw < 40; ++draw) {
      Random random(2024, draw);
      const Grid& grid = GridOf(draw);
      const Theta theta = RandomTheta(form, grid, random);
      const std::vector<Row> rows = MakeSyntheticRows(form, theta, grid);
      const GroupFit fit = FitRows(rows, Settings({form}));
      const Form& known = *FindForm(form);
      const auto& p = fit.forms.at(form).parameters;
      const double scale = std::abs(theta[known.alpha()]) + std::abs(theta[known.beta()]);
      const bool exact = WorstRelativeError(fit, form, rows) <= 1e-6 &&
                         std::abs(p.at("alpha") - theta[known.alpha()]) <= 1e-4 * scale &&
                         std::abs(p.at("beta") - theta[known.beta()]) <= 1e-4 * scale;
      wrong += exact ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << form;
  }
}

TEST(RecoverySlowTest, UnseenParametersWithoutNoise_TheTrueFormIsChosen) {
  for (const char* form : {"min", "max", "softmin", "minlin"}) {
    for (int draw = 0; draw < 10; ++draw) {
      Random random(31, draw);
      const Theta theta = RandomTheta(form, GridOf(draw), random);
      const std::vector<Row> rows = MakeSyntheticRows(form, theta, GridOf(draw));
      EXPECT_EQ(FitRows(rows, Settings({"min", "max", "softmin", "minlin"})).best, form) << draw;
    }
  }
}

// With noise no fit may be worse than the truth that made the data.
TEST(RecoverySlowTest, NoisyDraws_TheFitIsNeverWorseThanTheTruth) {
  for (int draw = 0; draw < 40; ++draw) {
    Random random(12, draw);
    const Grid& grid = GridOf(draw);
    const Theta theta = RandomTheta("min", grid, random);
    const std::vector<Row> truth = MakeSyntheticRows("min", theta, grid);
    std::vector<Row> rows = truth;
    AddNoise(0.03, random, rows);
    FitSettings settings = Settings({"min"});
    settings.weighting = "plain";  // so that RMSE is what the fit minimizes
    double squares = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      squares += std::pow(rows[i].capacity - truth[i].capacity, 2) / static_cast<double>(rows.size());
    }
    const FormFit form = FitRows(rows, settings).forms.at("min");
    // AICc may trade a parameter for at most about one unit of squared error per parameter.
    EXPECT_LT(form.rmse, 1.05 * std::sqrt(squares)) << draw;
  }
}

TEST(RecoverySlowTest, ThreePercentNoise_AlphaLiesInItsIntervalInAtLeast90Of100Draws) {
  const std::vector<Row> truth = MakeSyntheticRows("min", kMinTheta);
  int covered = 0;
  for (int draw = 0; draw < 100; ++draw) {
    Random random(500, draw);
    std::vector<Row> rows = truth;
    AddNoise(0.03, random, rows);
    FitSettings settings = Settings({"min"});
    settings.bootstrap = 200;
    settings.starts = 64;
    const GroupFit fit = FitRows(rows, settings);
    const auto& alpha = fit.forms.at("min").intervals.at("alpha");
    covered += alpha.first <= 300 && 300 <= alpha.second ? 1 : 0;
  }
  RecordProperty("covered", covered);
  EXPECT_GE(covered, 90);
}

}  // namespace
}  // namespace capsweep::ecm
