// Transformers as associative memories: losses, the balance of parameters and data, distances between activations.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

using cli::AssocAnalysis;
using cli::AssocSize;

constexpr size_t kMostSizes = 6;         // panels of losses
constexpr size_t kPointsOfACurve = 250;  // drawn
constexpr double kPropositionLoss = 1;   // nats
constexpr int kTheorySamples = 40;
constexpr double kTheoryExponent = 2;

absl::Status CheckAssoc(const FigureData& data) {
  if (data.assoc && !data.assoc->sizes.empty()) return absl::OkStatus();
  return CannotDraw(data, "it evaluated no held-out items during training (data.heldout_size)");
}

// Every so many points that not more than `most` are left, the last one always.
template <typename T>
std::vector<T> Thinned(const std::vector<T>& values, size_t most) {
  const size_t every = (values.size() + most - 1) / most;
  std::vector<T> kept;
  for (size_t i = 0; i < values.size(); ++i) {
    if ((values.size() - 1 - i) % every == 0) kept.push_back(values[i]);
  }
  return kept;
}

Panel LossPanel(const std::string& name, const std::vector<const LossCurve*>& curves, const Levels& sizes) {
  Panel panel{.title = name,
              .x = {.label = "training (steps)", .from = 0},
              .y = {.label = "loss (nats per target)", .scale = Axis::Scale::kLog10}};
  double last = 0;
  for (const LossCurve* curve : curves) {
    const int style = sizes.Index(curve->tokens);
    Series train{.style = style, .mark = Mark::kLine};
    Series heldout{.style = style, .open = true, .mark = Mark::kLine};
    for (const LossCurve::Evaluation& at : Thinned(curve->evaluations, kPointsOfACurve)) {
      train.points.push_back({at.step, at.train});
      heldout.points.push_back({at.step, at.heldout});
      last = std::max(last, at.step);
    }
    panel.series.push_back(std::move(train));
    panel.series.push_back(std::move(heldout));
  }
  panel.series.push_back({.title = "1 nat: Niu Prop 4 (conditions)",
                          .style = kReference,
                          .mark = Mark::kLine,
                          .points = {{0, kPropositionLoss}, {last, kPropositionLoss}}});
  return panel;
}

Panel GapPanel(const AssocAnalysis& analysis) {
  Panel panel{.title = "gap of training to least held-out loss",
              .x = {.label = "data D (tokens)", .scale = Axis::Scale::kLog10},
              .y = {.label = "mean square gap (nats²)", .scale = Axis::Scale::kLog10}};
  double least = INFINITY, most = 0;
  for (size_t i = 0; i < analysis.sizes.size(); ++i) {
    const AssocSize& size = analysis.sizes[i];
    Series series{.title = StrCat(size.row.architecture, " (P = ", size.row.params_total, ")"),
                  .style = static_cast<int>(i),
                  .mark = Mark::kLinePoints};
    for (const auto& [tokens, gap] : size.gap) {
      series.points.push_back({tokens, gap});
      least = std::min(least, tokens);
      most = std::max(most, tokens);
    }
    panel.series.push_back(std::move(series));
  }
  const double limit = analysis.settings.sigma2;
  panel.series.push_back({.title = StrCat("σ² = ", limit),
                          .style = kReference,
                          .mark = Mark::kLine,
                          .points = {{least, limit}, {most, limit}}});
  return panel;
}

