#include "cli/figures/shared.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "cli/figures/group_title.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr int kModelSamples = 60;
constexpr size_t kMostPanels = 24;

}  // namespace

const char* const kOpenPoints =
    "Open points are left out of fits: the whole library was memorized, so that the capacity is a lower bound, or it "
    "cannot be told from guessing.";

std::string CapacityLabel(const FigureData& data) {
  switch (data.capacity) {
    case ecm::CapacityKind::kItemsCorr:
      return "capacity C (items)";
    case ecm::CapacityKind::kItems:
      return "memorized (items)";
    case ecm::CapacityKind::kBits:
      return "memorized bits (in items)";
  }
  return "";
}

Axis WidthAxis(const std::vector<ecm::Row>& rows) {
  Axis axis{.label = "width B"};
  for (const ecm::Row& row : rows) axis.ticks.push_back(row.width);
  return axis;
}

Axis CapacityAxis(const FigureData& data) {
  return {.label = CapacityLabel(data), .from = 0};
}

std::string HeadsWord(double heads) {
  return StrCat(heads, heads == 1 ? " head" : " heads");
}

std::string Plural(size_t count, const std::string& word) {
  return StrCat(count, " ", word, count == 1 ? "" : "s");
}

double ValueOf(const ecm::Row& row, Field field) {
  return field == Field::kHeads ? row.heads : field == Field::kWidth ? row.width : row.seq_len;
}

Levels LevelsOf(const std::vector<ecm::Group>& groups, Field field) {
  Levels levels;
  for (const ecm::Group& group : groups) {
    for (const ecm::Row& row : group.rows) levels.Add(ValueOf(row, field));
  }
  return levels;
}

std::vector<ecm::Row> BaseRows(const ecm::Group& group) {
  std::map<std::tuple<double, double, double>, ecm::Row> base;
  for (const ecm::Row& row : group.rows) {
    const auto [at, is_new] = base.emplace(std::tuple(row.heads, row.seq_len, row.width), row);
    if (!is_new && row.budget < at->second.budget) at->second = row;
  }
  std::vector<ecm::Row> rows;
  for (const auto& [cell, row] : base) rows.push_back(row);
  return rows;
}

std::vector<ecm::Group> BaseGroups(const FigureData& data) {
  std::vector<ecm::Group> groups;
  for (const ecm::Group& group : data.groups) {
    if (!group.rows.empty()) groups.push_back({group.key, BaseRows(group)});
  }
  return groups;
}

std::vector<ecm::Group> MainGroups(const std::vector<ecm::Group>& groups) {
  using Cells = std::set<std::tuple<double, double, double>>;
  std::map<GroupKey, std::vector<std::pair<size_t, Cells>>> alike;  // but for the batch size
  for (size_t i = 0; i < groups.size(); ++i) {
    GroupKey key = groups[i].key;
    key.erase("batch_size");
    Cells cells;
    for (const ecm::Row& row : groups[i].rows) cells.insert({row.heads, row.width, row.seq_len});
    alike[key].emplace_back(i, std::move(cells));
  }
  std::set<size_t> repeats;
  for (const auto& [key, members] : alike) {
    for (const auto& [index, cells] : members) {
      const bool part = std::any_of(members.begin(), members.end(), [&, &own = cells](const auto& other) {
        return other.second.size() > own.size() &&
               std::includes(other.second.begin(), other.second.end(), own.begin(), own.end());
      });
      if (part) repeats.insert(index);
    }
  }
  std::vector<ecm::Group> main;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (!repeats.contains(i)) main.push_back(groups[i]);
  }
  return main;
}

ChartPoint MeanPoint(double x, const ecm::Row& row, double factor) {
  ChartPoint point{x, row.capacity * factor};
  if (row.sd >= 0 && row.repeats > 1) {
    point.low = (row.capacity - row.sd) * factor;
    point.high = (row.capacity + row.sd) * factor;
  }
  return point;
}

