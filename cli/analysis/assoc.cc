// Associative memories: at which amount of data training stops being memorization.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/analysis/analysis.h"
#include "cli/console.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

using Json = nlohmann::ordered_json;

// parameters / D*^2, the ratio that Niu and others print.
double RatioOf(const AssocSize& size) {
  return static_cast<double>(size.row.params_total) / (size.critical.tokens * size.critical.tokens);
}

std::string CriticalText(const AssocSize& size) {
  if (size.critical.tokens == 0) return StrCat("above ", FormatNumber(size.gap.rbegin()->first));
  return StrCat(size.critical.below_smallest ? "at most " : "", FormatNumber(size.critical.tokens));
}

std::string DistanceText(double value, int digits = 3) {
  return std::isfinite(value) ? FormatNumber(value, digits) : "-";
}

}  // namespace

AssocAnalysis AnalyzeAssoc(const std::vector<ResultRow>& rows,
                           const std::map<int64_t, std::vector<ecm::LossPair>>& curves, const AssocSettings& settings) {
  AssocAnalysis analysis;
  analysis.settings = settings;
  std::map<std::string, std::map<double, std::vector<double>>> gaps;
  for (const ResultRow& row : rows) {
    const auto curve = curves.find(row.point_id);
    if (curve == curves.end() || curve->second.empty()) continue;
    if (!gaps.contains(row.architecture)) analysis.sizes.push_back({row, {}, {}, std::nan(""), std::nan("")});
    gaps[row.architecture][TokensOf(row)].push_back(ecm::BalanceGap(curve->second, settings.window));
    for (AssocSize& size : analysis.sizes) {
      if (size.row.architecture == row.architecture && TokensOf(row) >= TokensOf(size.row)) {
        size.row = row;
        size.neighbour_mean = row.neighbour_mean;
        size.neighbour_median = row.neighbour_median;
      }
    }
  }
  std::vector<double> tokens, parameters;
  for (AssocSize& size : analysis.sizes) {
    for (const auto& [data, values] : gaps[size.row.architecture]) {
      double mean = 0;
      for (double v : values) mean += v / static_cast<double>(values.size());
      size.gap[data] = mean;
    }
    size.critical = ecm::FindCriticalSize(size.gap, settings.sigma2);
    if (size.critical.tokens > 0 && !size.critical.below_smallest) {
      tokens.push_back(size.critical.tokens);
      parameters.push_back(static_cast<double>(size.row.params_total));
    }
  }
  std::stable_sort(analysis.sizes.begin(), analysis.sizes.end(),
                   [](const AssocSize& a, const AssocSize& b) { return a.row.params_total < b.row.params_total; });
  analysis.law = ecm::FitPowerLaw(tokens, parameters);
  return analysis;
}

AnalysisView AssocView(const AssocAnalysis& analysis) {
  AnalysisView view{.header = {"architecture", "params", "D* (tokens)", "gap at D*", "params/D*^2", "neighbour mean",
                               "median", "2 x theory radius"}};
  bool returns = false;
  for (const AssocSize& size : analysis.sizes) {
    const bool found = size.critical.tokens > 0;
    returns = returns || size.critical.returns;
    view.rows.push_back({size.row.architecture, FormatCount(size.row.params_total), CriticalText(size),
                         found ? FormatNumber(size.gap.at(size.critical.tokens), 2) : "-",
                         found ? FormatNumber(RatioOf(size), 3) : "-", DistanceText(size.neighbour_mean),
                         DistanceText(size.neighbour_median),
                         FormatNumber(2 * ecm::TheoryRadius(static_cast<double>(size.row.width)), 3)});
  }
  if (analysis.law.ok()) {
    view.findings.push_back(StrCat("params ~ D*^", FormatNumber(analysis.law->exponent, 3), " (95 % ",
                                   FormatNumber(analysis.law->low, 3), " to ", FormatNumber(analysis.law->high, 3),
                                   ", ", analysis.law->pairs,
                                   " sizes); the theory of Niu and others, under its conditions, says 2."));
  } else {
    view.findings.push_back(
        StrCat("No exponent: ", analysis.law.status().message(), " (sizes whose D* lies inside the grid)."));
  }
  if (returns) {
    view.findings.emplace_back("For some sizes a larger library lies above the limit again: their D* is uncertain.");
  }
  view.notes.push_back(StrCat(
      "D* is the smallest library, in tokens, whose training loss stays within sigma^2 = ", analysis.settings.sigma2,
      " (mean square over ", analysis.settings.window,
      " evaluations) of the least held-out loss; it is known to one step between library sizes."));
  view.notes.emplace_back(
      "Reference: Niu and others, Proposition 4, puts the loss at 1 nat or more if all samples are stored as separated "
      "balls of equal mass. A network that has memorized its library has a training loss near 0; the line is "
      "conditional.");
  return view;
}

std::string AssocText(const AssocAnalysis& analysis) {
  return ViewText(AssocView(analysis));
}

std::string AssocJson(const AssocAnalysis& analysis) {
  Json sizes = Json::array();
  for (const AssocSize& size : analysis.sizes) {
    Json gaps = Json::array();
    for (const auto& [tokens, gap] : size.gap) gaps.push_back({{"tokens", tokens}, {"gap", gap}});
    const bool found = size.critical.tokens > 0;
    sizes.push_back({{"architecture", size.row.architecture},
                     {"params_total", size.row.params_total},
                     {"critical_tokens", found ? Json(size.critical.tokens) : Json(nullptr)},
                     {"below_smallest", size.critical.below_smallest},
                     {"returns", size.critical.returns},
                     {"params_per_tokens_squared", found ? Json(RatioOf(size)) : Json(nullptr)},
                     {"neighbour_mean", size.neighbour_mean},
                     {"neighbour_median", size.neighbour_median},
                     {"theory_distance", 2 * ecm::TheoryRadius(static_cast<double>(size.row.width))},
                     {"gaps", std::move(gaps)}});
  }
  Json out = {{"sigma2", analysis.settings.sigma2}, {"window", analysis.settings.window}, {"sizes", std::move(sizes)}};
  out["exponent"] = nullptr;
  if (analysis.law.ok()) {
    out["exponent"] = analysis.law->exponent;
    out["exponent_interval"] = {analysis.law->low, analysis.law->high};
  }
  return out.dump(2);
}

}  // namespace capsweep::cli
