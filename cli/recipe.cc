#include "cli/recipe.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/numbers.h"
#include "cli/console.h"
#include "common/param_count.h"
#include "common/status.h"
#include "common/sweep/parse.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"

namespace capsweep::cli {
namespace {

constexpr double kLargestSlope = 1.5;  // of ln(library or budget) over ln P_train beyond the measured sizes
constexpr size_t kMostSeedRanges = 1000;

absl::Status MissingField(const std::string& name, const std::string& text) {
  return absl::FailedPreconditionError(
      text.empty() ? StrCat("the fit does not hold ", name,
                            ": it was not made from a sweep's results, so how its cells were trained is not known")
                   : StrCat("the fit's ", name, " '", text, "' is not one that this version trains"));
}

// Reads the fields of a group's key into a point.
class KeyReader {
 public:
  explicit KeyReader(const std::map<std::string, std::string>& key) : key_(key) {}

  template <class Word>
  void ReadWord(const std::string& name, Word& out) {
    const std::string text = Text(name);
    if (status_.ok() && !FromWord(text, out)) status_ = MissingField(name, text);
  }
  void Read(const std::string& name, int64_t& out) {
    const std::string text = Text(name);
    if (status_.ok() && !absl::SimpleAtoi(text, &out)) status_ = MissingField(name, text);
  }
  void Read(const std::string& name, double& out) {
    const std::string text = Text(name);
    if (status_.ok() && !absl::SimpleAtod(text, &out)) status_ = MissingField(name, text);
  }
  std::string Text(const std::string& name) {
    const auto it = key_.find(name);
    if (it == key_.end() && status_.ok()) status_ = MissingField(name, "");
    return it == key_.end() ? "" : it->second;
  }
  const absl::Status& status() const { return status_; }

