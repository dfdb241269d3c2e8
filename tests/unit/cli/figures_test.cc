// The makers of figures: what each shows of a sweep of known capacities, and why it shows nothing of others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"
#include "tests/unit/cli/synthetic_sweep.h"

namespace capsweep::figures {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> Titles(const Chart& chart) {
  std::vector<std::string> titles;
  for (const Panel& panel : chart.panels) titles.push_back(panel.title);
  return titles;
}

std::vector<std::string> Legend(const Panel& panel) {
  std::vector<std::string> titles;
  for (const Series& series : panel.series) {
    if (!series.title.empty()) titles.push_back(series.title);
  }
  return titles;
}

const Series& Find(const Panel& panel, const std::string& title) {
  for (const Series& series : panel.series) {
    if (series.title == title) return series;
  }
  ADD_FAILURE() << "no series " << title << " in " << panel.title;
  static const auto* const kNone = new Series;
  return *kNone;
}

FigureData Fitted(const SyntheticGrid& grid = {}) {
  FigureData data = SyntheticData(grid);
  data.fit = SyntheticFit(data.groups);
  return data;
}

TEST(FigureKindsTest, NamesAreUniqueAndFound) {
  std::set<std::string> names;
  for (const FigureKind& kind : FigureKinds()) {
    EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
    EXPECT_EQ(FindFigure(kind.name), &kind);
  }
  EXPECT_EQ(names.size(), 21U);
  EXPECT_EQ(FindFigure("pie"), nullptr);
}

TEST(FigureKindsTest, NothingOfAnEmptySweepAndEachSaysWhy) {
  const FigureData empty{.sweep = "void"};
  for (const FigureKind& kind : FigureKinds()) {
    const auto chart = kind.make(empty);
    EXPECT_EQ(chart.status().code(), absl::StatusCode::kFailedPrecondition) << kind.name;
    EXPECT_THAT(std::string(chart.status().message()), HasSubstr("sweep void: ")) << kind.name;
  }
}

TEST(CapacityFigureTest, APanelForEachGroupAndLengthASeriesForEachNumberOfHeads) {
  const auto chart = CapacityFigure(Fitted());
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_THAT(Titles(*chart), ElementsAre("sequence length 4, trained MLP", "sequence length 8, trained MLP",
                                          "sequence length 4, frozen MLP", "sequence length 8, frozen MLP"));
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("1 head", "2 heads", "3 heads", "4 heads"));
  EXPECT_TRUE(chart->panels[2].new_row);
  EXPECT_FALSE(chart->panels[3].new_row);
  const ChartPoint point = Find(chart->panels[0], "2 heads").points[1];  // width 12
  const double known = SyntheticCapacity(2, 12, 4, false);
  EXPECT_THAT(point.y, DoubleNear(known, 1e-9));
  EXPECT_THAT(point.high, DoubleNear(known * 1.04, 1e-9));  // the SD of -4, 0 and 4 %
  EXPECT_THAT(point.low, DoubleNear(known * 0.96, 1e-9));
}

TEST(CapacityFigureTest, TheModelRunsThroughTheKnownCapacities) {
  const FigureData data = Fitted();
  const auto chart = PanelsFigure(data);
  ASSERT_TRUE(chart.ok());
  const Series& line = chart->panels[0].series[0];
  ASSERT_EQ(line.mark, Mark::kLine);
  EXPECT_THAT(line.points.back().y, DoubleNear(SyntheticCapacity(1, 48, 4, false), 1e-6));
  EXPECT_THAT(chart->subtitle, HasSubstr("best form, minlin"));
  FigureData bare = SyntheticData();
  const auto without = PanelsFigure(bare);
  ASSERT_TRUE(without.ok());
  EXPECT_THAT(without->subtitle, Not(HasSubstr("form")));
  for (const Series& series : without->panels[0].series) EXPECT_TRUE(series.points.empty() || !series.title.empty());
}

TEST(PanelsFigureTest, APanelForEachNumberOfHeads) {
  const auto chart = PanelsFigure(Fitted());
  ASSERT_TRUE(chart.ok());
  EXPECT_THAT(Titles(*chart),
              ElementsAre("1 head, trained MLP", "2 heads, trained MLP", "3 heads, trained MLP", "4 heads, trained MLP",
                          "1 head, frozen MLP", "2 heads, frozen MLP", "3 heads, frozen MLP", "4 heads, frozen MLP"));
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("N = 4", "N = 8"));
}

