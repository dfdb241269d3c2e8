// How well the model predicts: rows it has not seen, and residuals of those it has.
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "common/text.h"
#include "ecm/statistics.h"

namespace capsweep::figures {
namespace {

bool Usable(const ecm::Row& row) {
  return !row.censored && !row.at_chance && row.capacity > 0;
}

// Measured over predicted, minus 1, of the fitted rows, widened by what the fit itself took away.
std::vector<double> RelativeResiduals(const ecm::GroupFit& fit) {
  std::vector<double> residuals;
  const double n = fit.rows_used, k = fit.forms.at(fit.best).parameters_used;
  const double widened = std::sqrt(n / std::max(1.0, n - k));
  for (const ecm::PredictedRow& point : fit.points) {
    if (point.used && point.predicted > 0) residuals.push_back(widened * (point.row.capacity / point.predicted - 1));
  }
  return residuals;
}

HeldOut::Row PredictRow(const ecm::GroupFit& fit, const std::vector<double>& residuals, const ecm::Row& row) {
  HeldOut::Row out{.row = row};
  out.predicted = ecm::Predict(fit.best, fit.forms.at(fit.best).parameters, row.heads, row.width, row.seq_len);
  std::vector<double> sample;
  for (const auto& draw : fit.draws) {
    const double predicted = ecm::Predict(fit.best, draw, row.heads, row.width, row.seq_len);
    for (double residual : residuals) sample.push_back(predicted * (1 + residual));
  }
  if (!sample.empty()) {
    out.low = ecm::Quantile(sample, 0.025);
    out.high = ecm::Quantile(std::move(sample), 0.975);
  }
  return out;
}

HeldOut HoldOutOf(const ecm::Group& group, ecm::FitSettings settings) {
  HeldOut out;
  for (const ecm::Row& row : group.rows) {
    if (Usable(row)) out.heads = std::max(out.heads, row.heads);
  }
  ecm::Group rest{group.key, {}};
  std::vector<ecm::Row> kept_out;
  for (const ecm::Row& row : BaseRows(group)) (row.heads < out.heads ? rest.rows : kept_out).push_back(row);
  settings.holdout_field.clear();
  const int bootstrap = settings.bootstrap;
  settings.bootstrap = 0;
  out.fit = ecm::FitGroups({rest}, settings).groups[0];
  if (!out.fit.error.empty()) return out;
  if (bootstrap > 0) {  // of the chosen form alone
    settings.bootstrap = bootstrap;
    settings.forms = {out.fit.best};
    out.fit = ecm::FitGroups({rest}, settings).groups[0];
  }
  const std::vector<double> residuals = RelativeResiduals(out.fit);
  for (const ecm::Row& row : kept_out) {
    if (row.heads == out.heads) out.rows.push_back(PredictRow(out.fit, residuals, row));
  }
  return out;
}

// "trained MLP: …" for the notes.
std::string HeldOutWords(const HeldOut& held_out, const std::string& name) {
  double relative = 0;
  size_t rows = 0, inside = 0, intervals = 0;
  for (const HeldOut::Row& row : held_out.rows) {
    if (!Usable(row.row)) continue;
    ++rows;
    relative += std::abs(row.predicted / row.row.capacity - 1);
    if (std::isnan(row.low)) continue;
    ++intervals;
    inside += row.row.capacity >= row.low && row.row.capacity <= row.high ? 1 : 0;
  }
  if (rows == 0) return "";
  std::string text =
      absl::StrFormat("%sfitted to fewer heads, form %s predicts the %d rows with %s with a mean error of %.1f %%",
                      name.empty() ? "" : name + ": ", held_out.fit.best, rows, HeadsWord(held_out.heads),
                      100 * relative / static_cast<double>(rows));
  if (intervals > 0) absl::StrAppendFormat(&text, "; %d of %d lie in the 95 %% prediction interval", inside, intervals);
  return text + ".";
}

Panel HeldOutPanel(const FigureData& data, const HeldOut& held_out, const std::vector<HeldOut::Row>& rows,
                   const std::string& title, bool& bounds) {
  std::vector<ecm::Row> measured;
  Series band{.title = "95 % prediction interval", .style = 1, .mark = Mark::kBand};
  for (const HeldOut::Row& row : rows) {
    measured.push_back(row.row);
    if (!std::isnan(row.low)) band.points.push_back({row.row.width, row.predicted, row.low, row.high});
  }
  Panel panel{.title = title, .x = WidthAxis(measured), .y = CapacityAxis(data)};
  if (band.points.size() > 1) panel.series.push_back(std::move(band));
  panel.series.push_back({.title = "predicted",
                          .style = 1,
                          .mark = Mark::kLine,
                          .points = ModelOverWidth(&held_out.fit, held_out.heads, rows[0].row.seq_len, measured)});
  bounds = AddMeasured(panel, measured, "measured", 0, Field::kWidth) || bounds;
  return panel;
}

}  // namespace

std::vector<HeldOut> HoldOutHeads(const std::vector<ecm::Group>& groups, const ecm::FitSettings& settings) {
  std::vector<HeldOut> all;
  for (const ecm::Group& group : groups) all.push_back(HoldOutOf(group, settings));
  return all;
}

absl::StatusOr<Chart> HeldOutFigure(const FigureData& data) {
  Chart chart{.title = StrCat("Prediction of the largest number of heads, sweep ", data.sweep),
              .subtitle = "points: measured, mean ± SD over seeds; lines: a fit that has not seen them"};
  bool bounds = false;
  std::string why = "there is no capacity yet";
  for (const HeldOut& held_out : data.held_out) {
    if (!held_out.fit.error.empty()) {
      why = StrCat("without ", HeadsWord(held_out.heads), " ", held_out.fit.error);
      continue;
    }
    if (held_out.rows.empty()) continue;
    const std::string name = cli::ShortGroupTitle(held_out.fit.group, data.groups);
    std::map<double, std::vector<HeldOut::Row>> by_length;
    for (const HeldOut::Row& row : held_out.rows) by_length[row.row.seq_len].push_back(row);
    bool first = true;
    for (const auto& [seq_len, rows] : by_length) {
      const std::string title = JoinTitle(StrCat("H = ", held_out.heads, ", N = ", seq_len), name);
      chart.panels.push_back(HeldOutPanel(data, held_out, rows, title, bounds));
      chart.panels.back().new_row = first;
      first = false;
    }
    if (const std::string words = HeldOutWords(held_out, name); !words.empty()) chart.notes.push_back(words);
  }
  if (chart.panels.empty()) return CannotDraw(data, StrCat("the largest number of heads cannot be held out: ", why));
  if (bounds) chart.notes.emplace_back(kOpenPoints);
  LimitPanels(chart);
  return chart;
}

absl::StatusOr<Chart> ResidualsFigure(const FigureData& data) {
  Chart chart{.title = StrCat("Measured over predicted capacity, sweep ", data.sweep)};
  const Levels styles = LevelsOf(data.groups, Field::kHeads);
  std::string why = "nothing was fitted";
  for (const ecm::GroupFit& fit : data.fit.groups) {
    if (!fit.error.empty()) why = fit.error;
    if (FitOf(data.fit, fit.group) != &fit) continue;
    Panel panel{.title = JoinTitle(StrCat("form ", fit.best), cli::ShortGroupTitle(fit.group, data.groups)),
                .x = {.label = "predicted capacity (items)", .scale = Axis::Scale::kLog10},
                .y = {.label = "measured / predicted"}};
    std::map<double, Series> by_heads;
    double least = INFINITY, most = -INFINITY;
    for (const ecm::PredictedRow& point : fit.points) {
      if (!point.used || !(point.predicted > 0)) continue;
      Series& series = by_heads[point.row.heads];
      series.points.push_back(MeanPoint(point.predicted, point.row, 1 / point.predicted));
      least = std::min(least, point.predicted);
      most = std::max(most, point.predicted);
    }
    panel.series.push_back({.style = kReference, .mark = Mark::kLine, .points = {{least, 1}, {most, 1}}});
    for (auto& [heads, series] : by_heads) {
      series.title = HeadsWord(heads);
      series.style = styles.Index(heads);
      panel.series.push_back(std::move(series));
    }
    const ecm::FormFit& best = fit.forms.at(fit.best);
    chart.notes.push_back(
        absl::StrFormat("%s: root mean square error %.1f items, mean relative error %.1f %%, %d rows.", panel.title,
                        best.rmse, best.mape, fit.rows_used));
    chart.panels.push_back(std::move(panel));
  }
  if (chart.panels.empty()) return CannotDraw(data, why);
  chart.subtitle = "rows of the fit, mean ± SD over seeds; 1: as predicted";
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
