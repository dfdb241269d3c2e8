// The figures of bits, associative memories, least networks and families: what each draws of known analyses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cli/figures/figures.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

using cli::ResultRow;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const Series& Named(const Panel& panel, const std::string& title) {
  for (const Series& series : panel.series) {
    if (series.title == title) return series;
  }
  ADD_FAILURE() << "no series " << title << " in " << panel.title;
  static const auto* const kNone = new Series;
  return *kNone;
}

bool HasSeries(const Panel& panel, const std::string& title) {
  for (const Series& series : panel.series) {
    if (series.title == title) return true;
  }
  return false;
}

ResultRow RowOf(const std::string& architecture, int64_t params, int64_t items) {
  ResultRow row;
  row.architecture = architecture;
  row.family = "ks";
  row.mode = "lm";
  row.stop_reason = "budget";
  row.vocab = 16;
  row.seq_len = row.targets = 8;
  row.width = params / 100;
  row.budget_steps = 100;
  row.dataset_size = items;
  row.params_total = row.params_train = params;
  row.heldout_loss = row.neighbour_mean = row.neighbour_median = std::nan("");
  return row;
}

ResultRow TrialOf(int64_t params, int64_t items, bool memorized, int64_t length = 8) {
  ResultRow row = RowOf("", params, items);
  row.seq_len = length;
  row.items_mem = memorized ? items : items - 1;
  row.train_loss = memorized ? 0.001 : 0.5;
  return row;
}

TEST(MinnetFigureTest, PointsTheFittedSlopeAndCurvesOfTheory) {
  std::vector<ResultRow> rows;
  for (const int64_t items : {100, 200, 400, 800}) {
    rows.push_back(TrialOf(3 * items, items, true));
    rows.push_back(TrialOf(2 * items, items, false));
  }
  rows.push_back(TrialOf(9999, 1600, false));
  FigureData data{.sweep = "least", .measure = "minnet"};
  data.minnet = cli::AnalyzeMinnet(rows);
  const auto chart = MinnetFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 1U);
  const Panel& panel = chart->panels[0];
  EXPECT_EQ(panel.title, "ks: D^1.00 (1.00 to 1.00)");
  const Series& points = Named(panel, "P_min: every item memorized");
  ASSERT_EQ(points.points.size(), 4U);  // none for the library that none memorized
  EXPECT_EQ(points.points[1].y, 600);
  EXPECT_EQ(points.points[1].low, 400);
  EXPECT_NEAR(Named(panel, "fitted power law").points.back().y, 2400, 1e-6);
  EXPECT_NEAR(Named(panel, "c D").points.back().y, 2400, 1e-6);
  EXPECT_LT(Named(panel, "c sqrt(D)").style, 0);
  EXPECT_NE(Named(panel, "c sqrt(D)").style, Named(panel, "c D").style);
  EXPECT_FALSE(HasSeries(panel, "c sqrt(n D)"));               // one length
  EXPECT_FALSE(HasSeries(panel, "training loss below 0.01"));  // the same networks
  EXPECT_THAT(chart->notes, Contains(AllOf(HasSubstr("c D has the lowest AICc"), HasSubstr("c = 3 for D"))));
  EXPECT_THAT(chart->notes, Contains("No network that was tried memorized: ks 1600 items, seq_len 8."));
  EXPECT_THAT(chart->notes, Contains(HasSubstr("contradicts none of them")));
}

TEST(MinnetFigureTest, OneLibraryAtSeveralLengthsGoesOverLengthWithTheBandOfTheShortest) {
  FigureData data{.sweep = "random", .measure = "minnet"};
  data.minnet = cli::AnalyzeMinnet({TrialOf(400, 500, true, 10), TrialOf(500, 500, true, 100)});
  const auto chart = MinnetFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 1U);
  EXPECT_THAT(chart->panels[0].x.label, HasSubstr("sequence length"));
  const Series& band = Named(chart->panels[0], "within 25 % of the shortest");
  EXPECT_EQ(band.points[1].low, 300);
  EXPECT_EQ(band.points[1].high, 500);
  EXPECT_EQ(Named(chart->panels[0], "D = 500").points[1].y, 500);
  data.minnet = cli::AnalyzeMinnet({TrialOf(400, 500, true, 10)});
  EXPECT_THAT(std::string(MinnetFigure(data).status().message()), HasSubstr("nothing grows"));
  data.minnet = cli::AnalyzeMinnet({TrialOf(400, 500, false, 10)});
  EXPECT_THAT(std::string(MinnetFigure(data).status().message()), HasSubstr("no network that was tried memorized"));
}

