// The least network over the size of the library and the length of the sequence.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

using cli::LeastNetwork;
using cli::MinnetAnalysis;

constexpr int kLineSamples = 40;
constexpr double kAlikeShare = 0.25;

const MinnetAnalysis::Law* LawOf(const MinnetAnalysis& analysis, const std::string& family) {
  for (const auto& law : analysis.laws) {
    if (law.family == family && law.law.ok()) return &law;
  }
  return nullptr;
}

struct Ends {
  double from = 0, to = 0;
  double At(int i) const { return from * std::pow(to / from, static_cast<double>(i) / kLineSamples); }
};

// Places of a curve of theory among the grey lines, the same in all panels.
int ReferenceStyle(const std::string& curve) {
  if (curve == "sqrt(D)") return kReference;
  if (curve == "sqrt(D ln D)") return kReference - 1;
  return curve == "D" ? kReference - 2 : kReference - 3;
}

double TheoryAt(const ecm::Overlay& overlay, double d, double n) {
  const double value = overlay.name == "sqrt(D)"        ? std::sqrt(d)
                       : overlay.name == "sqrt(D ln D)" ? std::sqrt(d * std::log(d))
                       : overlay.name == "D"            ? d
                                                        : std::sqrt(n * d);
  return overlay.factor * value;
}

// The fitted power law of a family with the interval of its slope, through the mean of all its points, and the curves
// of theory.
void AddLaw(Panel& panel, const MinnetAnalysis::Law& law, const std::vector<const LeastNetwork*>& all, double n,
            const Ends& ends) {
  double mean = 0;  // of ln D
  for (const LeastNetwork* least : all) {
    mean += std::log(static_cast<double>(least->dataset_size)) / static_cast<double>(all.size());
  }
  Series band{.title = "95 % interval of the slope", .style = 0, .mark = Mark::kBand};
  Series line{.title = "fitted power law", .style = 0, .mark = Mark::kLine};
  for (int i = 0; i <= kLineSamples; ++i) {
    const double d = ends.At(i), y = law.law->factor * std::pow(d, law.law->exponent);
    const double away = std::log(d) - mean;
    const double a = y * std::exp((law.law->low - law.law->exponent) * away);
    const double b = y * std::exp((law.law->high - law.law->exponent) * away);
    band.points.push_back({d, y, std::min(a, b), std::max(a, b)});
    line.points.push_back({d, y});
  }
  panel.series.push_back(std::move(band));
  panel.series.push_back(std::move(line));
  for (const ecm::Overlay& overlay : law.overlays) {
    Series theory{.title = StrCat("c ", overlay.name), .style = ReferenceStyle(overlay.name), .mark = Mark::kLine};
    for (int i = 0; i <= kLineSamples; ++i) theory.points.push_back({ends.At(i), TheoryAt(overlay, ends.At(i), n)});
    panel.series.push_back(std::move(theory));
  }
  panel.title += absl::StrFormat(": D^%.2f (%.2f to %.2f)", law.law->exponent, law.law->low, law.law->high);
}

// P_min over D at one length, for a family.
Panel SizePanel(const std::vector<const LeastNetwork*>& members, const std::vector<const LeastNetwork*>& all,
                const MinnetAnalysis::Law* law, bool several_lengths) {
  const LeastNetwork& first = *members[0];
  Panel panel{.title = StrCat(first.family, several_lengths ? StrCat(", seq_len ", first.seq_len) : ""),
              .x = {.label = "library size D (items)", .scale = Axis::Scale::kLog10},
              .y = {.label = "P_min (parameters)", .scale = Axis::Scale::kLog10}};
  Series least{.title = "P_min: every item memorized", .style = 0};
  Series by_loss{.title = "training loss below 0.01", .style = 1, .open = true};
  Ends ends{INFINITY, 0};
  for (const LeastNetwork* n : members) {
    const auto d = static_cast<double>(n->dataset_size), p = static_cast<double>(n->params);
    panel.x.ticks.push_back(d);
    if (n->params_by_loss > 0 && n->params_by_loss != n->params) {
      by_loss.points.push_back({d, static_cast<double>(n->params_by_loss)});
    }
    if (n->params == 0) continue;
    ends = {std::min(ends.from, d), std::max(ends.to, d)};
    const double failed = n->largest_failed > 0 ? static_cast<double>(n->largest_failed) : p;
    least.points.push_back({d, p, failed, p});
  }
  if (law != nullptr && ends.to > ends.from) AddLaw(panel, *law, all, static_cast<double>(first.seq_len), ends);
  panel.series.push_back(std::move(least));
  if (!by_loss.points.empty()) panel.series.push_back(std::move(by_loss));
  return panel;
}

