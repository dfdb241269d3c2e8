// The largest library that is memorized whole (MLS) against the most items of a larger one (MAC).
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"
#include "ecm/statistics.h"

namespace capsweep::figures {
namespace {

// Pearson's; NaN of fewer than 3 pairs or of no spread.
double Correlation(const std::vector<LibraryPair>& pairs) {
  const double n = static_cast<double>(pairs.size());
  if (pairs.size() < 3) return kNothing;
  double mac = 0, mls = 0;
  for (const LibraryPair& pair : pairs) {
    mac += pair.mac / n;
    mls += pair.mls / n;
  }
  double both = 0, mac_squares = 0, mls_squares = 0;
  for (const LibraryPair& pair : pairs) {
    both += (pair.mac - mac) * (pair.mls - mls);
    mac_squares += (pair.mac - mac) * (pair.mac - mac);
    mls_squares += (pair.mls - mls) * (pair.mls - mls);
  }
  return mac_squares > 0 && mls_squares > 0 ? both / std::sqrt(mac_squares * mls_squares) : kNothing;
}

std::string PairWords(const std::vector<LibraryPair>& pairs) {
  std::vector<double> ratios;
  for (const LibraryPair& pair : pairs) ratios.push_back(pair.mls / pair.mac);
  std::string text = absl::StrFormat("%s measured both ways; MLS/MAC is %.2f in the median, from %.2f to %.2f",
                                     Plural(pairs.size(), "architecture"), ecm::Quantile(ratios, 0.5),
                                     ecm::Quantile(ratios, 0), ecm::Quantile(ratios, 1));
  const double correlation = Correlation(pairs);
  if (std::isnan(correlation)) return text + "; too few for a correlation.";
  return text + absl::StrFormat("; their correlation is r = %.3f.", correlation);
}

Panel LibraryPanel(const std::vector<LibraryPair>& pairs, const std::string& name, const Levels& styles) {
  Panel panel{.x = {.label = "MAC (items)", .scale = Axis::Scale::kLog10},
              .y = {.label = "MLS (items)", .scale = Axis::Scale::kLog10}};
  double least = INFINITY, most = 0;
  std::map<double, Series> by_heads;
  for (const LibraryPair& pair : pairs) {
    least = std::min({least, pair.mac, pair.mls});
    most = std::max({most, pair.mac, pair.mls});
    Series& series = by_heads[pair.heads];
    series.title = HeadsWord(pair.heads);
    series.style = styles.Index(pair.heads);
    series.points.push_back({pair.mac, pair.mls});
  }
  const double correlation = Correlation(pairs);
  panel.title = JoinTitle(name, std::isnan(correlation) ? "" : absl::StrFormat("r = %.3f", correlation));
  panel.series.push_back({.style = kReference, .mark = Mark::kLine, .points = {{least, least}, {most, most}}});
  for (auto& [heads, series] : by_heads) panel.series.push_back(std::move(series));
  return panel;
}

}  // namespace

absl::StatusOr<Chart> LibrariesFigure(const FigureData& data) {
  std::map<bool, std::vector<LibraryPair>> by_mlp;  // trained, then frozen
  std::vector<LibraryPair> all;
  Levels styles;
  for (const LibraryPair& pair : data.libraries) {
    if (!(pair.mac > 0 && pair.mls > 0)) continue;
    by_mlp[pair.freeze_mlp].push_back(pair);
    all.push_back(pair);
    styles.Add(pair.heads);
  }
  if (all.empty()) {
    return CannotDraw(data,
                      "this sweep measured no MLS beside its MAC, so the two cannot be compared; `--mls-from SWEEP` "
                      "takes both from a sweep with `measure: mls`");
  }
  Chart chart{
      .title = StrCat("MLS against MAC, sweep ", data.libraries_from.empty() ? data.sweep : data.libraries_from),
      .subtitle = "each point an architecture; broken line: MLS = MAC"};
  for (const auto& [frozen, pairs] : by_mlp) {
    const std::string name = by_mlp.size() < 2 ? "" : frozen ? "frozen MLP" : "trained MLP";
    chart.panels.push_back(LibraryPanel(pairs, name, styles));
    if (by_mlp.size() > 1) chart.notes.push_back(StrCat(name, ": ", PairWords(pairs)));
  }
  chart.notes.push_back(StrCat(by_mlp.size() > 1 ? "Together: " : "", PairWords(all)));
  return chart;
}

}  // namespace capsweep::figures