// Sizes whose training loss meets the held-out loss from sqrt(params) tokens on.
FigureData Balanced() {
  FigureData data{.sweep = "memory", .measure = "assoc"};
  std::vector<ResultRow> rows;
  std::map<int64_t, std::vector<ecm::LossPair>> curves;
  for (const int64_t size : {64, 128, 256}) {
    for (const int64_t items : {4, 8, 16, 32, 64}) {
      ResultRow row = RowOf(StrCat("size ", size), size * size, items);
      row.point_id = static_cast<int64_t>(rows.size()) + 1;
      row.neighbour_mean = 3;
      row.neighbour_median = 2;
      curves[row.point_id] = {{2.8, 2.8}, {items * 8 >= size ? 2.7 : 1.0, 2.9}};
      rows.push_back(row);
    }
  }
  data.assoc = cli::AnalyzeAssoc(rows, curves, {});
  for (const size_t index : ChooseLossPoints(*data.assoc, rows)) {
    const auto& pairs = curves[rows[index].point_id];
    data.losses.push_back({rows[index].architecture,
                           cli::TokensOf(rows[index]),
                           {{0, pairs[0].train, pairs[0].heldout}, {100, pairs[1].train, pairs[1].heldout}}});
  }
  return data;
}

TEST(LossesFigureTest, SmallestCriticalAndLargestLibraryWithTheConditionalReference) {
  const auto chart = LossesFigure(Balanced());
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 3U);
  const Panel& panel = chart->panels[1];  // D* = 128
  EXPECT_EQ(panel.title, "size 128");
  size_t solid = 0, broken = 0;
  for (const Series& series : panel.series) {
    if (series.style < 0) continue;
    if (!series.points.empty()) (series.open ? broken : solid) += 1;
    EXPECT_TRUE(series.points.empty() || series.points.back().x == 100);
  }
  EXPECT_EQ(solid, 3U);
  EXPECT_EQ(broken, 3U);
  const Series& reference = Named(panel, "1 nat: Niu Prop 4 (conditions)");
  EXPECT_LT(reference.style, 0);
  EXPECT_EQ(reference.points[0].y, 1);
  EXPECT_THAT(chart->notes, Contains(HasSubstr("under its conditions")));
  std::vector<std::string> legend;
  for (const Series& series : chart->panels[0].series) {
    if (series.title.starts_with("D = ")) legend.push_back(series.title);
  }
  EXPECT_THAT(legend, ElementsAre("D = 32", "D = 64", "D = 128", "D = 256", "D = 512"));
  FigureData once = Balanced();
  for (LossCurve& curve : once.losses) curve.evaluations.resize(1);
  EXPECT_THAT(std::string(LossesFigure(once).status().message()), HasSubstr("eval_every"));
}

TEST(BalanceFigureTest, GapsAndThePowerLawBesideTheTheorysSlope) {
  const auto chart = BalanceFigure(Balanced());
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 2U);
  EXPECT_EQ(Named(chart->panels[0], "σ² = 0.04").points[0].y, 0.04);
  EXPECT_EQ(chart->panels[1].title, "P ~ D*^2.00 (2.00 to 2.00)");
  const Series& law = Named(chart->panels[1], "fitted power law");
  const Series& theory = Named(chart->panels[1], "slope 2: theory under its conditions");
  EXPECT_NEAR(law.points.back().y, 256 * 256, 1);
  EXPECT_NEAR(theory.points.front().y / law.points.front().y, 1, 1e-9);
  FigureData two = Balanced();
  two.assoc->law = absl::InvalidArgumentError("too few");
  two.assoc->sizes[0].critical = {};
  const auto without = BalanceFigure(two);
  ASSERT_TRUE(without.ok());
  EXPECT_FALSE(HasSeries(without->panels[1], "fitted power law"));
  EXPECT_THAT(without->notes, AllOf(Contains(HasSubstr("No exponent: too few")),
                                    Contains(HasSubstr("1 of 3 architectures stay above"))));
  for (cli::AssocSize& size : two.assoc->sizes) size.critical = {};
  EXPECT_EQ(BalanceFigure(two)->panels.size(), 1U);  // no empty panel
}

