// Capacity over width and over heads.
#include <map>
#include <vector>

#include "cli/figures/figures.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr char kSpread[] = "mean ± SD over seeds";

std::string Subtitle(const FigureData& data) {
  const std::string model = ModelWords(data);
  return StrCat(kSpread, model.empty() ? "" : "; ", model);
}

// Rows by the values of a field.
std::map<double, std::vector<ecm::Row>> Split(const std::vector<ecm::Row>& rows, Field field) {
  std::map<double, std::vector<ecm::Row>> parts;
  for (const ecm::Row& row : rows) parts[ValueOf(row, field)].push_back(row);
  return parts;
}

// Panels of capacity over width with the fitted model: a panel for each value of `outer`, a series for each of `inner`.
absl::StatusOr<Chart> OverWidth(const FigureData& data, Field outer, Field inner) {
  Chart chart{.title = StrCat("Capacity of sweep ", data.sweep), .subtitle = Subtitle(data)};
  const std::vector<ecm::Group> groups = BaseGroups(data);
  if (groups.empty()) return CannotDraw(data, "there is no capacity to plot yet");
  const Levels styles = LevelsOf(groups, inner);
  bool bounds = false;
  for (const ecm::Group& group : groups) {
    const ecm::GroupFit* fit = FitOf(data.fit, group.key);
    bool first = true;
    for (const auto& [level, rows] : Split(group.rows, outer)) {
      const std::string name = outer == Field::kSeqLen ? StrCat("sequence length ", level) : HeadsWord(level);
      Panel panel{.title = JoinTitle(name, cli::ShortGroupTitle(group.key, groups)),
                  .x = WidthAxis(rows),
                  .y = CapacityAxis(data),
                  .new_row = first};
      first = false;
      for (const auto& [value, series] : Split(rows, inner)) {
        const int style = styles.Index(value);
        const double heads = outer == Field::kHeads ? level : value;
        const double seq_len = outer == Field::kHeads ? value : level;
        panel.series.push_back(
            {.style = style, .mark = Mark::kLine, .points = ModelOverWidth(fit, heads, seq_len, series)});
        const std::string title = inner == Field::kHeads ? HeadsWord(value) : StrCat("N = ", value);
        bounds = AddMeasured(panel, series, title, style, Field::kWidth) || bounds;
      }
      chart.panels.push_back(std::move(panel));
    }
  }
  if (bounds) chart.notes.emplace_back(kOpenPoints);
  LimitPanels(chart);
  return chart;
}

GroupKey Without(GroupKey key, const std::string& field) {
  key.erase(field);
  return key;
}

// What is measured both ways: the same recipe, with the MLP frozen and trained.
struct FrozenPair {
  GroupKey key;
  std::vector<ecm::Row> trained, frozen;
};

std::vector<FrozenPair> FrozenPairs(const std::vector<ecm::Group>& groups, double seq_len) {
  std::map<GroupKey, FrozenPair> pairs;
  for (const ecm::Group& group : groups) {
    const auto frozen = group.key.find("freeze_mlp");
    if (frozen == group.key.end()) continue;
    FrozenPair& pair = pairs[Without(group.key, "freeze_mlp")];
    pair.key = Without(group.key, "freeze_mlp");
    for (const ecm::Row& row : group.rows) {
      if (row.seq_len == seq_len) (frozen->second == "true" ? pair.frozen : pair.trained).push_back(row);
    }
  }
  std::vector<FrozenPair> both;
  for (auto& [key, pair] : pairs) {
    if (!pair.frozen.empty() && !pair.trained.empty()) both.push_back(std::move(pair));
  }
  return both;
}

}  // namespace

absl::StatusOr<Chart> CapacityFigure(const FigureData& data) {
  return OverWidth(data, Field::kSeqLen, Field::kHeads);
}

absl::StatusOr<Chart> PanelsFigure(const FigureData& data) {
  return OverWidth(data, Field::kHeads, Field::kSeqLen);
}

absl::StatusOr<Chart> HeadsFigure(const FigureData& data) {
  ASSIGN_OR_RETURN(const double seq_len, ChosenSeqLen(data));
  const std::vector<ecm::Group> groups = BaseGroups(data);
  if (LevelsOf(groups, Field::kHeads).values().size() < 2) {
    return CannotDraw(data, "it has one number of heads, so there is no capacity over heads");
  }
  Chart chart{.title = StrCat("Capacity over heads at sequence length ", seq_len, ", sweep ", data.sweep),
              .subtitle = kSpread};
  const Levels styles = LevelsOf(groups, Field::kWidth);
  bool bounds = false;
  for (const ecm::Group& group : groups) {
    Panel panel{.title = cli::ShortGroupTitle(group.key, groups), .x = {.label = "heads H"}, .y = CapacityAxis(data)};
    for (const auto& [width, rows] : Split(group.rows, Field::kWidth)) {
      std::vector<ecm::Row> shown;
      for (const ecm::Row& row : rows) {
        if (row.seq_len == seq_len) shown.push_back(row);
      }
      for (const ecm::Row& row : shown) panel.x.ticks.push_back(row.heads);
      bounds =
          AddMeasured(panel, shown, StrCat("B = ", width), styles.Index(width), Field::kHeads, Mark::kLinePoints) ||
          bounds;
    }
    if (!panel.series.empty()) chart.panels.push_back(std::move(panel));
  }
  if (bounds) chart.notes.emplace_back(kOpenPoints);
  LimitPanels(chart);
  return chart;
}

absl::StatusOr<Chart> FreezeFigure(const FigureData& data) {
  ASSIGN_OR_RETURN(const double seq_len, ChosenSeqLen(data));
  const std::vector<ecm::Group> groups = BaseGroups(data);
  const std::vector<FrozenPair> pairs = FrozenPairs(groups, seq_len);
  if (pairs.empty()) {
    return CannotDraw(data, StrCat("it did not measure both a frozen and a trained MLP at sequence length ", seq_len,
                                   " (freeze_mlp: [true, false])"));
  }
  std::vector<ecm::Group> named;
  for (const FrozenPair& pair : pairs) named.push_back({pair.key, {}});
  Chart chart{.title = StrCat("Frozen against trained MLP at sequence length ", seq_len, ", sweep ", data.sweep),
              .subtitle = kSpread};
  bool bounds = false;
  for (const FrozenPair& pair : pairs) {
    const auto trained = Split(pair.trained, Field::kHeads), frozen = Split(pair.frozen, Field::kHeads);
    bool first = true;
    for (const auto& [heads, rows] : trained) {
      if (!frozen.contains(heads)) continue;
      std::vector<ecm::Row> all = rows;
      all.insert(all.end(), frozen.at(heads).begin(), frozen.at(heads).end());
      Panel panel{.title = JoinTitle(HeadsWord(heads), cli::ShortGroupTitle(pair.key, named)),
                  .x = WidthAxis(all),
                  .y = CapacityAxis(data),
                  .new_row = first};
      first = false;
      bounds = AddMeasured(panel, rows, "trained MLP", 0, Field::kWidth, Mark::kLinePoints) || bounds;
      bounds = AddMeasured(panel, frozen.at(heads), "frozen MLP", 1, Field::kWidth, Mark::kLinePoints) || bounds;
      chart.panels.push_back(std::move(panel));
    }
  }
  if (chart.panels.empty()) return CannotDraw(data, "no number of heads was measured with both kinds of MLP");
  if (bounds) chart.notes.emplace_back(kOpenPoints);
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