TEST(CapacityFigureTest, LowerBoundsAreOpenAndLongerBudgetsAreElsewhere) {
  FigureData data = SyntheticData({.frozen = {"true"}, .budgets = {1000, 3000}}, 1.0);
  data.groups[0].rows[0].censored = true;
  const auto chart = CapacityFigure(data);
  ASSERT_TRUE(chart.ok());
  size_t open = 0, points = 0;
  for (const Panel& panel : chart->panels) {
    for (const Series& series : panel.series) {
      points += series.points.size();
      open += series.open ? series.points.size() : 0;
    }
  }
  EXPECT_EQ(open, 1U);
  EXPECT_EQ(points, 4U * 6 * 2);  // not doubled by the second budget
  EXPECT_THAT(chart->notes, ElementsAre(kOpenPoints));
  for (ecm::Row& row : data.groups[0].rows) row.censored = row.heads == 4;
  EXPECT_THAT(Legend(CapacityFigure(data)->panels[0]), Contains("4 heads"));  // also where all its points are open
}

TEST(HeadsFigureTest, OneSequenceLengthALineForEachWidth) {
  FigureData data = SyntheticData();
  const auto largest = HeadsFigure(data);
  ASSERT_TRUE(largest.ok());
  EXPECT_THAT(largest->title, HasSubstr("sequence length 8"));
  EXPECT_THAT(Legend(largest->panels[0]), ElementsAre("B = 8", "B = 12", "B = 16", "B = 24", "B = 32", "B = 48"));
  EXPECT_EQ(Find(largest->panels[0], "B = 8").points.size(), 4U);
  data.seq_len = 4;
  EXPECT_THAT(HeadsFigure(data)->title, HasSubstr("sequence length 4"));
  data.seq_len = 5;
  EXPECT_EQ(HeadsFigure(data).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(HeadsFigure(data).status().message()), HasSubstr("sequence length 4, 8"));
}

TEST(HeadsFigureTest, OneNumberOfHeadsIsNoFigure) {
  EXPECT_THAT(std::string(HeadsFigure(SyntheticData({.heads = {2}})).status().message()),
              HasSubstr("one number of heads"));
}

TEST(FreezeFigureTest, BothKindsOfMlpInEveryPanel) {
  const auto chart = FreezeFigure(SyntheticData());
  ASSERT_TRUE(chart.ok());
  EXPECT_THAT(Titles(*chart), ElementsAre("1 head", "2 heads", "3 heads", "4 heads"));
  EXPECT_THAT(Legend(chart->panels[1]), ElementsAre("trained MLP", "frozen MLP"));
  EXPECT_THAT(Find(chart->panels[1], "frozen MLP").points[0].y * 2,
              DoubleNear(Find(chart->panels[1], "trained MLP").points[0].y, 1e-9));
  EXPECT_THAT(std::string(FreezeFigure(SyntheticData({.frozen = {"true"}})).status().message()),
              HasSubstr("freeze_mlp"));
}

TEST(SlopesFigureTest, FindsTheKnownSlopesOfTheLinearRegion) {
  const auto chart = SlopesFigure(Fitted({.frozen = {"false"}}));
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  ASSERT_EQ(chart->panels.size(), 1U);
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("1 head", "2 heads", "3 heads", "4 heads"));
  const Series& measured = Find(chart->panels[0], "3 heads");
  ASSERT_EQ(measured.points.size(), 2U);
  const double known = 24 * std::pow(4, 0.1);
  EXPECT_THAT(measured.points[0].y, DoubleNear(known, 1e-6));
  // Seeds 4 % apart: 95 % of the mean of three, the spread pooled over 8 slopes, 16 degrees of freedom: t = 2.12.
  EXPECT_THAT(measured.points[0].high / known - 1, DoubleNear(2.12 * 0.04 / std::sqrt(3), 1e-4));
  EXPECT_THAT(chart->notes, Contains(HasSubstr("16 degrees of freedom")));
  EXPECT_THAT(chart->notes, Contains(HasSubstr("width^1.00")));
}

TEST(SlopesFigureTest, OneSeedHasNoIntervalsAndOneLengthGoesOverHeads) {
  const auto chart = SlopesFigure(Fitted({.lengths = {8}, .frozen = {"false"}, .seeds = 1}));
  ASSERT_TRUE(chart.ok());
  EXPECT_EQ(chart->panels[0].x.label, "heads H");
  EXPECT_EQ(chart->panels[0].series[0].points.size(), 4U);
  EXPECT_TRUE(std::isnan(chart->panels[0].series[0].points[0].low));
  EXPECT_THAT(chart->subtitle, HasSubstr("one seed"));
}

