// What training does to capacity: batch size, budget, and how memorization grows during it.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::figures {
namespace {

constexpr size_t kMostSeries = 14;
constexpr double kNearlyEqual = 1.02;  // steps are whole numbers, so that items seen differ a little
constexpr size_t kCurveMarks = 6;
constexpr double kLongBudget = 3, kSmallGain = 0.10;
constexpr size_t kLargestWidths = 2;  // how many of the widths count as "the largest"

using Architecture = std::tuple<double, double, double>;  // heads, width, seq_len

Architecture ArchitectureOf(const ecm::Row& row) {
  return {row.heads, row.width, row.seq_len};
}

std::string ArchitectureWord(const Architecture& of, bool with_length) {
  const auto& [heads, width, seq_len] = of;
  return StrCat("H = ", heads, ", B = ", width, with_length ? StrCat(", N = ", seq_len) : "");
}

// ---- batch size

struct BatchPoint {
  double batch = 0;
  ecm::Row row;
};
// The recipes that differ in their batch size alone, with one unit of budget.
struct BatchFamily {
  GroupKey key;
  bool epochs = false;
  std::map<Architecture, std::vector<BatchPoint>> architectures;  // those with several batch sizes
};

std::vector<BatchFamily> BatchFamilies(const FigureData& data) {
  std::vector<BatchFamily> families;
  for (const bool epochs : {false, true}) {
    std::vector<ecm::Measurement> chosen;
    for (const ecm::Measurement& m : data.measurements) {
      if ((m.budget_epochs > 0) == epochs) chosen.push_back(m);
    }
    std::map<GroupKey, BatchFamily> by_key;
    for (const ecm::Group& group : ecm::BuildGroups(chosen, data.capacity)) {
      GroupKey key = group.key;
      const auto found = key.find("batch_size");
      if (found == key.end()) continue;
      const double batch = std::atof(found->second.c_str());
      key.erase(found);
      BatchFamily& family = by_key[key];
      family.key = key;
      family.epochs = epochs;
      for (const ecm::Row& row : group.rows) family.architectures[ArchitectureOf(row)].push_back({batch, row});
    }
    for (auto& [key, family] : by_key) {
      std::erase_if(family.architectures, [](const auto& entry) {
        return std::all_of(entry.second.begin(), entry.second.end(),
                           [&](const BatchPoint& point) { return point.batch == entry.second[0].batch; });
      });
      if (!family.architectures.empty()) families.push_back(std::move(family));
    }
  }
  return families;
}

// What the points of a line share.
enum class Equal { kBudget, kItems, kNothing };  // steps or epochs | items seen, steps times batch | nothing
struct BatchLine {
  Equal equal = Equal::kNothing;
  double budget = 0;  // steps or epochs where these are equal
  std::vector<BatchPoint> points;
};

// The parts of `points` (ascending by `key`) that share a key, nearly, and hold every batch size.
template <typename KeyOf>
void AddFullLines(std::vector<BatchPoint> points, const KeyOf& key, Equal equal, std::vector<BatchLine>& lines) {
  std::set<double> batches;
  for (const BatchPoint& point : points) batches.insert(point.batch);
  std::stable_sort(points.begin(), points.end(),
                   [&](const BatchPoint& a, const BatchPoint& b) { return key(a) < key(b); });
  for (size_t i = 0; i < points.size();) {
    size_t end = i + 1;
    while (end < points.size() && key(points[end]) <= key(points[i]) * kNearlyEqual) ++end;
    BatchLine line{equal, equal == Equal::kBudget ? points[i].row.budget : 0, {}};
    std::set<double> own;
    for (; i < end; ++i) {
      if (own.insert(points[i].batch).second) line.points.push_back(points[i]);
    }
    if (own == batches) lines.push_back(std::move(line));
  }
}

// The lines of one architecture: at equal budgets, at equal items seen where budgets are steps, else all points as one.
std::vector<BatchLine> LinesOf(const std::vector<BatchPoint>& points, bool epochs) {
  std::vector<BatchLine> lines;
  AddFullLines(
      points, [](const BatchPoint& point) { return point.row.budget; }, Equal::kBudget, lines);
  if (!epochs) {
    AddFullLines(
        points, [](const BatchPoint& point) { return point.row.budget * point.batch; }, Equal::kItems, lines);
  }
  if (lines.empty()) lines.push_back({Equal::kNothing, 0, points});
  for (BatchLine& line : lines) {
    std::sort(line.points.begin(), line.points.end(),
              [](const BatchPoint& a, const BatchPoint& b) { return a.batch < b.batch; });
  }
  return lines;
}

std::string EqualWords(Equal equal, const std::string& unit, const std::set<double>& budgets) {
  switch (equal) {
    case Equal::kBudget:
      return budgets.size() == 1 ? StrCat("equal ", unit, " (", *budgets.begin(), ")") : StrCat("equal ", unit);
    case Equal::kItems:
      return "equal items seen (steps times batch)";
    case Equal::kNothing:
      return StrCat("budgets in ", unit, " that differ between batch sizes");
  }
  return "";
}

// A panel for what is equal; none if no architecture has such a line.
void AddBatchPanel(const FigureData& data, const BatchFamily& family, Equal equal, const std::string& name,
                   Chart& chart) {
  const std::string unit = family.epochs ? "epochs" : "steps";
  Panel panel{.x = {.label = "batch size (items)", .scale = Axis::Scale::kLog2}, .y = CapacityAxis(data)};
  std::set<double> budgets, lengths;
  size_t left_out = 0;
  for (const auto& [architecture, points] : family.architectures) lengths.insert(std::get<2>(architecture));
  int style = -1;  // of the architecture, the same in all panels of a family
  for (const auto& [architecture, points] : family.architectures) {
    ++style;
    std::vector<BatchLine> lines = LinesOf(points, family.epochs);
    std::erase_if(lines, [&](const BatchLine& line) { return line.equal != equal; });
    for (size_t i = 0; i < lines.size(); ++i) {
      const BatchLine& line = lines[i];
      Series series{
          .title = ArchitectureWord(architecture, lengths.size() > 1), .style = style, .mark = Mark::kLinePoints};
      if (lines.size() > 1 && line.budget > 0) {
        StrAppend(&series.title, ", ", line.budget, " ", unit);
        series.style = static_cast<int>(panel.series.size());
      }
      for (const BatchPoint& point : line.points) {
        series.points.push_back(MeanPoint(point.batch, point.row));
        panel.x.ticks.push_back(point.batch);
        budgets.insert(point.row.budget);
      }
      if (panel.series.size() < kMostSeries) {
        panel.series.push_back(std::move(series));
      } else {
        ++left_out;
      }
    }
  }
  if (panel.series.empty()) return;
  const std::string at = EqualWords(equal, unit, budgets);
  panel.title = JoinTitle(StrCat("at ", at), name);
  std::string note = StrCat(name.empty() ? "" : StrCat(name, ": "), "measured at ", at);
  if (equal == Equal::kBudget) {
    StrAppend(&note, family.epochs ? "; a smaller batch makes more steps of the same epochs"
                                   : "; a larger batch sees more items in the same steps");
  } else if (equal == Equal::kItems) {
    StrAppend(&note, "; a smaller batch makes more steps");
  }
  chart.notes.push_back(note + ".");
  if (left_out > 0) chart.notes.push_back(StrCat(Plural(left_out, "line"), " more are not shown."));
  chart.panels.push_back(std::move(panel));
}

// ---- budget

struct BudgetLine {
  Architecture architecture;
  std::vector<ecm::Row> rows;  // by budget
};

std::vector<BudgetLine> BudgetLines(const ecm::Group& group) {
  std::map<Architecture, std::vector<ecm::Row>> by_architecture;
  for (const ecm::Row& row : group.rows) by_architecture[ArchitectureOf(row)].push_back(row);
  std::vector<BudgetLine> lines;
  for (auto& [architecture, rows] : by_architecture) {
    if (rows.size() < 2) continue;
    std::sort(rows.begin(), rows.end(), [](const ecm::Row& a, const ecm::Row& b) { return a.budget < b.budget; });
    lines.push_back({architecture, std::move(rows)});
  }
  return lines;
}

// Whether the largest widths still gain from a budget at least three times the smallest.
std::string GainWords(const std::vector<BudgetLine>& lines) {
  std::set<double> widths;
  for (const BudgetLine& line : lines) widths.insert(std::get<1>(line.architecture));
  auto smallest = widths.end();
  for (size_t i = 0; i < kLargestWidths && smallest != widths.begin(); ++i) --smallest;
  double gain = 0;
  size_t pairs = 0, full = 0;
  for (const BudgetLine& line : lines) {
    const ecm::Row& first = line.rows.front();
    if (std::get<1>(line.architecture) < *smallest || first.capacity <= 0 || first.budget <= 0) continue;
    for (const ecm::Row& row : line.rows) {
      if (row.budget < kLongBudget * first.budget) continue;
      gain += row.capacity / first.capacity - 1;
      ++pairs;
      full += row.censored ? 1 : 0;
      break;  // the next budget from three times on
    }
  }
  if (pairs == 0) {
    return "No architecture of the largest widths was also trained at least three times as long, so whether the budget "
           "limits capacity is not known.";
  }
  gain /= static_cast<double>(pairs);
  std::string text = absl::StrFormat(
      "At the first budget from three times the smallest on, the %s of the largest widths changed capacity by %+.1f %% "
      "on "
      "average: %s.",
      Plural(pairs, "architecture"), 100 * gain,
      gain < kSmallGain ? "less than 10 %, so the smallest budget hardly limits them"
                        : "10 % or more, so the smallest budget limits them");
  if (full > 0) StrAppend(&text, " In ", full, " of them the library was full: there the gain is a lower bound.");
  return text;
}

// Budgets in steps; where epochs were asked for, the steps done.
void AddBudgetPanels(const FigureData& data, const ecm::Group& group, const std::vector<BudgetLine>& lines,
                     const std::string& name, const Levels& styles, Chart& chart) {
  std::map<std::pair<double, double>, Panel> panels;  // seq_len, heads
  for (const BudgetLine& line : lines) {
    const auto& [heads, width, seq_len] = line.architecture;
    const auto [at, is_new] = panels.try_emplace({seq_len, heads});
    Panel& panel = at->second;
    if (is_new) {
      panel.title = JoinTitle(StrCat("H = ", heads, ", N = ", seq_len), name);
      panel.x = {.label = "budget (steps)", .scale = Axis::Scale::kLog10};
      panel.y = CapacityAxis(data);
    }
    Series series{.title = StrCat("B = ", width), .style = styles.Index(width), .mark = Mark::kLinePoints};
    for (const ecm::Row& row : line.rows) {
      series.points.push_back(MeanPoint(row.budget_steps, row));
      panel.x.ticks.push_back(row.budget_steps);
    }
    panel.series.push_back(std::move(series));
  }
  bool first = true;
  for (auto& [place, panel] : panels) {
    panel.new_row = first;
    first = false;
    chart.panels.push_back(std::move(panel));
  }
  const size_t architectures = lines.size();
  chart.notes.push_back(StrCat(name.empty() ? "" : StrCat(name, ": "), GainWords(lines), " ", architectures, " of ",
                               Plural(BaseRows(group).size(), "architecture"), " have several budgets."));
}

}  // namespace

