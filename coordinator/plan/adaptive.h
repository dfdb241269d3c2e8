// measure: adaptive. The grid of the sweep is what may be trained; rounds of points are chosen so that one prediction
// becomes surer, until the budget is spent or the prediction is sure enough. Pure: this owns rounds and budget, and
// asks an adviser (a fit, made by the caller) what to train next, which must be a pure function of the question too.
// The same results then give the same points, in whatever order they came and however often everything was restarted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/sweep/spec.h"
#include "coordinator/plan/search.h"

namespace capsweep::plan {

// What an adviser is asked after every round.
struct AdaptiveQuestion {
  // One heads, width and seq_len of the grid, with the library and budget that follow from them.
  struct Cell {
    const PointSpec* point = nullptr;  // with its first seed
    double cost = 0;                   // of one more repeat, in units of the budget: seconds, or 1
    int left = 0;                      // repeats not asked for yet; 0 also where the target itself would be trained
  };
  struct Sample {
    int cell = 0;
    uint64_t seed = 0;
    int64_t items_mem = 0;
    double items_corr = 0;
  };
  const SearchSpec* search = nullptr;  // names the prediction
  std::vector<Cell> cells;
  std::vector<Sample> samples;  // in the order in which they were asked for
  double budget = 0;            // what is left, in units of cost
  int points = 0;               // most that a round takes
};

struct AdaptiveAnswer {
  std::string unfitted;  // not empty: nothing can be fitted to the samples, and why; nothing below is set then
  int64_t heads = 0, width = 0, seq_len = 0;  // of the prediction
  double predicted = 0, low = 0, high = 0;    // items, with its 95 % interval
  std::vector<int> order;                     // of cells, a repeat each, those first that help most; within `budget`
};

using Adviser = std::function<absl::StatusOr<AdaptiveAnswer>(const AdaptiveQuestion&)>;

// Not thread-safe. Remembers the answers to the rounds so far, so that a round is asked once; what it remembers changes
// no plan.
class Adaptive {
 public:
  // Precondition: sweep.measure is "adaptive". InvalidArgument, with line, field, value and fix: as EnumerateGrid; a
  // grid of several recipes, of too few cells, or too far from the target; a budget or a start that does not fit it.
  static absl::StatusOr<std::unique_ptr<Adaptive>> Create(SweepSpec sweep);

  // A round is chosen when all points of those before are done or have failed. Errors are the adviser's.
  absl::StatusOr<SearchPlan> Plan(const Outcomes& known, const Adviser& advise);

  int64_t start() const { return static_cast<int64_t>(start_.size()); }  // points of the first round
  double start_seconds() const;                                          // estimated, of one CPU core
  // Points of a later round; 0 = as many as take round_seconds.
  int64_t round() const { return round_points_; }
  double round_seconds() const { return round_points_ > 0 ? 0 : round_cost_; }

 private:
  struct Cell {
    std::vector<PointSpec> points;  // one per seed
    std::vector<std::string> keys;
    double estimate = 0;  // seconds of one repeat
    bool target = false;
  };
  struct Repeat {
    int cell = 0, repeat = 0;
  };
  // What the rounds so far have come to.
  struct Path {
    std::vector<int> asked;  // repeats by cell
    std::vector<AdaptiveQuestion::Sample> samples;
    std::vector<double> measured;  // seconds by cell, summed over `done`
    std::vector<int> done;
    int64_t points = 0, failed = 0, rounds = 0;
    double seconds = 0, estimated = 0;  // of those done
    int narrow = 0;                     // successive rounds within stop_at
    std::string failure;                // of one that failed
  };
  struct Decided {
    std::string seen;  // the results it was decided on
    AdaptiveAnswer answer;
  };

  explicit Adaptive(SweepSpec sweep) : sweep_(std::move(sweep)) {}
  absl::Status ReadGrid();
  int64_t FewestCells() const;
  absl::Status CheckTarget() const;
  absl::Status CheckBudget() const;
  absl::Status ChooseRounds();
  Path Nothing() const;
  bool by_seconds() const { return sweep_.search.budget_seconds > 0; }
  double CostOf(const Path& path, size_t cell) const;
  double LeftOf(const Path& path) const;
  int64_t PointsOf(const Path& path) const;
  std::vector<Repeat> Spread(const Path& path, int64_t points, double budget) const;
  AdaptiveQuestion Question(const Path& path) const;
  std::vector<Repeat> NextRound(const Path& path, const AdaptiveAnswer& answer) const;
  bool Absorb(const std::vector<Repeat>& round, const Outcomes& known, Path& path, std::string& seen,
              std::vector<PointSpec>& wanted) const;
  std::string WhyOver(const Path& path, const AdaptiveAnswer& answer, const std::vector<Repeat>& next) const;
  Finding Describe(const Path& path, const AdaptiveAnswer* answer, const std::string& over) const;

  const SweepSpec sweep_;
  std::vector<Cell> cells_;
  std::vector<std::vector<double>> places_;  // of cells, for distances: each coordinate from 0 to 1
  int64_t fewest_ = 0;                       // cells that a fit needs
  std::vector<Repeat> start_;
  int64_t round_points_ = 0;
  double round_cost_ = 0;
  std::vector<Decided> decided_;  // by round
};

// The file's word for the prediction: "heads 5, width 64, seq_len 32" or "the smallest model for 1000 items of seq_len
// 32".
std::string TargetText(const SearchSpec& search);

}  // namespace capsweep::plan