TEST(HeldOutFigureTest, PredictsTheHeadsItHasNotSeen) {
  FigureData data = SyntheticData({.lengths = {4, 8, 16, 32}, .frozen = {"false"}});
  data.held_out = HoldOutHeads(data.groups, {.starts = 64, .bootstrap = 20});
  ASSERT_EQ(data.held_out.size(), 1U);
  const HeldOut& held_out = data.held_out[0];
  ASSERT_TRUE(held_out.fit.error.empty()) << held_out.fit.error;
  EXPECT_EQ(held_out.heads, 4);
  EXPECT_EQ(held_out.rows.size(), 4U * 6);
  for (const ecm::PredictedRow& point : held_out.fit.points) EXPECT_LT(point.row.heads, 4);
  for (const HeldOut::Row& row : held_out.rows) {
    EXPECT_LE(row.low, row.predicted);
    EXPECT_GE(row.high, row.predicted);
  }
  const auto chart = HeldOutFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_THAT(Titles(*chart), ElementsAre("H = 4, N = 4", "H = 4, N = 8", "H = 4, N = 16", "H = 4, N = 32"));
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("95 % prediction interval", "predicted", "measured"));
  EXPECT_THAT(chart->notes, Contains(AllOf(HasSubstr("24 rows with 4 heads"), HasSubstr("of 24 lie in"))));
}

TEST(HeldOutFigureTest, WithoutBootstrapThereIsNoBandAndWithTwoNumbersOfHeadsNoFigure) {
  FigureData data = SyntheticData({.frozen = {"false"}});
  data.held_out = HoldOutHeads(data.groups, {.starts = 64, .bootstrap = 0});
  const auto chart = HeldOutFigure(data);
  ASSERT_TRUE(chart.ok());
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("predicted", "measured"));
  FigureData one = SyntheticData({.heads = {2, 3}, .frozen = {"false"}});
  one.held_out = HoldOutHeads(one.groups, {.starts = 64, .bootstrap = 0});
  EXPECT_THAT(std::string(HeldOutFigure(one).status().message()), HasSubstr("cannot be held out"));
}

TEST(ResidualsFigureTest, ARightModelLeavesOne) {
  const auto chart = ResidualsFigure(Fitted({.frozen = {"false"}}));
  ASSERT_TRUE(chart.ok());
  EXPECT_EQ(chart->panels[0].title, "form minlin");
  for (const ChartPoint& point : Find(chart->panels[0], "4 heads").points) EXPECT_THAT(point.y, DoubleNear(1, 1e-9));
  FigureData off = Fitted({.frozen = {"false"}});
  for (ecm::PredictedRow& point : off.fit.groups[0].points) point.predicted /= 2;
  const auto doubled = ResidualsFigure(off);
  ASSERT_TRUE(doubled.ok());
  for (const ChartPoint& point : Find(doubled->panels[0], "4 heads").points) {
    EXPECT_THAT(point.y, DoubleNear(2, 1e-9));
  }
}

TEST(BatchFigureTest, SaysWhatWasEqual) {
  const auto steps =
      BatchFigure(SyntheticData({.heads = {1}, .lengths = {8}, .frozen = {"true"}, .batches = {"50", "100"}}));
  ASSERT_TRUE(steps.ok()) << steps.status().message();
  EXPECT_THAT(Titles(*steps), ElementsAre("at equal steps (3000)"));
  EXPECT_THAT(Legend(steps->panels[0]), Contains("H = 1, B = 12"));
  const auto epochs = BatchFigure(SyntheticData(
      {.heads = {1}, .frozen = {"true"}, .batches = {"50", "100"}, .budgets = {60, 120}, .epochs = true}));
  ASSERT_TRUE(epochs.ok());
  EXPECT_THAT(Titles(*epochs), ElementsAre("at equal epochs"));
  EXPECT_THAT(Legend(epochs->panels[0]), Contains("H = 1, B = 8, N = 4, 120 epochs"));
  EXPECT_THAT(std::string(BatchFigure(SyntheticData()).status().message()), HasSubstr("several batch sizes"));
}

TEST(BatchFigureTest, UnequalBudgetsAreNamed) {
  FigureData data = SyntheticData({.heads = {1}, .lengths = {8}, .frozen = {"true"}, .batches = {"50", "100"}});
  for (ecm::Measurement& m : data.measurements) {
    if (m.group["batch_size"] == "50") m.budget_steps = 5000;
  }
  data.groups = ecm::BuildGroups(data.measurements);
  const auto chart = BatchFigure(data);
  ASSERT_TRUE(chart.ok());
  EXPECT_THAT(Titles(*chart), ElementsAre("at budgets in steps that differ between batch sizes"));
  EXPECT_EQ(chart->panels[0].series[0].points.size(), 2U);
}