 private:
  const std::map<std::string, std::string>& key_;
  absl::Status status_;
};

using Levels = std::set<int64_t>;

std::string List(const Levels& levels) {
  std::vector<std::string> parts;
  for (const int64_t level : levels) parts.push_back(StrCat(level));
  return StrCat("[", StrJoin(parts, ", "), "]");
}

std::string CellCondition(const PointSpec& point) {
  return StrCat("heads == ", point.heads, " && width == ", point.width, " && seq_len == ", point.seq_len);
}

// A number, or "=cell ? value : …" where the points differ. Cells of equal value share a term.
std::string PerCell(const std::vector<SeededPoint>& points, const std::function<int64_t(const PointSpec&)>& value) {
  std::map<int64_t, std::vector<std::string>> cells;
  for (const SeededPoint& seeded : points) cells[value(seeded.point)].push_back(CellCondition(seeded.point));
  if (cells.size() == 1) return StrCat(cells.begin()->first);
  std::string text = "\"=";
  const int64_t last = cells.rbegin()->first;
  for (const auto& [number, conditions] : cells) {
    if (number != last) StrAppend(&text, StrJoin(conditions, " || "), " ? ", number, " : ");
  }
  return StrCat(text, last, "\"");
}

std::string SeedCondition(const std::vector<uint64_t>& seeds) {
  std::vector<std::string> parts;
  for (const uint64_t seed : seeds) parts.push_back(StrCat("init_seed == ", seed));
  return parts.size() == 1 ? parts[0] : StrCat("(", StrJoin(parts, " || "), ")");
}

std::string WhereText(const std::vector<SeededPoint>& points, const std::set<uint64_t>& seeds) {
  std::vector<std::string> cells;
  for (const SeededPoint& seeded : points) {
    const bool all = seeded.seeds.size() == seeds.size();
    cells.push_back(StrCat(CellCondition(seeded.point), all ? "" : StrCat(" && ", SeedCondition(seeded.seeds))));
  }
  return StrJoin(cells, " || ");
}

// Identities of the wanted points, to compare with what the file gives.
std::set<std::string> KeysOf(const std::vector<SeededPoint>& points) {
  std::set<std::string> keys;
  for (const SeededPoint& seeded : points) {
    for (const uint64_t seed : seeded.seeds) {
      PointSpec point = seeded.point;
      point.data_seed = point.init_seed = seed;
      keys.insert(PointKey(point));
    }
  }
  return keys;
}

absl::Status CheckReadsBack(const std::string& text, const std::vector<SeededPoint>& points) {
  ASSIGN_OR_RETURN(const SweepSpec spec, ParseSweep(text, "the sweep file made here"));
  std::set<std::string> keys;
  RETURN_IF_ERROR(plan::EnumerateGrid(spec, [&keys](const PointSpec& point) {
    keys.insert(PointKey(point));
    return absl::OkStatus();
  }));
  return keys == KeysOf(points) ? absl::OkStatus()
                                : absl::InternalError("the sweep file made here does not hold the points it should");
}

}  // namespace

absl::StatusOr<Recipe> Recipe::FromFit(const ecm::GroupFit& fit) {
  Recipe recipe;
  PointSpec& point = recipe.shared_;
  KeyReader key(fit.group);
  key.ReadWord("mode", point.mode);
  key.Read("vocab", point.vocab);
  key.ReadWord("family", point.family);
  key.Read("layers", point.layers);
  recipe.split_heads_ = key.Text("head_dim") == "split";
  if (!recipe.split_heads_) key.Read("head_dim", point.head_dim);
  key.ReadWord("optimizer", point.optimizer);
  key.Read("lr", point.lr);
  key.ReadWord("schedule", point.schedule);
  if (point.schedule == Schedule::kCosine) key.Read("lr_final", point.lr_final);
  if (point.mode == Mode::kLm) key.ReadWord("lm_targets", point.lm_targets);
  key.Read("batch_size", point.batch_size);
  key.Read("eval_every", point.eval_every);
  key.Read("patience", point.patience);
  point.freeze_mlp = key.Text("freeze_mlp") == "true";
  RETURN_IF_ERROR(key.status());

  for (const ecm::PredictedRow& row : fit.points) {
    if (!row.used || row.row.budget <= 0 || row.row.dataset_size <= 0) continue;
    recipe.in_epochs_ = row.row.budget_in_epochs;
    Cell cell{.heads = std::llround(row.row.heads),
              .width = std::llround(row.row.width),
              .seq_len = std::llround(row.row.seq_len)};
    const PointSpec shape = recipe.Shape(cell.heads, cell.width, cell.seq_len);
    cell.log_params = std::log(static_cast<double>(CountParams(shape).train));
    cell.library = row.row.dataset_size * static_cast<double>(MaxTargets(shape));
    cell.budget = row.row.budget;
    recipe.cells_.push_back(cell);
  }
  if (recipe.cells_.empty()) {
    return absl::FailedPreconditionError("the fit holds no libraries and budgets of its cells; fit the sweep again");
  }
  std::stable_sort(recipe.cells_.begin(), recipe.cells_.end(),
                   [](const Cell& x, const Cell& y) { return x.log_params < y.log_params; });
  return recipe;
}

PointSpec Recipe::Shape(int64_t heads, int64_t width, int64_t seq_len) const {
  PointSpec point = shared_;
  point.heads = heads;
  point.width = width;
  point.seq_len = seq_len;
  if (split_heads_) point.head_dim = std::max<int64_t>(1, width / heads);
  return point;
}

double Recipe::Interpolate(double log_params, double Cell::*value) const {
  // Cells of one size count as their geometric mean.
  std::map<double, std::pair<double, int>> by_size;
  for (const Cell& cell : cells_) {
    auto& [sum, count] = by_size[cell.log_params];
    sum += std::log(cell.*value);
    ++count;
  }
  std::vector<std::pair<double, double>> curve;
  for (const auto& [size, mean] : by_size) curve.emplace_back(size, mean.first / mean.second);
  if (curve.size() == 1) return std::exp(curve[0].second);
  auto upper = std::lower_bound(curve.begin(), curve.end(), std::pair(log_params, -1e300));
  const bool below = upper == curve.begin(), above = upper == curve.end();
  if (below || above) {
    const auto& edge = below ? curve.front() : curve.back();
    const auto& middle = curve[below ? curve.size() / 2 : (curve.size() - 1) / 2];
    const double slope = (edge.second - middle.second) / (edge.first - middle.first);
    return std::exp(edge.second + std::clamp(slope, 0.0, kLargestSlope) * (log_params - edge.first));
  }
  const auto lower = std::prev(upper);
  const double share = (log_params - lower->first) / (upper->first - lower->first);
  return std::exp(lower->second + share * (upper->second - lower->second));
}

void Recipe::SetBudget(PointSpec& point) const {
  double budget = Interpolate(std::log(static_cast<double>(CountParams(point).train)), &Cell::budget);
  for (const Cell& cell : cells_) {
    if (cell.heads == point.heads && cell.width == point.width && cell.seq_len == point.seq_len) budget = cell.budget;
  }
  (in_epochs_ ? point.epochs : point.steps) = std::max<int64_t>(1, std::llround(budget));
}

PointSpec Recipe::Point(int64_t heads, int64_t width, int64_t seq_len) const {
  PointSpec point = Shape(heads, width, seq_len);
  double library = Interpolate(std::log(static_cast<double>(CountParams(point).train)), &Cell::library);
  for (const Cell& cell : cells_) {
    if (cell.heads == heads && cell.width == width && cell.seq_len == seq_len) library = cell.library;
  }
  point.dataset_size = std::max<int64_t>(1, std::llround(library / static_cast<double>(MaxTargets(point))));
  SetBudget(point);
  return point;
}

std::string Recipe::BudgetRule() const {
  double low = cells_.front().budget, high = low;
  for (const Cell& cell : cells_) {
    low = std::min(low, cell.budget);
    high = std::max(high, cell.budget);
  }
  const std::string word = in_epochs_ ? "epochs" : "steps";
  if (low == high) return StrCat(FormatCount(std::llround(low)), " ", word, ", as all fitted cells had");
  return StrCat(word, " by the size of the model, as the fitted cells had them (", FormatCount(std::llround(low)),
                " to ", FormatCount(std::llround(high)), "; between them in proportion of the logarithms)");
}

absl::StatusOr<std::string> SweepFileText(const std::string& name, const std::string& comment, bool split_heads,
                                          const std::vector<SeededPoint>& points) {
  if (points.empty()) return absl::InvalidArgumentError("a sweep file needs at least one point");
  Levels heads, widths, lengths;
  std::set<uint64_t> seeds;
  for (const SeededPoint& seeded : points) {
    heads.insert(seeded.point.heads);
    widths.insert(seeded.point.width);
    lengths.insert(seeded.point.seq_len);
    seeds.insert(seeded.seeds.begin(), seeded.seeds.end());
  }
  if (seeds.size() > kMostSeedRanges) return absl::InvalidArgumentError("too many different seeds for one sweep file");
  const PointSpec& first = points.front().point;
  std::string text;
  StrAppend(&text, comment, "sweep: ", name, "\n");
  StrAppend(&text, "task:  {mode: ", ToWord(first.mode), ", vocab: ", first.vocab, ", seq_len: ", List(lengths));
  if (first.mode == Mode::kLm) StrAppend(&text, ", lm_targets: ", ToWord(first.lm_targets));
  StrAppend(&text, "}\nmodel: {family: ", ToWord(first.family), ", layers: ", first.layers, ", heads: ", List(heads),
            ", head_dim: ", split_heads ? std::string("split") : StrCat(first.head_dim), ", width: ", List(widths),
            ", freeze_mlp: ", first.freeze_mlp, "}\n");
  StrAppend(&text, "data:\n  dataset_size: ", PerCell(points, [](const PointSpec& p) { return p.dataset_size; }), "\n");
  StrAppend(&text, "train:\n  optimizer: ", ToWord(first.optimizer), "\n  lr: ", first.lr,
            "\n  schedule: ", ToWord(first.schedule), "\n");
  if (first.schedule == Schedule::kCosine) StrAppend(&text, "  lr_final: ", first.lr_final, "\n");
  StrAppend(&text, "  batch_size: ", first.batch_size, "\n  eval_every: ", first.eval_every,
            "\n  patience: ", first.patience, "\n");
  StrAppend(&text, first.steps > 0 ? "  steps: " : "  epochs: ",
            PerCell(points, [](const PointSpec& p) { return p.steps > 0 ? p.steps : p.epochs; }), "\n");
  std::vector<std::string> seed_words;
  for (const uint64_t seed : seeds) seed_words.push_back(StrCat(seed));
  StrAppend(&text, "seeds: [", StrJoin(seed_words, ", "), "]\nwhere: \"", WhereText(points, seeds), "\"\n");
  RETURN_IF_ERROR(CheckReadsBack(text, points));
  return text;
}

}  // namespace capsweep::cli