absl::StatusOr<Chart> BatchFigure(const FigureData& data) {
  const std::vector<BatchFamily> families = BatchFamilies(data);
  if (families.empty()) return CannotDraw(data, "it has no architecture with several batch sizes (batch_size)");
  std::vector<ecm::Group> named;
  for (const BatchFamily& family : families) named.push_back({family.key, {}});
  Chart chart{.title = StrCat("Capacity over batch size, sweep ", data.sweep), .subtitle = "mean ± SD over seeds"};
  for (const BatchFamily& family : families) {
    for (const Equal equal : {Equal::kBudget, Equal::kItems, Equal::kNothing}) {
      AddBatchPanel(data, family, equal, cli::ShortGroupTitle(family.key, named), chart);
    }
  }
  LimitPanels(chart);
  return chart;
}

absl::StatusOr<Chart> BudgetFigure(const FigureData& data) {
  Chart chart{.title = StrCat("Capacity over training budget, sweep ", data.sweep), .subtitle = "mean ± SD over seeds"};
  const Levels styles = LevelsOf(data.groups, Field::kWidth);
  for (const ecm::Group& group : data.groups) {
    const std::vector<BudgetLine> lines = BudgetLines(group);
    if (lines.empty()) continue;
    AddBudgetPanels(data, group, lines, cli::ShortGroupTitle(group.key, data.groups), styles, chart);
  }
  if (chart.panels.empty()) {
    return CannotDraw(data, "no architecture was trained with several budgets (steps or epochs)");
  }
  LimitPanels(chart);
  return chart;
}