// Batch 50 with the steps of batch 100 and with twice as many: one panel for either way to be equal.
TEST(BatchFigureTest, EqualStepsAndEqualItemsSeenAreTwoPanels) {
  SyntheticGrid grid{.heads = {2}, .widths = {16}, .lengths = {8}, .frozen = {"true"}, .batches = {"50", "100"}};
  grid.budgets = {3000, 6000};
  FigureData data = SyntheticData(grid, 0.5);
  std::erase_if(data.measurements,
                [](const ecm::Measurement& m) { return m.group.at("batch_size") == "100" && m.budget_steps == 6000; });
  const auto chart = BatchFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_THAT(Titles(*chart), ElementsAre("at equal steps (3000)", "at equal items seen (steps times batch)"));
  const double known = SyntheticCapacity(2, 16, 8, true);
  EXPECT_THAT(Find(chart->panels[0], "H = 2, B = 16").points[0].y, DoubleNear(known, 1e-9));
  EXPECT_THAT(Find(chart->panels[1], "H = 2, B = 16").points[0].y, DoubleNear(1.5 * known, 1e-9));
  EXPECT_THAT(Find(chart->panels[1], "H = 2, B = 16").points[1].y, DoubleNear(known, 1e-9));
}

TEST(MainGroupsTest, RecipesThatRepeatApartWithAnotherBatchSizeAreAStudy) {
  FigureData data = SyntheticData({.frozen = {"true"}});
  const std::vector<ecm::Group> study =
      SyntheticData({.heads = {2}, .widths = {16}, .frozen = {"true"}, .batches = {"400"}}).groups;
  std::vector<ecm::Group> all = data.groups;
  all.push_back(study[0]);
  const std::vector<ecm::Group> main = MainGroups(all);
  ASSERT_EQ(main.size(), 1U);
  EXPECT_EQ(main[0].key.at("batch_size"), "100");
  all.back().rows[0].width = 999;  // an architecture of its own
  EXPECT_EQ(MainGroups(all).size(), 2U);
  EXPECT_EQ(MainGroups(SyntheticData({.batches = {"50", "100"}}).groups).size(), 4U);  // as many cells: none is a study
}

TEST(BudgetFigureTest, SaysWhetherTheLargestWidthsStillGain) {
  const SyntheticGrid grid{.heads = {1, 2}, .frozen = {"true"}, .budgets = {1000, 2000, 4000}};
  const auto flat = BudgetFigure(SyntheticData(grid, 0.02));
  ASSERT_TRUE(flat.ok()) << flat.status().message();
  EXPECT_THAT(Titles(*flat), ElementsAre("H = 1, N = 4", "H = 2, N = 4", "H = 1, N = 8", "H = 2, N = 8"));
  EXPECT_THAT(flat->notes, ElementsAre(AllOf(HasSubstr("8 architectures"), HasSubstr("+4.0 %"),
                                             HasSubstr("less than 10 %"), HasSubstr("24 of 24"))));
  const auto rising = BudgetFigure(SyntheticData(grid, 0.3));
  EXPECT_THAT(rising->notes, ElementsAre(AllOf(HasSubstr("+60.0 %"), HasSubstr("10 % or more"))));
  const auto close = BudgetFigure(SyntheticData({.heads = {1}, .frozen = {"true"}, .budgets = {1000, 2000}}));
  EXPECT_THAT(close->notes, ElementsAre(HasSubstr("is not known")));
  EXPECT_THAT(std::string(BudgetFigure(SyntheticData()).status().message()), HasSubstr("several budgets"));
}

TEST(ParametersFigureTest, ParametersOverWidthAndCapacityOverParameters) {
  const auto chart = ParametersFigure(SyntheticData({.frozen = {"true"}}));
  ASSERT_TRUE(chart.ok());
  ASSERT_EQ(chart->panels.size(), 2U);
  EXPECT_EQ(Find(chart->panels[0], "2 heads").points[0].y, 50 * 8 * 2);
  EXPECT_EQ(Find(chart->panels[1], "2 heads").points[0].x, 50 * 8 * 2);
  FigureData unknown = SyntheticData();
  for (ecm::Group& group : unknown.groups) {
    for (ecm::Row& row : group.rows) row.params_train = 0;
  }
  EXPECT_THAT(std::string(ParametersFigure(unknown).status().message()), HasSubstr("trainable parameters"));
}

