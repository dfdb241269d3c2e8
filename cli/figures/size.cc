// Capacity against the size of the model.
#include <functional>
#include <map>
#include <vector>

#include "cli/figures/figures.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

using MakePoint = std::function<ChartPoint(const ecm::Row&)>;

// A series for each number of heads of the rows with this sequence length.
void AddByHeads(Panel& panel, const std::vector<ecm::Row>& rows, double seq_len, const Levels& styles, Mark mark,
                const MakePoint& make) {
  std::map<double, Series> by_heads;
  for (const ecm::Row& row : rows) {
    if (row.seq_len != seq_len || row.params_train <= 0) continue;
    Series& series = by_heads[row.heads];
    series.title = HeadsWord(row.heads);
    series.style = styles.Index(row.heads);
    series.mark = mark;
    series.points.push_back(make(row));
  }
  for (auto& [heads, series] : by_heads) panel.series.push_back(std::move(series));
}

// Two panels for each group.
using Pair = std::function<void(const ecm::Group&, double seq_len, const Levels& styles, Panel& left, Panel& right)>;

absl::StatusOr<Chart> PairsOfPanels(const FigureData& data, const std::vector<ecm::Group>& groups,
                                    const std::string& title, const std::string& subtitle, const Pair& fill) {
  ASSIGN_OR_RETURN(const double seq_len, ChosenSeqLen(data));
  Chart chart{.title = StrCat(title, " at sequence length ", seq_len, ", sweep ", data.sweep), .subtitle = subtitle};
  const Levels styles = LevelsOf(groups, Field::kHeads);
  for (const ecm::Group& group : groups) {
    const std::string name = cli::ShortGroupTitle(group.key, groups);
    Panel left{.title = name, .x = WidthAxis(group.rows), .new_row = true};
    Panel right{.title = name};
    fill(group, seq_len, styles, left, right);
    if (left.series.empty()) continue;
    chart.panels.push_back(std::move(left));
    chart.panels.push_back(std::move(right));
  }
  if (chart.panels.empty()) return CannotDraw(data, "no row holds its number of trainable parameters");
  LimitPanels(chart);
  return chart;
}

}  // namespace

absl::StatusOr<Chart> ParametersFigure(const FigureData& data) {
  const auto fill = [&](const ecm::Group& group, double seq_len, const Levels& styles, Panel& left, Panel& right) {
    left.x.scale = Axis::Scale::kLog2;
    left.y = {.label = "trainable parameters", .scale = Axis::Scale::kLog10};
    AddByHeads(left, group.rows, seq_len, styles, Mark::kLinePoints, [](const ecm::Row& row) {
      return ChartPoint{row.width, row.params_train};
    });
    right.x = {.label = "trainable parameters", .scale = Axis::Scale::kLog10};
    right.y = {.label = CapacityLabel(data), .scale = Axis::Scale::kLog10};
    AddByHeads(right, group.rows, seq_len, styles, Mark::kPoints,
               [](const ecm::Row& row) { return MeanPoint(row.params_train, row); });
  };
  return PairsOfPanels(data, BaseGroups(data), "Trainable parameters", "capacity: mean ± SD over seeds", fill);
}

absl::StatusOr<Chart> MemoryFigure(const FigureData& data) {
  // Bits are a measure of their own: where a cell has several libraries, the one that holds most bits stands for it.
  FigureData in_bits = {.sweep = data.sweep, .groups = ecm::BuildGroups(data.measurements, ecm::CapacityKind::kBits)};
  const std::vector<ecm::Group> bits = BaseGroups(in_bits);
  const auto fill = [&](const ecm::Group& group, double seq_len, const Levels& styles, Panel& left, Panel& right) {
    left.y = {.label = "C / parameter (items)", .from = 0};
    AddByHeads(left, group.rows, seq_len, styles, Mark::kLinePoints,
               [](const ecm::Row& row) { return MeanPoint(row.width, row, 1 / row.params_train); });
    right.x = left.x;
    right.y = {.label = "bits_mem / parameter (bits)", .from = 0};
    for (const ecm::Group& own : bits) {
      if (own.key != group.key) continue;
      AddByHeads(right, own.rows, seq_len, styles, Mark::kLinePoints,
                 [](const ecm::Row& row) { return MeanPoint(row.width, row, row.bits_per_item / row.params_train); });
    }
  };
  return PairsOfPanels(data, BaseGroups(data), "Memory per parameter", "per trainable parameter, mean ± SD over seeds",
                       fill);
}

}  // namespace capsweep::figures