std::vector<size_t> ChooseCurvePoints(const std::vector<ecm::Measurement>& measurements, int64_t seq_len) {
  if (seq_len == 0) {
    for (const ecm::Measurement& m : measurements) seq_len = std::max(seq_len, m.seq_len);
  }
  std::map<GroupKey, int64_t> heads;  // the largest of each group
  for (const ecm::Measurement& m : measurements) {
    if (m.seq_len == seq_len) heads[m.group] = std::max(heads[m.group], m.heads);
  }
  std::map<std::pair<GroupKey, int64_t>, size_t> chosen;  // of a group and width
  for (size_t i = 0; i < measurements.size(); ++i) {
    const ecm::Measurement& m = measurements[i];
    if (m.seq_len != seq_len || m.heads != heads[m.group]) continue;
    const auto [at, is_new] = chosen.emplace(std::pair(m.group, m.width), i);
    if (!is_new && m.seed < measurements[at->second].seed) at->second = i;
  }
  std::vector<size_t> indexes;
  for (const auto& [place, index] : chosen) indexes.push_back(index);
  return indexes;
}

absl::StatusOr<Chart> CurvesFigure(const FigureData& data) {
  RETURN_IF_ERROR(ChosenSeqLen(data).status());
  Levels styles;
  std::map<GroupKey, std::map<double, const LearningCurve*>> by_group;
  for (const LearningCurve& curve : data.curves) {
    const bool known = std::any_of(data.groups.begin(), data.groups.end(),
                                   [&](const ecm::Group& group) { return group.key == curve.point.group; });
    if (curve.evaluations.size() < 2 || !known) continue;
    const double width = static_cast<double>(curve.point.width);
    styles.Add(width);
    by_group[curve.point.group][width] = &curve;
  }
  if (by_group.empty()) return CannotDraw(data, "its points were evaluated fewer than two times (eval_every)");
  Chart chart{.title = StrCat("Items memorized during training, sweep ", data.sweep),
              .subtitle = "one seed each; not corrected for guessing"};
  for (const auto& [key, curves] : by_group) {
    const ecm::Measurement& any = curves.begin()->second->point;
    Panel panel{
        .title = JoinTitle(StrCat("H = ", any.heads, ", N = ", any.seq_len), cli::ShortGroupTitle(key, data.groups)),
        .x = {.label = "epochs", .from = 0},
        .y = {.label = "memorized (items)", .from = 0}};
    for (const auto& [width, curve] : curves) {
      Series line{.style = styles.Index(width), .mark = Mark::kLine};
      Series marks{.title = StrCat("B = ", width), .style = line.style};  // some points, to tell lines apart in grey
      const size_t count = curve->evaluations.size(), every = std::max<size_t>(1, count / kCurveMarks);
      for (size_t i = 0; i < count; ++i) {
        line.points.push_back({curve->evaluations[i].epoch, curve->evaluations[i].items});
        if ((count - 1 - i) % every == 0) marks.points.push_back(line.points.back());
      }
      panel.series.push_back(std::move(line));
      panel.series.push_back(std::move(marks));
    }
    chart.panels.push_back(std::move(panel));
  }
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
