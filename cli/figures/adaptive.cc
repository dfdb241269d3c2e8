// Adaptive sweeps: how sure the prediction is after each round, and where in the grid the training went.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

absl::Status NoRounds(const FigureData& data) {
  return CannotDraw(data, data.measure == "adaptive" ? "its first round is not measured yet"
                                                     : "it has no rounds (measure: adaptive)");
}

std::string SpentLabel(const cli::AdaptiveAnalysis& analysis) {
  return analysis.by_seconds ? "training so far (s)" : "runs so far";
}

Panel PredictionPanel(const cli::AdaptiveAnalysis& analysis) {
  Panel panel{.title = "prediction",
              .x = {.label = SpentLabel(analysis), .from = 0},
              .y = {.label = "predicted capacity (items)", .from = 0}};
  Series band{.title = "95 % interval", .style = 0, .mark = Mark::kBand};
  Series line{.title = "prediction", .style = 0, .mark = Mark::kLinePoints};
  for (const auto& round : analysis.rounds) {
    if (!round.unfitted.empty()) continue;
    band.points.push_back({round.spent, round.predicted, std::max(round.low, 0.0), round.high});
    line.points.push_back({round.spent, round.predicted});
  }
  panel.series = {std::move(band), std::move(line)};
  return panel;
}

Panel WidthPanel(const cli::AdaptiveAnalysis& analysis) {
  Panel panel{.title = "half of the interval",
              .x = {.label = SpentLabel(analysis), .from = 0},
              .y = {.label = "share of the prediction (%)", .scale = Axis::Scale::kLog10}};
  Series line{.title = "half of the interval", .style = 1, .mark = Mark::kLinePoints};
  for (const auto& round : analysis.rounds) {
    if (round.unfitted.empty()) line.points.push_back({round.spent, 100 * round.Width()});
  }
  if (analysis.stop_at > 0) {
    panel.series.push_back(
        {.title = absl::StrFormat("stop_at %.3g %%", 100 * analysis.stop_at),
         .style = kReference,
         .mark = Mark::kLine,
         .points = {{0, 100 * analysis.stop_at}, {analysis.rounds.back().spent, 100 * analysis.stop_at}}});
  }
  panel.series.push_back(std::move(line));
  return panel;
}

// The cells of one sequence length, by what became of them.
Panel CellsPanel(const cli::AdaptiveAnalysis& analysis, int64_t seq_len) {
  Panel panel{.title = StrCat("seq_len ", seq_len),
              .x = {.label = "width B", .scale = Axis::Scale::kLog2},
              .y = {.label = "heads H", .from = 0}};
  Series none{.title = "not trained", .style = 6, .open = true};
  Series first{.title = "first round only", .style = 0};
  Series once{.title = "later, 1 run", .style = 1};
  Series more{.title = "later, 2 or more", .style = 2};
  Series target{.title = "what is predicted", .style = 4};
  for (const auto& cell : analysis.cells) {
    if (cell.seq_len != seq_len) continue;
    const ChartPoint at{static_cast<double>(cell.width), static_cast<double>(cell.heads)};
    Series& series = cell.target       ? target
                     : cell.later > 1  ? more
                     : cell.later == 1 ? once
                     : cell.first > 0  ? first
                                       : none;
    series.points.push_back(at);
    panel.x.ticks.push_back(at.x);
    panel.y.ticks.push_back(at.y);
  }
  if (target.points.empty() && analysis.seq_len == seq_len) {
    target.points.push_back({static_cast<double>(analysis.width), static_cast<double>(analysis.heads)});
  }
  for (Series* series : {&none, &first, &once, &more, &target}) {
    if (!series->points.empty()) panel.series.push_back(std::move(*series));
  }
  return panel;
}

}  // namespace

absl::StatusOr<Chart> PredictionFigure(const FigureData& data) {
  if (!data.adaptive || data.adaptive->rounds.empty()) return NoRounds(data);
  const cli::AdaptiveAnalysis& analysis = *data.adaptive;
  if (std::none_of(analysis.rounds.begin(), analysis.rounds.end(),
                   [](const auto& round) { return round.unfitted.empty(); })) {
    return CannotDraw(data, StrCat("nothing could be fitted yet: ", analysis.rounds.back().unfitted));
  }
  Chart chart{.title = StrCat("Prediction by rounds, sweep ", data.sweep),
              .subtitle = StrCat("capacity predicted for ", analysis.target)};
  chart.panels = {PredictionPanel(analysis), WidthPanel(analysis)};
  if (const auto unfitted = std::count_if(analysis.rounds.begin(), analysis.rounds.end(),
                                          [](const auto& round) { return !round.unfitted.empty(); });
      unfitted > 0) {
    chart.notes.push_back(
        StrCat("After ", Plural(static_cast<size_t>(unfitted), "round"), " nothing could be fitted."));
  }
  chart.notes.emplace_back(
      "The interval says how sure the form is of itself; whether the form holds at the target, it does not say.");
  return chart;
}

absl::StatusOr<Chart> ChosenFigure(const FigureData& data) {
  if (!data.adaptive || data.adaptive->rounds.empty()) return NoRounds(data);
  const cli::AdaptiveAnalysis& analysis = *data.adaptive;
  Chart chart{.title = StrCat("Cells that were chosen, sweep ", data.sweep),
              .subtitle = StrCat("to predict the capacity for ", analysis.target)};
  Levels lengths;
  for (const auto& cell : analysis.cells) lengths.Add(static_cast<double>(cell.seq_len));
  for (const double length : lengths.values()) {
    chart.panels.push_back(CellsPanel(analysis, static_cast<int64_t>(length)));
  }
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
