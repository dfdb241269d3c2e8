// The largest library that is memorized whole (MLS) against the most items of a larger one (MAC).
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
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

}  // namespace

absl::StatusOr<Chart> LibrariesFigure(const FigureData& data) {
  std::vector<LibraryPair> pairs;
  for (const LibraryPair& pair : data.libraries) {
    if (pair.mac > 0 && pair.mls > 0) pairs.push_back(pair);
  }
  if (pairs.empty()) {
    return CannotDraw(data, "this sweep measured no MLS beside its MAC, so the two cannot be compared");
  }
  Levels styles;
  std::set<bool> frozen;
  double least = INFINITY, most = 0;
  for (const LibraryPair& pair : pairs) {
    styles.Add(pair.heads);
    frozen.insert(pair.freeze_mlp);
    least = std::min({least, pair.mac, pair.mls});
    most = std::max({most, pair.mac, pair.mls});
  }
  std::map<std::pair<bool, double>, Series> series;
  for (const LibraryPair& pair : pairs) {
    Series& own = series[{pair.freeze_mlp, pair.heads}];
    own.title = JoinTitle(HeadsWord(pair.heads), frozen.size() < 2 ? ""
                                                 : pair.freeze_mlp ? "frozen MLP"
                                                                   : "trained MLP");
    own.style = styles.Index(pair.heads);
    own.open = frozen.size() == 2 && pair.freeze_mlp;
    own.points.push_back({pair.mac, pair.mls});
  }
  Panel panel{.x = {.label = "MAC: most items of a larger library", .scale = Axis::Scale::kLog10},
              .y = {.label = "MLS: largest library memorized whole (items)", .scale = Axis::Scale::kLog10}};
  panel.series.push_back(
      {.title = "MLS = MAC", .style = kReference, .mark = Mark::kLine, .points = {{least, least}, {most, most}}});
  for (auto& [place, own] : series) panel.series.push_back(std::move(own));
  return Chart{.title = "MLS against MAC, sweep " + data.sweep,
               .subtitle = PairWords(pairs),
               .panels = {std::move(panel)},
               .notes = {PairWords(pairs)}};
}

}  // namespace capsweep::figures