bool AddMeasured(Panel& panel, const std::vector<ecm::Row>& rows, const std::string& title, int style, Field x,
                 Mark mark) {
  Series sound{.title = title, .style = style, .mark = mark};
  Series bounds{.style = style, .open = true};
  for (const ecm::Row& row : rows) {
    (row.censored || row.at_chance ? bounds : sound).points.push_back(MeanPoint(ValueOf(row, x), row));
  }
  const bool has_bounds = !bounds.points.empty();
  // Also where all its points are open: the legend names it.
  if (!sound.points.empty() || has_bounds) panel.series.push_back(std::move(sound));
  if (has_bounds) panel.series.push_back(std::move(bounds));
  return has_bounds;
}

const ecm::GroupFit* FitOf(const ecm::FitReport& report, const GroupKey& key) {
  for (const ecm::GroupFit& fit : report.groups) {
    if (fit.group == key && fit.error.empty() && fit.forms.contains(fit.best) &&
        fit.forms.at(fit.best).skipped.empty()) {
      return &fit;
    }
  }
  return nullptr;
}

std::vector<ChartPoint> ModelOverWidth(const ecm::GroupFit* fit, double heads, double seq_len,
                                       const std::vector<ecm::Row>& rows) {
  std::vector<ChartPoint> points;
  double least = INFINITY, most = -INFINITY;
  for (const ecm::Row& row : rows) {
    least = std::min(least, row.width);
    most = std::max(most, row.width);
  }
  if (fit == nullptr || !(most > least)) return points;
  for (int i = 0; i <= kModelSamples; ++i) {
    const double width = least + (most - least) * i / kModelSamples;
    points.push_back({width, ecm::Predict(fit->best, fit->forms.at(fit->best).parameters, heads, width, seq_len)});
  }
  return points;
}

std::string ModelWords(const FigureData& data) {
  std::vector<std::pair<std::string, std::string>> forms;  // of a group
  bool same = true;
  for (const ecm::Group& group : data.groups) {
    const ecm::GroupFit* fit = FitOf(data.fit, group.key);
    if (fit == nullptr) continue;
    forms.emplace_back(cli::ShortGroupTitle(group.key, data.groups), fit->best);
    same = same && fit->best == forms[0].second;
  }
  if (forms.empty()) return "";
  if (same) return StrCat("lines: best form, ", forms[0].second);
  std::vector<std::string> words;
  for (const auto& [name, form] : forms) words.push_back(StrCat(form, " for ", name));
  return StrCat("lines: best form, ", StrJoin(words, ", "));
}

absl::StatusOr<double> ChosenSeqLen(const FigureData& data) {
  const std::set<double> lengths = LevelsOf(data.groups, Field::kSeqLen).values();
  if (lengths.empty()) return CannotDraw(data, "it has no capacity yet");
  if (data.seq_len == 0) return *lengths.rbegin();
  if (lengths.contains(static_cast<double>(data.seq_len))) return static_cast<double>(data.seq_len);
  std::vector<std::string> words;
  for (double length : lengths) words.push_back(StrCat(length));
  return absl::InvalidArgumentError(
      StrCat("--seq-len ", data.seq_len, ": sweep ", data.sweep, " has sequence length ", StrJoin(words, ", ")));
}

std::string JoinTitle(const std::string& a, const std::string& b) {
  return StrCat(a, a.empty() || b.empty() ? "" : ", ", b);
}

absl::Status CannotDraw(const FigureData& data, const std::string& why) {
  return absl::FailedPreconditionError(StrCat("sweep ", data.sweep, ": ", why));
}

void LimitPanels(Chart& chart) {
  if (chart.panels.size() <= kMostPanels) return;
  chart.notes.push_back(StrCat("The first ", kMostPanels, " of ", chart.panels.size(), " panels are shown."));
  chart.panels.resize(kMostPanels);
}

}  // namespace capsweep::figures
