// Families of models of equal size over the length of the sequence.
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/shared.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr double kEqualRatio = 1.1;  // whole widths hit a number of parameters only so well

ChartPoint WithBar(double x, double y, double sd) {
  return {x, y, y - sd, y + sd};  // NaN where the spread is unknown: no bar
}

void AddFamilies(const cli::FamiliesAnalysis& analysis, const std::string& variant, Panel& capacity, Panel& error) {
  for (size_t i = 0; i < analysis.families.size(); ++i) {
    Series items{.title = analysis.families[i], .style = static_cast<int>(i), .mark = Mark::kLinePoints};
    Series full{.style = items.style, .open = true}, share = items;
    for (const cli::FamilyCell& cell : analysis.cells) {
      if (cell.variant != variant || cell.family != analysis.families[i]) continue;
      const auto n = static_cast<double>(cell.seq_len);
      (cell.full ? full : items).points.push_back(WithBar(n, cell.capacity, cell.capacity_sd));
      share.points.push_back(WithBar(n, 100 * cell.error, 100 * cell.error_sd));
      capacity.x.ticks.push_back(n);
    }
    if (!items.points.empty()) capacity.series.push_back(std::move(items));
    if (!full.points.empty()) capacity.series.push_back(std::move(full));
    if (!share.points.empty()) error.series.push_back(std::move(share));
  }
  error.x = capacity.x;
}

}  // namespace

absl::StatusOr<Chart> FamiliesFigure(const FigureData& data) {
  if (!data.families || data.families->families.size() < 2) {
    return CannotDraw(data, "it has one family of models, so there is nothing to compare (family: [xt, mlp])");
  }
  const cli::FamiliesAnalysis& analysis = *data.families;
  Chart chart{.title = StrCat("Families over sequence length, sweep ", data.sweep), .subtitle = "mean ± SD over seeds"};
  for (const std::string& variant : analysis.variants) {
    const std::string name = analysis.variants.size() > 1 ? variant : "";
    Panel capacity{.title = JoinTitle("capacity", name),
                   .x = {.label = "sequence length N (tokens)", .scale = Axis::Scale::kLog2},
                   .y = {.label = "capacity C (items)", .from = 0},
                   .new_row = true};
    Panel error{.title = JoinTitle("error", name), .y = {.label = "items not memorized (%)", .from = 0}};
    AddFamilies(analysis, variant, capacity, error);
    if (capacity.series.empty()) continue;
    chart.panels.push_back(std::move(capacity));
    chart.panels.push_back(std::move(error));
  }
  chart.notes.push_back(
      analysis.largest_ratio <= kEqualRatio
          ? absl::StrFormat("The families' numbers of trained parameters agree within %.1f %% at every length.",
                            100 * (analysis.largest_ratio - 1))
          : absl::StrFormat("The families' numbers of trained parameters differ by up to a factor of %.2f: this is no "
                            "comparison at equal size.",
                            analysis.largest_ratio));
  if (std::any_of(analysis.cells.begin(), analysis.cells.end(), [](const auto& cell) { return cell.full; })) {
    chart.notes.emplace_back("Open points are lower bounds: the whole library was memorized.");
  }
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
