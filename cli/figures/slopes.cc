// How fast capacity grows with width, where it grows linearly.
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "absl/strings/str_format.h"
#include "cli/figures/figures.h"
#include "cli/figures/group_title.h"
#include "cli/figures/shared.h"
#include "common/text.h"
#include "ecm/statistics.h"

namespace capsweep::figures {
namespace {

constexpr int kSlopeSamples = 40;

// The branch of a form that grows with width, for one unit of width; NaN if it has none.
double LinearSlope(const ecm::GroupFit& fit, double heads, double seq_len) {
  std::map<std::string, double> parameters = fit.forms.at(fit.best).parameters;
  parameters["alpha"] = parameters["beta"] = std::numeric_limits<double>::quiet_NaN();
  return ecm::Predict(fit.best, parameters, heads, 1, seq_len);
}

// Whether a row lies where the fitted form grows linearly. Without a fit, or without a bound in it, every row does.
bool InLinearRegion(const ecm::GroupFit* fit, const ecm::Row& row) {
  if (fit == nullptr) return true;
  const auto& parameters = fit->forms.at(fit->best).parameters;
  const double bound = parameters.at("alpha") * row.heads + parameters.at("beta");
  const double rise = LinearSlope(*fit, row.heads, row.seq_len) * row.width;
  if (std::isnan(bound) || std::isnan(rise)) return true;
  return fit->best == "max" ? rise >= bound : rise <= bound;
}

// Least squares through the origin, as the model has it: Σ B·C / Σ B².
double SlopeOf(const std::vector<ecm::Row>& rows) {
  double product = 0, square = 0;
  for (const ecm::Row& row : rows) {
    product += row.width * row.capacity;
    square += row.width * row.width;
  }
  return square > 0 ? product / square : kNothing;
}

struct Slope {
  double heads = 0, seq_len = 0;
  double value = 0;             // of the means over seeds
  std::vector<double> by_seed;  // only seeds that have all widths of it
  size_t rows = 0;
};

using LinePlace = std::pair<double, double>;                       // heads, seq_len
using CellPlace = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // heads, width, seq_len, dataset_size

// Slopes of one group; the seeds' own ones come from their measurements in the same cells.
std::vector<Slope> SlopesOf(const FigureData& data, const ecm::Group& group) {
  const ecm::GroupFit* fit = FitOf(data.fit, group.key);
  std::map<LinePlace, std::vector<ecm::Row>> lines;
  std::map<CellPlace, double> cells;  // and the budget
  for (const ecm::Row& row : group.rows) {
    if (row.censored || row.at_chance || !InLinearRegion(fit, row)) continue;
    lines[{row.heads, row.seq_len}].push_back(row);
    cells[{std::lround(row.heads), std::lround(row.width), std::lround(row.seq_len), std::lround(row.dataset_size)}] =
        row.budget;
  }
  std::map<uint64_t, std::vector<ecm::Measurement>> by_seed;
  for (const ecm::Measurement& m : data.measurements) {
    const auto cell = cells.find({m.heads, m.width, m.seq_len, m.dataset_size});
    if (m.group != group.key || cell == cells.end()) continue;
    if (cell->second == static_cast<double>(std::max(m.budget_steps, m.budget_epochs))) by_seed[m.seed].push_back(m);
  }
  std::map<LinePlace, std::vector<double>> seeds;
  for (const auto& [seed, measurements] : by_seed) {
    std::map<LinePlace, std::vector<ecm::Row>> own;
    for (const ecm::Group& built : ecm::BuildGroups(measurements, data.capacity)) {
      for (const ecm::Row& row : built.rows) own[{row.heads, row.seq_len}].push_back(row);
    }
    for (const auto& [place, rows] : own) {
      if (rows.size() == lines[place].size()) seeds[place].push_back(SlopeOf(rows));
    }
  }
  std::vector<Slope> slopes;
  for (const auto& [place, rows] : lines) {
    if (!rows.empty()) slopes.push_back({place.first, place.second, SlopeOf(rows), seeds[place], rows.size()});
  }
  return slopes;
}

// The relative spread of slopes between seeds, pooled over a group: two or three seeds of one slope say little of it.
struct PooledSpread {
  double relative_sd = 0;
  int degrees = 0;
};

PooledSpread PoolSpread(const std::vector<Slope>& slopes) {
  double squares = 0;
  PooledSpread spread;
  for (const Slope& slope : slopes) {
    if (slope.by_seed.size() < 2 || slope.value <= 0) continue;
    double mean = 0;
    for (double value : slope.by_seed) mean += value / static_cast<double>(slope.by_seed.size());
    for (double value : slope.by_seed) squares += (value / mean - 1) * (value / mean - 1);
    spread.degrees += static_cast<int>(slope.by_seed.size()) - 1;
  }
  if (spread.degrees > 0) spread.relative_sd = std::sqrt(squares / spread.degrees);
  return spread;
}

ChartPoint SlopePoint(double x, const Slope& slope, const PooledSpread& spread) {
  ChartPoint point{x, slope.value};
  if (slope.by_seed.size() >= 2 && spread.degrees > 0) {
    const double half = slope.value * ecm::StudentT975(spread.degrees) * spread.relative_sd /
                        std::sqrt(static_cast<double>(slope.by_seed.size()));
    point.low = slope.value - half;
    point.high = slope.value + half;
  }
  return point;
}

// The fitted f(H, N) of a number of heads, over the sequence lengths of its slopes.
std::vector<ChartPoint> ModelSlopes(const ecm::GroupFit* fit, double heads, const std::vector<Slope>& slopes) {
  double least = INFINITY, most = -INFINITY;
  for (const Slope& slope : slopes) {
    least = std::min(least, slope.seq_len);
    most = std::max(most, slope.seq_len);
  }
  std::vector<ChartPoint> points;
  if (fit == nullptr || !(most > least)) return points;
  for (int i = 0; i <= kSlopeSamples; ++i) {
    const double seq_len = least * std::pow(most / least, static_cast<double>(i) / kSlopeSamples);
    points.push_back({seq_len, LinearSlope(*fit, heads, seq_len)});
  }
  return points;
}

void AddSlopesOverLength(Panel& panel, const ecm::GroupFit* fit, const std::vector<Slope>& slopes,
                         const PooledSpread& spread, const Levels& styles) {
  std::map<double, std::vector<Slope>> by_heads;
  for (const Slope& slope : slopes) by_heads[slope.heads].push_back(slope);
  for (const auto& [heads, own] : by_heads) {
    Series measured{.title = HeadsWord(heads), .style = styles.Index(heads)};
    for (const Slope& slope : own) {
      measured.points.push_back(SlopePoint(slope.seq_len, slope, spread));
      panel.x.ticks.push_back(slope.seq_len);
    }
    panel.series.push_back({.style = measured.style, .mark = Mark::kLine, .points = ModelSlopes(fit, heads, slopes)});
    panel.series.push_back(std::move(measured));
  }
}

}  // namespace

absl::StatusOr<Chart> SlopesFigure(const FigureData& data) {
  const std::vector<ecm::Group> groups = BaseGroups(data);
  const Levels heads = LevelsOf(groups, Field::kHeads);
  const bool over_length = LevelsOf(groups, Field::kSeqLen).values().size() > 1;
  Chart chart{.title = StrCat("Slope of capacity in width, sweep ", data.sweep)};
  bool bars = false, model = false;
  for (const ecm::Group& group : groups) {
    const ecm::GroupFit* fit = FitOf(data.fit, group.key);
    const std::vector<Slope> slopes = SlopesOf(data, group);
    if (slopes.empty()) continue;
    const PooledSpread spread = PoolSpread(slopes);
    Panel panel{.title = cli::ShortGroupTitle(group.key, groups),
                .x = {.label = "sequence length N (tokens)", .scale = Axis::Scale::kLog2},
                .y = {.label = "capacity per width C/B (items)", .from = 0}};
    if (over_length) {
      AddSlopesOverLength(panel, fit, slopes, spread, heads);
    } else {
      panel.x = {.label = "heads H"};
      Series measured{.title = StrCat("N = ", slopes[0].seq_len)};
      for (const Slope& slope : slopes) {
        measured.points.push_back(SlopePoint(slope.heads, slope, spread));
        panel.x.ticks.push_back(slope.heads);
      }
      panel.series.push_back(std::move(measured));
    }
    size_t used = 0;
    for (const Slope& slope : slopes) used += slope.rows;
    const std::string name = panel.title.empty() ? "" : StrCat(panel.title, ": ");
    chart.notes.push_back(
        StrCat(name, "least-squares slopes through the origin over ", used, " of ", Plural(group.rows.size(), "row"),
               " in the linear region",
               fit == nullptr ? " (nothing was fitted: all usable rows)." : StrCat(" of the form ", fit->best, ".")));
    bars = bars || spread.degrees > 0;
    model = model || (fit != nullptr && over_length);
    if (spread.degrees > 0) {
      chart.notes.push_back(absl::StrFormat(
          "%sbars are 95 %% intervals of the mean over seeds; the spread between seeds, %.1f %%, is pooled over the "
          "slopes (%d degrees of freedom).",
          name, 100 * spread.relative_sd, spread.degrees));
    }
    chart.panels.push_back(std::move(panel));
  }
  if (chart.panels.empty()) return CannotDraw(data, "no usable row lies where capacity grows linearly with width");
  chart.subtitle = StrCat(bars ? "bars: 95 % intervals over seeds" : "one seed: no intervals",
                          model ? StrCat("; ", ModelWords(data)) : "");
  LimitPanels(chart);
  return chart;
}

}  // namespace capsweep::figures