TEST(DistancesFigureTest, MeanAndMedianAgainstTheTheory) {
  FigureData data = Balanced();
  const auto chart = DistancesFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_EQ(Named(chart->panels[0], "mean").points[0].y, 3);
  EXPECT_EQ(Named(chart->panels[0], "median").points[0].y, 2);
  const ChartPoint theory = Named(chart->panels[0], "2 sqrt(n/(2 pi e)): theory").points[0];
  EXPECT_NEAR(theory.y, 2 * std::sqrt(theory.x / (2 * M_PI * M_E)), 1e-9);
  for (cli::AssocSize& size : data.assoc->sizes) size.neighbour_mean = std::nan("");
  EXPECT_THAT(std::string(DistancesFigure(data).status().message()), HasSubstr("no distances"));
}

TEST(BitsFigureTest, BitsOverTheLibraryAndPerParameter) {
  std::vector<ResultRow> rows;
  for (const int64_t items : {10, 20, 40}) {
    for (const double off : {-5.0, 5.0}) {
      ResultRow row = RowOf("layers 1", 1000, items);
      row.bits_mem = std::min(32.0 * static_cast<double>(items), 700.0) + off;
      row.stop_reason = "plateau";
      rows.push_back(row);
      row.architecture = "layers 2";
      row.stop_reason = "budget";
      rows.push_back(row);
    }
  }
  FigureData data{.sweep = "bits"};
  data.bits = cli::AnalyzeBits(rows);
  const auto chart = BitsFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 2U);
  const Series& line = Named(chart->panels[0], "layers 1 (P = 1000)");
  EXPECT_EQ(line.points[2].x, 1280);
  EXPECT_EQ(line.points[2].y, 700);
  EXPECT_NEAR(line.points[2].high, 700 + std::sqrt(50), 1e-9);
  EXPECT_NEAR(Named(chart->panels[1], "layers 1 (P = 1000)").points[0].y, 0.7, 1e-9);
  EXPECT_TRUE(Named(chart->panels[1], "layers 1 (P = 1000)").open);  // bits still rose from 640 to 700
  EXPECT_FALSE(HasSeries(chart->panels[1], "α = 3.6 (Morris)"));     // theirs is for GPT-2
  EXPECT_THAT(chart->notes, Contains(HasSubstr("Budget-limited lower bound: for 1 of 2 architectures")));
  rows.resize(2);
  data.bits = cli::AnalyzeBits(rows);
  EXPECT_THAT(std::string(BitsFigure(data).status().message()), HasSubstr("one library size"));
}