// P_min over the length, a line for each library size; around a single one the band that counts as alike.
Panel LengthPanel(const std::string& family, const std::vector<const MinnetAnalysis::Length*>& members,
                  const Levels& sizes) {
  Panel panel{.title = StrCat(family, ", over the length"),
              .x = {.label = "sequence length n (tokens)", .scale = Axis::Scale::kLog10},
              .y = {.label = "P_min (parameters)", .from = 0}};
  std::map<int64_t, Series> by_size;
  Series band{.title = "within 25 % of the shortest", .style = 1, .mark = Mark::kBand};
  for (const MinnetAnalysis::Length* length : members) {
    const auto n = static_cast<double>(length->least.seq_len), p = static_cast<double>(length->least.params);
    const auto shortest = static_cast<double>(length->shortest.params);
    const auto size = static_cast<double>(length->least.dataset_size);
    Series& series = by_size[length->least.dataset_size];
    series.title = StrCat("D = ", size);
    series.style = sizes.Index(size);
    series.mark = Mark::kLinePoints;
    const double failed = length->least.largest_failed > 0 ? static_cast<double>(length->least.largest_failed) : p;
    series.points.push_back({n, p, failed, p});
    band.points.push_back({n, shortest, shortest * (1 - kAlikeShare), shortest * (1 + kAlikeShare)});
    panel.x.ticks.push_back(n);
  }
  if (by_size.size() == 1) panel.series.push_back(std::move(band));
  for (auto& [size, series] : by_size) panel.series.push_back(std::move(series));
  return panel;
}

void AddNotes(const MinnetAnalysis& analysis, Chart& chart) {
  for (const auto& law : analysis.laws) {
    if (!law.law.ok() || law.overlays.empty()) continue;
    std::string text = StrCat(law.family, ": ");
    if (std::isfinite(law.overlays[0].aicc)) {
      StrAppend(&text, "of the curves of theory, each with a free factor c, c ", law.overlays[0].name,
                " has the lowest AICc;");
    } else {
      text += "four library sizes or more would order the curves of theory by AICc;";
    }
    std::vector<std::string> factors;
    for (const ecm::Overlay& o : law.overlays) factors.push_back(absl::StrFormat("%.3g for %s", o.factor, o.name));
    chart.notes.push_back(StrCat(text, " c = ", StrJoin(factors, ", "), "."));
  }
  std::vector<std::string> none;
  for (const LeastNetwork& n : analysis.networks) {
    if (n.params == 0) none.push_back(StrCat(n.family, " ", n.dataset_size, " items, seq_len ", n.seq_len));
  }
  if (!none.empty()) {
    chart.notes.push_back(StrCat("No network that was tried memorized: ", StrJoin(none, "; "), "."));
  }
  chart.notes.emplace_back(
      "Bars reach down to the largest smaller network that failed in all its trials. Theory leaves the factor of its "
      "curves open: a larger network found by training contradicts none of them.");
}

}  // namespace

absl::StatusOr<Chart> MinnetFigure(const FigureData& data) {
  if (!data.minnet || std::none_of(data.minnet->networks.begin(), data.minnet->networks.end(),
                                   [](const LeastNetwork& n) { return n.params > 0; })) {
    return CannotDraw(data, data.measure == "minnet" ? "no network that was tried memorized its library"
                                                     : "it does not look for the least network (measure: minnet)");
  }
  const MinnetAnalysis& analysis = *data.minnet;
  Chart chart{.title = StrCat("Least network that memorizes a library, sweep ", data.sweep)};
  if (std::any_of(analysis.laws.begin(), analysis.laws.end(), [](const auto& law) { return law.law.ok(); })) {
    chart.subtitle = "fitted: the slope of log P_min over log D, 95 % interval; grey: curves of theory, free factor";
  }
  std::map<std::string, std::vector<const LeastNetwork*>> found;  // by family
  std::map<std::pair<std::string, int64_t>, std::vector<const LeastNetwork*>> tasks;
  std::map<std::string, std::set<int64_t>> lengths;
  for (const LeastNetwork& n : analysis.networks) {
    if (n.params > 0) found[n.family].push_back(&n);
    tasks[{n.family, n.seq_len}].push_back(&n);
    lengths[n.family].insert(n.seq_len);
  }
  for (const auto& [task, members] : tasks) {
    const auto with_network =
        std::count_if(members.begin(), members.end(), [](const auto* n) { return n->params > 0; });
    if (with_network < 2) continue;
    chart.panels.push_back(
        SizePanel(members, found[task.first], LawOf(analysis, task.first), lengths[task.first].size() > 1));
  }
  std::map<std::string, std::vector<const MinnetAnalysis::Length*>> by_family;
  Levels sizes;
  for (const auto& length : analysis.lengths) {
    by_family[length.least.family].push_back(&length);
    sizes.Add(static_cast<double>(length.least.dataset_size));
  }
  bool first = true;
  for (const auto& [family, members] : by_family) {
    Panel panel = LengthPanel(family, members, sizes);
    panel.new_row = first;
    first = false;
    chart.panels.push_back(std::move(panel));
  }
  if (chart.panels.empty()) return CannotDraw(data, "it holds one library size and one length, so nothing grows");
  AddNotes(analysis, chart);
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
