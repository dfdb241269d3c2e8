// Bits memorized: over the library, and per parameter.
#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr size_t kMostArchitectures = 14;

std::string ArchitectureTitle(const cli::ResultRow& row) {
  return StrCat(row.architecture, " (P = ", row.params_total, ")");
}

bool IsLowerBound(const ecm::BitsCapacity& capacity) {
  const ecm::BitsCell& best = capacity.Best();
  return !capacity.settled() || best.ended_by_budget > 0 || best.bits_mem > 0.98 * best.library_bits;
}

Panel LibraryBitsPanel(const cli::BitsAnalysis& analysis, size_t shown) {
  Panel panel{.title = "over the library",
              .x = {.label = "library H(X) (bits)", .scale = Axis::Scale::kLog10},
              .y = {.label = "bits_mem (bits)", .scale = Axis::Scale::kLog10}};
  double least = INFINITY, most = 0;
  std::vector<Series> lines;
  for (size_t i = 0; i < shown; ++i) {
    const auto& [row, capacity] = analysis.architectures[i];
    Series series{.title = ArchitectureTitle(row), .style = static_cast<int>(i), .mark = Mark::kLinePoints};
    for (const ecm::BitsCell& cell : capacity.cells) {
      series.points.push_back(
          {cell.library_bits, cell.bits_mem, cell.bits_mem - cell.bits_sd, cell.bits_mem + cell.bits_sd});
      least = std::min(least, cell.library_bits);
      most = std::max(most, cell.library_bits);
    }
    lines.push_back(std::move(series));
  }
  panel.series.push_back({.title = "all of it: bits_mem = H(X)",
                          .style = kReference,
                          .mark = Mark::kLine,
                          .points = {{least, least}, {most, most}}});
  for (Series& series : lines) panel.series.push_back(std::move(series));
  return panel;
}

Panel AlphaPanel(const cli::BitsAnalysis& analysis, size_t shown) {
  Panel panel{.title = "per parameter, at the best library",
              .x = {.label = "parameters P", .scale = Axis::Scale::kLog10},
              .y = {.label = "α (bits per parameter)", .from = 0}};
  Series printed{.title = "printed by Morris (2025), fp32", .style = static_cast<int>(shown)};
  double least = INFINITY, most = 0;
  std::vector<Series> points;
  bool gpt2 = false;
  for (size_t i = 0; i < shown; ++i) {
    const auto& [row, capacity] = analysis.architectures[i];
    const double p = capacity.params_total, sd = capacity.Best().bits_sd / p, alpha = capacity.alpha_total();
    points.push_back({.title = ArchitectureTitle(row),
                      .style = static_cast<int>(i),
                      .open = IsLowerBound(capacity),
                      .points = {{p, alpha, alpha - sd, alpha + sd}}});
    least = std::min(least, p);
    most = std::max(most, p);
    gpt2 = gpt2 || row.family == "gpt2";
    const auto size =
        row.family == "gpt2" ? ecm::FindMorrisSize(row.layers, row.width, row.vocab, row.seq_len) : std::nullopt;
    if (size) printed.points.push_back({p, size->alpha_fp32});
  }
  if (gpt2) {
    panel.series.push_back(
        {.title = StrCat("α = ", ecm::kMorrisBitsPerParameter, " (Morris)"),
         .style = kReference - 1,
         .mark = Mark::kLine,
         .points = {{least / 1.1, ecm::kMorrisBitsPerParameter}, {most * 1.1, ecm::kMorrisBitsPerParameter}}});
  }
  for (Series& series : points) panel.series.push_back(std::move(series));
  if (!printed.points.empty()) panel.series.push_back(std::move(printed));
  return panel;
}

}  // namespace

absl::StatusOr<Chart> BitsFigure(const FigureData& data) {
  if (!data.bits || data.bits->architectures.empty()) return CannotDraw(data, "it has no bits to show");
  const cli::BitsAnalysis& analysis = *data.bits;
  if (std::all_of(analysis.architectures.begin(), analysis.architectures.end(),
                  [](const auto& entry) { return entry.second.cells.size() < 2; })) {
    return CannotDraw(data,
                      "each of its architectures was trained on one library size (dataset_size), so bits over the "
                      "library cannot be shown");
  }
  Chart chart{.title = StrCat("Bits memorized, sweep ", data.sweep),
              .subtitle = "mean ± SD over seeds; open: a lower bound"};
  const size_t shown = std::min(analysis.architectures.size(), kMostArchitectures);
  chart.panels.push_back(LibraryBitsPanel(analysis, shown));
  chart.panels.push_back(AlphaPanel(analysis, shown));
  size_t budget = 0;
  for (size_t i = 0; i < analysis.architectures.size(); ++i) {
    const auto& [row, capacity] = analysis.architectures[i];
    budget += capacity.Best().ended_by_budget > 0 ? 1 : 0;
    if (i < shown) {
      chart.notes.push_back(
          absl::StrFormat("%s: α = %.2f; %s.", row.architecture, capacity.alpha_total(), ecm::BitsVerdict(capacity)));
    }
  }
  if (shown < analysis.architectures.size()) {
    chart.notes.push_back(
        StrCat("The first ", shown, " of ", analysis.architectures.size(), " architectures are shown."));
  }
  if (budget > 0) {
    chart.notes.push_back(StrCat(
        "Budget-limited lower bound: for ", budget, " of ", Plural(analysis.architectures.size(), "architecture"),
        " the best library's runs ended with their step budget, so α may rise with training."));
  }
  return chart;
}

}  // namespace capsweep::figures