TEST(BitsFigureTest, SettledIsFilledAndThePrintedValueStandsBesideItsOwnSize) {
  std::vector<ResultRow> rows;
  for (const int64_t items : {1000, 2000}) {
    ResultRow row = RowOf("gpt2", 80'352, items);
    row.family = "gpt2";
    row.layers = 1;
    row.width = 32;
    row.vocab = 2048;
    row.seq_len = row.targets = 64;
    row.bits_mem = 300'000;
    row.stop_reason = "plateau";
    rows.push_back(row);
  }
  FigureData data{.sweep = "bits"};
  data.bits = cli::AnalyzeBits(rows);
  const auto chart = BitsFigure(data);
  ASSERT_TRUE(chart.ok());
  EXPECT_FALSE(Named(chart->panels[1], "gpt2 (P = 80352)").open);
  EXPECT_EQ(Named(chart->panels[1], "printed by Morris (2025), fp32").points[0].y, 4.23);
  EXPECT_TRUE(HasSeries(chart->panels[1], "α = 3.6 (Morris)"));
  EXPECT_THAT(chart->notes, Not(Contains(HasSubstr("Budget-limited"))));
}

TEST(FamiliesFigureTest, BothFamiliesInEveryPanelAndWhetherTheyAreEqual) {
  std::vector<ResultRow> rows;
  for (const int64_t length : {4, 8}) {
    for (const std::string family : {"xt", "mlp"}) {
      ResultRow row = RowOf("", family == "xt" ? 1000 : 1020, 500);
      row.family = family;
      row.seq_len = length;
      row.items_mem = 400;
      row.items_corr = 390;
      rows.push_back(row);
    }
  }
  rows[3].items_mem = rows[3].dataset_size;  // mlp, 8
  FigureData data{.sweep = "both"};
  data.families = cli::AnalyzeFamilies(rows);
  const auto chart = FamiliesFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 2U);
  EXPECT_EQ(Named(chart->panels[0], "xt").points[1].y, 390);
  EXPECT_NEAR(Named(chart->panels[1], "xt").points[1].y, 20, 1e-9);
  EXPECT_EQ(Named(chart->panels[0], "mlp").points.size(), 1U);  // the other is a lower bound, and open
  EXPECT_THAT(chart->notes, Contains(HasSubstr("agree within 2.0 %")));
  EXPECT_THAT(chart->notes, Contains(HasSubstr("lower bounds")));
  rows.resize(1);
  data.families = cli::AnalyzeFamilies(rows);
  EXPECT_THAT(std::string(FamiliesFigure(data).status().message()), HasSubstr("one family"));
}

TEST(AdaptiveFiguresTest, RoundsWithTheirIntervalsAndTheCellsByWhatBecameOfThem) {
  cli::AdaptiveAnalysis analysis{.target = "heads 4, width 24, seq_len 8", .budget = 20, .stop_at = 0.05};
  analysis.heads = 4;
  analysis.width = 24;
  analysis.seq_len = 8;
  analysis.rounds = {{.spent = 6, .points = 6, .cells = 5, .unfitted = "too few"},
                     {.spent = 10, .points = 9, .cells = 6, .predicted = 1000, .low = 800, .high = 1200},
                     {.spent = 20, .points = 19, .cells = 8, .predicted = 1100, .low = 1045, .high = 1155}};
  analysis.cells = {{1, 8, 8, 2, 0}, {2, 8, 8, 1, 1}, {3, 8, 8, 0, 2}, {1, 16, 8, 0, 0}, {1, 8, 16, 1, 0}};
  FigureData data{.sweep = "s", .measure = "adaptive"};
  data.adaptive = analysis;
  const auto chart = PredictionFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status();
  ASSERT_EQ(chart->panels.size(), 2U);
  ASSERT_EQ(Named(chart->panels[0], "95 % interval").points.size(), 2U);
  EXPECT_EQ(Named(chart->panels[0], "95 % interval").points[1].high, 1155);
  EXPECT_NEAR(Named(chart->panels[1], "half of the interval").points[0].y, 20, 1e-9);
  EXPECT_NEAR(Named(chart->panels[1], "stop_at 5 %").points[1].y, 5, 1e-9);
  EXPECT_THAT(chart->notes, Contains(HasSubstr("After 1 round nothing could be fitted")));
  const auto chosen = ChosenFigure(data);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  ASSERT_EQ(chosen->panels.size(), 2U);  // lengths 8 and 16
  const Panel& panel = chosen->panels[0];
  EXPECT_EQ(Named(panel, "first round only").points.size(), 1U);
  EXPECT_EQ(Named(panel, "later, 1 run").points[0].y, 2);
  EXPECT_EQ(Named(panel, "later, 2 or more").points[0].y, 3);
  EXPECT_EQ(Named(panel, "not trained").points[0].x, 16);
  EXPECT_EQ(Named(panel, "what is predicted").points[0].y, 4);  // outside the grid
  EXPECT_FALSE(HasSeries(chosen->panels[1], "what is predicted"));
  EXPECT_FALSE(PredictionFigure({.sweep = "s", .measure = "grid"}).ok());
}

}  // namespace
}  // namespace capsweep::figures