// P over D*, with the fitted power law and a line of the theory's exponent through the mean of the points.
Panel CriticalPanel(const AssocAnalysis& analysis) {
  Panel panel{.title = "P over D*",
              .x = {.label = "D* (tokens)", .scale = Axis::Scale::kLog10},
              .y = {.label = "parameters P", .scale = Axis::Scale::kLog10}};
  std::vector<Series> points;
  double least = INFINITY, most = 0, mean_x = 0, mean_y = 0, inside = 0;
  for (size_t i = 0; i < analysis.sizes.size(); ++i) {
    const AssocSize& size = analysis.sizes[i];
    if (size.critical.tokens <= 0) continue;
    const double p = static_cast<double>(size.row.params_total);
    points.push_back({.title = StrCat(size.row.architecture, " (P = ", size.row.params_total, ")"),
                      .style = static_cast<int>(i),
                      .open = size.critical.below_smallest,
                      .points = {{size.critical.tokens, p}}});
    least = std::min(least, size.critical.tokens);
    most = std::max(most, size.critical.tokens);
    if (size.critical.below_smallest) continue;
    mean_x += std::log(size.critical.tokens);
    mean_y += std::log(p);
    ++inside;
  }
  if (analysis.law.ok() && most > least) {
    Series law{.title = "fitted power law", .style = 4, .mark = Mark::kLine};
    Series theory{.title = "slope 2: theory under its conditions", .style = kReference - 1, .mark = Mark::kLine};
    for (int i = 0; i <= kTheorySamples; ++i) {
      const double d = least * std::pow(most / least, static_cast<double>(i) / kTheorySamples);
      law.points.push_back({d, analysis.law->factor * std::pow(d, analysis.law->exponent)});
      theory.points.push_back({d, std::exp(mean_y / inside + kTheoryExponent * (std::log(d) - mean_x / inside))});
    }
    panel.title =
        absl::StrFormat("P ~ D*^%.2f (%.2f to %.2f)", analysis.law->exponent, analysis.law->low, analysis.law->high);
    panel.series.push_back(std::move(theory));
    panel.series.push_back(std::move(law));
  }
  for (Series& series : points) panel.series.push_back(std::move(series));
  return panel;
}

std::vector<std::string> CriticalNotes(const AssocAnalysis& analysis) {
  std::vector<std::string> notes;
  size_t above = 0, below = 0, returns = 0;
  for (const AssocSize& size : analysis.sizes) {
    above += size.critical.tokens == 0 ? 1 : 0;
    below += size.critical.below_smallest ? 1 : 0;
    returns += size.critical.returns ? 1 : 0;
  }
  const std::string all = Plural(analysis.sizes.size(), "architecture");
  if (above > 0) {
    notes.push_back(
        StrCat(above, " of ", all, " stay above the limit at every library: their D* is larger than what was tried."));
  }
  if (below > 0) {
    notes.push_back(StrCat(below, " of ", all,
                           " lie below it at the smallest library already (open points): their D* may be smaller."));
  }
  if (returns > 0) {
    notes.push_back(StrCat(returns, " of ", all, " lie above it again at a larger library: their D* is uncertain."));
  }
  if (!analysis.law.ok()) {
    notes.push_back(StrCat("No exponent: ", analysis.law.status().message(), " (D* inside the grid)."));
  }
  return notes;
}

}  // namespace

std::vector<size_t> ChooseLossPoints(const AssocAnalysis& analysis, const std::vector<cli::ResultRow>& rows) {
  std::vector<size_t> chosen;
  const size_t every = std::max<size_t>(1, (analysis.sizes.size() + kMostSizes - 1) / kMostSizes);
  for (size_t i = 0; i < analysis.sizes.size(); i += every) {
    const AssocSize& size = analysis.sizes[i];
    if (size.gap.empty()) continue;
    std::set<double> wanted = {size.gap.begin()->first, size.gap.rbegin()->first};
    wanted.insert(size.critical.tokens > 0 ? size.critical.tokens
                                           : std::next(size.gap.begin(), static_cast<int>(size.gap.size() / 2))->first);
    for (const double tokens : wanted) {
      for (size_t r = 0; r < rows.size(); ++r) {
        if (rows[r].architecture != size.row.architecture || cli::TokensOf(rows[r]) != tokens) continue;
        chosen.push_back(r);
        break;  // one seed
      }
    }
  }
  return chosen;
}

