#include "coordinator/plan/adaptive.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/cost_model.h"
#include "common/status.h"
#include "common/sweep/errors.h"
#include "common/text.h"
#include "coordinator/plan/grid.h"

namespace capsweep::plan {
namespace {

constexpr int64_t kFewestSoftmin = 5;  // cells that softmin can be fitted to
constexpr int64_t kDegrees = 3;        // cells that log_quadratic needs beyond its terms
constexpr int64_t kStartCells = 18;    // before the first fit, unless the file says otherwise
constexpr int64_t kRounds = 12;        // that a budget is cut into, unless the file says otherwise
constexpr int64_t kMostRounds = 200;   // each costs a fit, also after a restart
constexpr int64_t kMostPerRound = 1000;
constexpr int64_t kMostCells = 10'000;    // the choice looks at all of them for every point
constexpr int64_t kMostPoints = 200'000;  // kept in memory
constexpr double kLeastSeconds = 1e-6;    // a cost is above 0, whatever was measured
constexpr double kReach = 2;              // how far outside the grid a target may lie, as a factor
constexpr double kStartShare = 0.25;      // of a budget, for the start
constexpr int kNarrowRounds = 2;          // in a row: one may be narrow by chance
constexpr double kCostExponent = 0.5;     // of the start: distance over the root of the cost

std::array<int64_t, 3> PlaceOf(const PointSpec& point) {
  return {point.heads, point.width, point.seq_len};
}
constexpr std::array<std::string_view, 3> kPlaceNames = {"heads", "width", "seq_len"};

// What may differ between points of one fit: its variables, and what follows the size of the model.
bool MayVary(std::string_view field) {
  constexpr std::array<std::string_view, 8> kFree = {"heads",        "width",     "seq_len", "head_dim",
                                                     "dataset_size", "data_seed", "epochs",  "init_seed"};
  return field == "steps" || field == "heldout_size" || std::find(kFree.begin(), kFree.end(), field) != kFree.end();
}

std::vector<std::pair<std::string_view, std::string>> RecipeOf(const PointSpec& point) {
  std::vector<std::pair<std::string_view, std::string>> recipe;
  VisitFields(point, [&](std::string_view name, const auto& value) {
    if (MayVary(name)) return;
    if constexpr (std::is_enum_v<std::decay_t<decltype(value)>>) {
      recipe.emplace_back(name, std::string(ToWord(value)));
    } else {
      recipe.emplace_back(name, StrCat(value));
    }
  });
  return recipe;
}

std::string CellText(const PointSpec& point) {
  return StrCat("heads ", point.heads, ", width ", point.width, ", seq_len ", point.seq_len);
}

std::string Seconds(double seconds) {
  return seconds < 10 ? absl::StrFormat("%.2g s", seconds) : absl::StrFormat("%.0f s", seconds);
}

}  // namespace

std::string TargetText(const SearchSpec& search) {
  return search.design_items > 0
             ? StrCat("the smallest model for ", search.design_items, " items of seq_len ", search.target_seq_len)
             : StrCat("heads ", search.target_heads, ", width ", search.target_width, ", seq_len ",
                      search.target_seq_len);
}

// ---------------------------------------------------------------- the grid

absl::StatusOr<std::unique_ptr<Adaptive>> Adaptive::Create(SweepSpec sweep) {
  std::unique_ptr<Adaptive> adaptive(new Adaptive(std::move(sweep)));
  RETURN_IF_ERROR(adaptive->ReadGrid());
  RETURN_IF_ERROR(adaptive->CheckTarget());
  RETURN_IF_ERROR(adaptive->ChooseRounds());
  RETURN_IF_ERROR(adaptive->CheckBudget());
  return adaptive;
}

absl::Status Adaptive::ReadGrid() {
  const SearchSpec& s = sweep_.search;
  std::vector<PointSpec> points;
  RETURN_IF_ERROR(EnumerateGrid(sweep_, [&](const PointSpec& point) -> absl::Status {
    if (static_cast<int64_t>(points.size()) == kMostPoints) {
      sweep::Errors errors(sweep_.file_name);
      errors.Add(sweep_.measure_line, "measure",
                 StrCat("the grid has more than ", kMostPoints,
                        " points; measure: adaptive chooses among at most so many: leave out some values or repeats"));
      return errors.ToStatus();
    }
    points.push_back(point);
    return absl::OkStatus();
  }));
  std::map<std::array<int64_t, 3>, size_t> known;
  const auto recipe = RecipeOf(points.front());
  bool split = true, one_head_dim = true;
  for (const PointSpec& point : points) {
    const auto own = RecipeOf(point);
    for (size_t i = 0; i < own.size(); ++i) {
      if (own[i].second == recipe[i].second) continue;
      sweep::Errors errors(sweep_.file_name);
      errors.Add(sweep_.measure_line, own[i].first,
                 StrCat("is ", recipe[i].second, " at ", CellText(points.front()), " and ", own[i].second, " at ",
                        CellText(point), "; measure: adaptive fits one recipe, so give it one value"));
      return errors.ToStatus();
    }
    split = split && point.heads * point.head_dim == point.width;
    one_head_dim = one_head_dim && point.head_dim == points.front().head_dim;
    const auto [it, is_new] = known.emplace(PlaceOf(point), cells_.size());
    if (is_new) {
      cells_.emplace_back();
      cells_.back().estimate = EstimateSeconds(point);
      cells_.back().target = s.design_items == 0 && point.heads == s.target_heads && point.width == s.target_width &&
                             point.seq_len == s.target_seq_len;
    }
    cells_[it->second].points.push_back(point);
    cells_[it->second].keys.push_back(PointKey(point));
  }
  sweep::Errors errors(sweep_.file_name);
  if (!split && !one_head_dim) {
    errors.Add(sweep_.measure_line, "head_dim",
               "differs over the grid; measure: adaptive fits one recipe, so give it one value, or split");
  }
  fewest_ = FewestCells();
  const auto usable = std::count_if(cells_.begin(), cells_.end(), [](const Cell& cell) { return !cell.target; });
  if (usable < fewest_) {
    errors.Add(sweep_.measure_line, "measure",
               StrCat("the grid has ", usable, usable == 1 ? " cell" : " cells",
                      " of heads, width and seq_len beside the target; a fit of ", s.form, " needs ", fewest_,
                      ": give more values of them", s.form == "softmin" ? "" : ", or use search.form: softmin"));
  }
  if (static_cast<int64_t>(cells_.size()) > kMostCells) {
    errors.Add(sweep_.measure_line, "measure",
               StrCat("the grid has ", cells_.size(), " cells; measure: adaptive chooses among at most ", kMostCells,
                      ": leave out some values"));
  }
  return errors.ToStatus();
}

// With two values of a variable log_quadratic has its linear term, with three its square.
int64_t Adaptive::FewestCells() const {
  if (sweep_.search.form == "softmin") return kFewestSoftmin;
  int64_t linear = 0, square = 0;
  for (size_t i = 0; i < kPlaceNames.size(); ++i) {
    std::set<int64_t> values;
    for (const Cell& cell : cells_) values.insert(PlaceOf(cell.points[0])[i]);
    linear += values.size() >= 2 ? 1 : 0;
    square += values.size() >= 3 ? 1 : 0;
  }
  return 1 + linear + square + linear * (linear - 1) / 2 + kDegrees;
}

absl::Status Adaptive::CheckTarget() const {
  const SearchSpec& s = sweep_.search;
  const std::array<int64_t, 3> target = {s.target_heads, s.target_width, s.target_seq_len};
  sweep::Errors errors(sweep_.file_name);
  for (size_t i = 0; i < target.size(); ++i) {
    int64_t low = std::numeric_limits<int64_t>::max(), high = 0;
    for (const Cell& cell : cells_) {
      low = std::min(low, PlaceOf(cell.points[0])[i]);
      high = std::max(high, PlaceOf(cell.points[0])[i]);
    }
    const auto value = static_cast<double>(target[i]);
    if (target[i] == 0 || (value >= static_cast<double>(low) / kReach && value <= static_cast<double>(high) * kReach)) {
      continue;
    }
    errors.Add(s.target_line, StrCat("search.", s.design_items > 0 ? "design." : "target.", kPlaceNames[i]),
               StrCat(target[i], " is far outside the grid, ", low, low == high ? "" : StrCat(" to ", high),
                      ", where no fit predicts; use at least half of its smallest and at most twice its largest, or "
                      "let the grid come nearer"));
  }
  return errors.ToStatus();
}

absl::Status Adaptive::CheckBudget() const {
  const SearchSpec& s = sweep_.search;
  const int line = s.line > 0 ? s.line : sweep_.measure_line;
  sweep::Errors errors(sweep_.file_name);
  if (s.start > 0 && s.start < fewest_) {
    errors.Add(line, "search.start",
               StrCat(s.start, s.start == 1 ? " point is" : " points are", " too few for a first fit of ", s.form,
                      " on this grid; use at least ", fewest_));
  } else if (s.budget_points > 0 && s.budget_points <= start()) {
    errors.Add(line, "search.budget_points",
               StrCat(s.budget_points, s.budget_points == 1 ? " point leaves" : " points leave",
                      " nothing to choose after the ", start(), " before the first fit of ", s.form, "; use at least ",
                      start() + 1));
  }
  if (s.start > 0 && start() < s.start) {
    errors.Add(line, "search.start",
               StrCat(s.start, " points are more than the ", start(),
                      " cells of the grid beside the target; the start trains each once, use at most ", start()));
  }
  if (by_seconds() && start_seconds() >= s.budget_seconds) {
    errors.Add(line, "search.budget_seconds",
               StrCat(s.budget_seconds, " is too little: the ", start(),
                      " points before the first fit alone take about ", Seconds(start_seconds()),
                      " of one CPU core by the cost model; use at least ", std::ceil(1.5 * start_seconds()),
                      start() > fewest_ ? StrCat(", or a smaller search.start, at least ", fewest_) : ""));
  }
  if (const int64_t after = s.budget_points - start(); round_points_ > 0 && after / round_points_ > kMostRounds) {
    errors.Add(line, "search.round",
               StrCat(round_points_, " points a round cut search.budget_points into ", after / round_points_,
                      " rounds, each of which costs a fit; use at least ", after / kMostRounds + 1));
  }
  return errors.ToStatus();
}

absl::Status Adaptive::ChooseRounds() {
  const SearchSpec& s = sweep_.search;
  places_.resize(cells_.size());
  for (size_t i = 0; i < kPlaceNames.size(); ++i) {
    double low = std::numeric_limits<double>::infinity(), high = 0;
    for (const Cell& cell : cells_) {
      const auto value = static_cast<double>(PlaceOf(cell.points[0])[i]);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    for (size_t c = 0; c < cells_.size(); ++c) {
      const auto value = static_cast<double>(PlaceOf(cells_[c].points[0])[i]);
      places_[c].push_back(high > low ? std::log(value / low) / std::log(high / low) : 0);
    }
  }
  const Path nothing = Nothing();
  const double all = std::numeric_limits<double>::infinity();
  int64_t points = s.start;
  double budget = all;
  if (points == 0) {
    points = std::max(kStartCells, fewest_);
    if (s.budget_points > 0) {
      points = std::min(points, s.budget_points / 3);
    } else {
      budget = kStartShare * s.budget_seconds;
    }
  }
  start_ = Spread(nothing, points, budget);
  if (start() < fewest_ && s.start == 0) start_ = Spread(nothing, fewest_, all);
  round_points_ = s.round;
  if (s.round == 0 && s.budget_points > 0) {
    round_points_ = std::clamp<int64_t>((s.budget_points - start() + kRounds - 1) / kRounds, 1, kMostPerRound);
  }
  round_cost_ = s.budget_seconds / kRounds;
  return absl::OkStatus();
}

Adaptive::Path Adaptive::Nothing() const {
  Path path;
  path.asked.assign(cells_.size(), 0);
  path.measured.assign(cells_.size(), 0);
  path.done.assign(cells_.size(), 0);
  return path;
}

double Adaptive::start_seconds() const {
  double seconds = 0;
  for (const Repeat& repeat : start_) seconds += cells_[repeat.cell].estimate;
  return seconds;
}

// Cells that lie far from all asked for, cheap ones preferred, each once.
std::vector<Adaptive::Repeat> Adaptive::Spread(const Path& path, int64_t points, double budget) const {
  std::vector<double> nearest(cells_.size(), std::numeric_limits<double>::infinity());
  std::vector<bool> out(cells_.size());
  const auto take = [&](size_t taken) {
    out[taken] = true;
    for (size_t c = 0; c < cells_.size(); ++c) {
      double squares = 0;
      for (size_t i = 0; i < kPlaceNames.size(); ++i) {
        squares += (places_[c][i] - places_[taken][i]) * (places_[c][i] - places_[taken][i]);
      }
      nearest[c] = std::min(nearest[c], std::sqrt(squares));
    }
  };
  for (size_t c = 0; c < cells_.size(); ++c) {
    if (path.asked[c] > 0) take(c);
  }
  std::vector<Repeat> chosen;
  while (static_cast<int64_t>(chosen.size()) < points) {
    size_t best = cells_.size();
    double best_score = -1;
    for (size_t c = 0; c < cells_.size(); ++c) {
      if (out[c] || cells_[c].target || CostOf(path, c) > budget) continue;
      // The very first is the cheapest.
      const double score =
          std::isinf(nearest[c]) ? 1 / cells_[c].estimate : nearest[c] / std::pow(cells_[c].estimate, kCostExponent);
      if (score > best_score) {
        best = c;
        best_score = score;
      }
    }
    if (best == cells_.size()) break;
    budget -= CostOf(path, best);
    chosen.push_back({static_cast<int>(best), 0});
    take(best);
  }
  return chosen;
}

// ---------------------------------------------------------------- rounds

double Adaptive::CostOf(const Path& path, size_t cell) const {
  if (!by_seconds()) return 1;
  const double seconds = path.done[cell] > 0
                             ? path.measured[cell] / path.done[cell]
                             : cells_[cell].estimate * (path.estimated > 0 ? path.seconds / path.estimated : 1);
  return std::max(seconds, kLeastSeconds);
}

double Adaptive::LeftOf(const Path& path) const {
  return by_seconds() ? sweep_.search.budget_seconds - path.seconds
                      : static_cast<double>(sweep_.search.budget_points - path.points);
}

// Most points of the next round. After too many rounds, which a budget of seconds and small rounds can come to, they
// are as large as can be.
int64_t Adaptive::PointsOf(const Path& path) const {
  return round_points_ > 0 && path.rounds < kMostRounds ? round_points_ : kMostPerRound;
}

AdaptiveQuestion Adaptive::Question(const Path& path) const {
  AdaptiveQuestion question;
  question.search = &sweep_.search;
  question.samples = path.samples;
  question.budget = LeftOf(path);
  question.points = static_cast<int>(PointsOf(path));
  for (size_t c = 0; c < cells_.size(); ++c) {
    const Cell& cell = cells_[c];
    const int left = static_cast<int>(cell.points.size()) - path.asked[c];
    question.cells.push_back({&cell.points[0], CostOf(path, c), cell.target ? 0 : left});
  }
  return question;
}

std::vector<Adaptive::Repeat> Adaptive::NextRound(const Path& path, const AdaptiveAnswer& answer) const {
  // While nothing can be fitted, more of the grid is looked at.
  std::vector<Repeat> ordered;
  if (answer.unfitted.empty()) {
    std::vector<int> asked = path.asked;
    for (const int cell : answer.order) ordered.push_back({cell, asked[cell]++});
  } else {
    ordered = Spread(path, PointsOf(path), LeftOf(path));
  }
  std::vector<Repeat> round;
  double cost = 0;
  for (const Repeat& repeat : ordered) {
    const double own = CostOf(path, repeat.cell);
    const bool full = path.rounds < kMostRounds && round_points_ == 0 && cost >= round_cost_;
    if (full || static_cast<int64_t>(round.size()) >= PointsOf(path) || cost + own > LeftOf(path)) break;
    cost += own;
    round.push_back(repeat);
  }
  return round;
}

// Adds what became of the points of a round to the path, and to `seen`; false if some of them have no result yet, those
// not asked for before are then in `wanted`.
bool Adaptive::Absorb(const std::vector<Repeat>& round, const Outcomes& known, Path& path, std::string& seen,
                      std::vector<PointSpec>& wanted) const {
  bool open = false;
  for (const Repeat& repeat : round) {
    const auto it = known.find(cells_[repeat.cell].keys[repeat.repeat]);
    open = open || it == known.end() || it->second.state == Outcome::State::kOpen;
    if (it == known.end()) wanted.push_back(cells_[repeat.cell].points[repeat.repeat]);
  }
  if (open) return false;
  for (const Repeat& repeat : round) {
    const Cell& cell = cells_[repeat.cell];
    const Outcome& outcome = known.at(cell.keys[repeat.repeat]);
    ++path.asked[repeat.cell];
    ++path.points;
    if (outcome.state == Outcome::State::kFailed) {
      ++path.failed;
      path.failure = outcome.failure;
      StrAppend(&seen, cell.keys[repeat.repeat], " failed\n");
      continue;
    }
    ++path.done[repeat.cell];
    path.measured[repeat.cell] += outcome.seconds;
    path.seconds += outcome.seconds;
    path.estimated += cell.estimate;
    path.samples.push_back({repeat.cell, cell.points[repeat.repeat].init_seed, outcome.items_mem, outcome.items_corr});
    StrAppend(&seen, cell.keys[repeat.repeat], " ", outcome.items_mem,
              absl::StrFormat(" %.17g %.17g\n", outcome.items_corr, outcome.seconds));
  }
  ++path.rounds;
  return true;
}

// "" if it goes on.
std::string Adaptive::WhyOver(const Path& path, const AdaptiveAnswer& answer, const std::vector<Repeat>& next) const {
  if (path.narrow >= kNarrowRounds) return "target interval reached";
  if (!next.empty()) return "";
  double cheapest = std::numeric_limits<double>::infinity();
  for (size_t c = 0; c < cells_.size(); ++c) {
    const bool left = !cells_[c].target && path.asked[c] < static_cast<int>(cells_[c].points.size());
    if (left) cheapest = std::min(cheapest, CostOf(path, c));
  }
  if (std::isinf(cheapest)) return "grid exhausted";
  if (cheapest > LeftOf(path)) return "budget used";
  return answer.unfitted.empty() ? "no cell left would make the prediction surer"
                                 : "every cell was trained once, and still nothing can be fitted";
}

Finding Adaptive::Describe(const Path& path, const AdaptiveAnswer* answer, const std::string& over) const {
  const SearchSpec& s = sweep_.search;
  Finding finding;
  finding.point_key = cells_[start_[0].cell].keys[0];
  finding.probes = path.points;
  finding.rounds = path.rounds;
  finding.seconds = path.seconds;
  finding.target = TargetText(s);
  const bool fitted = answer != nullptr && answer->unfitted.empty();
  if (fitted) {
    if (s.design_items > 0) {
      StrAppend(&finding.target, ": heads ", answer->heads, ", width ", answer->width, ", seq_len ", answer->seq_len);
    }
    finding.predicted = answer->predicted;
    finding.low = answer->low;
    finding.high = answer->high;
  }
  if (over.empty()) return finding;
  const bool missed = s.stop_at > 0 && path.narrow < kNarrowRounds;
  finding.state = !fitted || missed ? CellState::kStopped : CellState::kSettled;
  finding.reason = over;
  if (fitted && missed) {
    StrAppend(&finding.reason,
              absl::StrFormat("; the interval reached is %.3g of the prediction to either side, search.stop_at %.3g "
                              "was not reached",
                              (answer->high - answer->low) / 2 / answer->predicted, s.stop_at));
  }
  if (!fitted && answer != nullptr) StrAppend(&finding.reason, "; no prediction: ", answer->unfitted);
  if (path.failed > 0) {
    StrAppend(&finding.reason, "; ", path.failed, path.failed == 1 ? " run" : " runs", " failed: ", path.failure);
  }
  return finding;
}

absl::StatusOr<SearchPlan> Adaptive::Plan(const Outcomes& known, const Adviser& advise) {
  Path path = Nothing();
  SearchPlan plan;
  std::vector<Repeat> round = start_;
  const AdaptiveAnswer* answer = nullptr;
  std::string over;
  for (size_t number = 0; over.empty(); ++number) {
    std::string seen;
    if (!Absorb(round, known, path, seen, plan.wanted)) break;
    if (number >= decided_.size() || decided_[number].seen != seen) {
      decided_.resize(std::min(decided_.size(), number));
      ASSIGN_OR_RETURN(AdaptiveAnswer asked, advise(Question(path)));
      decided_.push_back({std::move(seen), std::move(asked)});
    }
    answer = &decided_[number].answer;
    const bool narrow = answer->unfitted.empty() && sweep_.search.stop_at > 0 && answer->predicted > 0 &&
                        answer->high - answer->low <= 2 * sweep_.search.stop_at * answer->predicted;
    path.narrow = narrow ? path.narrow + 1 : 0;
    round = NextRound(path, *answer);
    over = WhyOver(path, *answer, round);
  }
  plan.cells.push_back(Describe(path, answer, over));
  plan.complete = !over.empty();
  plan.settled = plan.complete ? 1 : 0;
  return plan;
}

}  // namespace capsweep::plan