TEST(MemoryFigureTest, ItemsAndBitsForEachParameter) {
  const auto chart = MemoryFigure(SyntheticData({.lengths = {8}, .frozen = {"false"}}));
  ASSERT_TRUE(chart.ok());
  ASSERT_EQ(chart->panels.size(), 2U);
  const double items = SyntheticCapacity(2, 8, 8, false) / (50 * 8 * 2);
  EXPECT_THAT(Find(chart->panels[0], "2 heads").points[0].y, DoubleNear(items, 1e-9));
  EXPECT_THAT(Find(chart->panels[1], "2 heads").points[0].y, DoubleNear(8 * items, 1e-9));
}

TEST(LibrariesFigureTest, DiagonalAndCorrelation) {
  FigureData data{.sweep = "both"};
  for (double heads : {1, 2, 3, 4}) {
    data.libraries.push_back({.heads = heads, .width = 8, .seq_len = 8, .mac = 100 * heads, .mls = 80 * heads});
  }
  const auto chart = LibrariesFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("1 head", "2 heads", "3 heads", "4 heads"));
  EXPECT_EQ(chart->panels[0].title, "r = 1.000");
  const Series& diagonal = chart->panels[0].series[0];
  EXPECT_EQ(diagonal.style, kReference);
  EXPECT_EQ(diagonal.points[0].x, diagonal.points[0].y);
  EXPECT_EQ(diagonal.points[1].y, 400);
  EXPECT_THAT(chart->notes, ElementsAre(AllOf(HasSubstr("r = 1.000"), HasSubstr("0.80 in the median"))));
  data.libraries[3].mls = 10;
  EXPECT_THAT(LibrariesFigure(data)->notes, ElementsAre(Not(HasSubstr("r = 1.000"))));
  data.libraries[0].freeze_mlp = true;
  EXPECT_THAT(Titles(*LibrariesFigure(data)), ElementsAre(HasSubstr("trained MLP, r = "), "frozen MLP"));
  data.libraries[0].freeze_mlp = false;
  data.libraries.resize(2);
  EXPECT_THAT(LibrariesFigure(data)->notes, ElementsAre(HasSubstr("too few for a correlation")));
  EXPECT_THAT(std::string(LibrariesFigure({.sweep = "none"}).status().message()),
              HasSubstr("this sweep measured no MLS"));
}

TEST(CurvesFigureTest, TheFirstSeedOfEachWidthAtTheLargestHeadsAndLength) {
  FigureData data = SyntheticData({.widths = {8, 16}});
  const std::vector<size_t> chosen = ChooseCurvePoints(data.measurements, 0);
  EXPECT_EQ(chosen.size(), 4U);  // two groups, two widths
  for (const size_t index : chosen) {
    const ecm::Measurement& m = data.measurements[index];
    EXPECT_EQ(m.heads, 4);
    EXPECT_EQ(m.seq_len, 8);
    EXPECT_EQ(m.seed, 1U);
    data.curves.push_back({.point = m, .evaluations = {{10, 40}, {20, 90}, {30, 95}}});
  }
  for (const size_t index : ChooseCurvePoints(data.measurements, 4)) EXPECT_EQ(data.measurements[index].seq_len, 4);
  const auto chart = CurvesFigure(data);
  ASSERT_TRUE(chart.ok()) << chart.status().message();
  EXPECT_THAT(Titles(*chart), ElementsAre("H = 4, N = 8, trained MLP", "H = 4, N = 8, frozen MLP"));
  EXPECT_THAT(Legend(chart->panels[0]), ElementsAre("B = 8", "B = 16"));
  for (LearningCurve& curve : data.curves) curve.evaluations.resize(1);
  EXPECT_THAT(std::string(CurvesFigure(data).status().message()), HasSubstr("eval_every"));
}

TEST(FigureKindsTest, TooManyPanelsAreCutAndThatIsSaid) {
  SyntheticGrid grid{.heads = {1}, .widths = {8, 16}, .lengths = {}, .frozen = {"true"}, .seeds = 1};
  for (int64_t length = 1; length <= 30; ++length) grid.lengths.push_back(length);
  const auto chart = CapacityFigure(SyntheticData(grid));
  ASSERT_TRUE(chart.ok());
  EXPECT_EQ(chart->panels.size(), 24U);
  EXPECT_THAT(chart->notes, Contains(HasSubstr("24 of 30 panels")));
}

}  // namespace
}  // namespace capsweep::figures