absl::StatusOr<Chart> LossesFigure(const FigureData& data) {
  if (const absl::Status status = CheckAssoc(data); !status.ok()) return status;
  Chart chart{.title = StrCat("Training and held-out loss, sweep ", data.sweep),
              .subtitle = "solid: training; broken: held-out; D in tokens; one seed each"};
  Levels sizes;
  for (const LossCurve& curve : data.losses) sizes.Add(curve.tokens);
  const auto legend = [&] {  // in the order of D, whatever the first panel shows
    std::vector<Series> entries;
    for (const double tokens : sizes.values()) {
      entries.push_back({.title = StrCat("D = ", tokens), .style = sizes.Index(tokens), .mark = Mark::kLine});
    }
    return entries;
  };
  for (const AssocSize& size : data.assoc->sizes) {
    std::vector<const LossCurve*> own;
    for (const LossCurve& curve : data.losses) {
      if (curve.architecture == size.row.architecture && curve.evaluations.size() > 1) own.push_back(&curve);
    }
    if (own.empty()) continue;
    Panel panel = LossPanel(size.row.architecture, own, sizes);
    if (chart.panels.empty()) {
      const std::vector<Series> entries = legend();
      panel.series.insert(panel.series.begin(), entries.begin(), entries.end());
    }
    chart.panels.push_back(std::move(panel));
  }
  if (chart.panels.empty()) return CannotDraw(data, "its points were evaluated fewer than two times (eval_every)");
  chart.notes.emplace_back("Shown are the smallest, the critical (or a middle) and the largest library of a model.");
  chart.notes.emplace_back(
      "The line at 1 nat is the loss of Niu and others, Proposition 4, a reference under its conditions (all samples "
      "stored as separated balls of equal mass); the training loss of a network that memorizes lies below it.");
  LimitPanels(chart);
  return chart;
}

absl::StatusOr<Chart> BalanceFigure(const FigureData& data) {
  if (const absl::Status status = CheckAssoc(data); !status.ok()) return status;
  Chart chart{.title = StrCat("Balance of parameters and data, sweep ", data.sweep),
              .subtitle = "D*: the smallest library whose gap lies below σ²"};
  chart.panels.push_back(GapPanel(*data.assoc));
  Panel critical = CriticalPanel(*data.assoc);
  if (!critical.series.empty()) chart.panels.push_back(std::move(critical));
  chart.notes = CriticalNotes(*data.assoc);
  return chart;
}

absl::StatusOr<Chart> DistancesFigure(const FigureData& data) {
  if (const absl::Status status = CheckAssoc(data); !status.ok()) return status;
  Series mean{.title = "mean", .style = 0}, median{.title = "median", .style = 1, .open = true};
  double least = INFINITY, most = 0;
  Axis width{.label = "width n", .scale = Axis::Scale::kLog2};
  for (const AssocSize& size : data.assoc->sizes) {
    if (!std::isfinite(size.neighbour_mean)) continue;
    const auto n = static_cast<double>(size.row.width);
    mean.points.push_back({n, size.neighbour_mean});
    median.points.push_back({n, size.neighbour_median});
    width.ticks.push_back(n);
    least = std::min(least, n);
    most = std::max(most, n);
  }
  if (mean.points.empty()) return CannotDraw(data, "it measured no distances between activations (data.heldout_size)");
  Series theory{.title = "2 sqrt(n/(2 pi e)): theory", .style = kReference, .mark = Mark::kLine};
  for (int i = 0; i <= kTheorySamples; ++i) {
    const double n = least / 1.1 * std::pow(most / least * 1.21, static_cast<double>(i) / kTheorySamples);
    theory.points.push_back({n, 2 * ecm::TheoryRadius(n)});
  }
  Chart chart{.title = StrCat("Distance between nearest activations, sweep ", data.sweep),
              .subtitle = "before the head, to the nearest other item, at the largest library of each model"};
  chart.panels.push_back({.x = std::move(width),
                          .y = {.label = "Euclidean distance", .from = 0},
                          .series = {std::move(theory), std::move(mean), std::move(median)}});
  chart.notes.emplace_back(
      "Theory: twice the radius of a pattern's ball in n dimensions (Niu and others). Theirs is an estimate for a "
      "large "
      "model; that small ones lie elsewhere contradicts nothing.");
  return chart;
}

}  // namespace capsweep::figures
