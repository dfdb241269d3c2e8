// (sweep whose measure searches, results so far) -> points wanted now, and what was found. Pure: the same inputs give
// the same answer, so that nothing about a search has to be remembered anywhere but in the results.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/sweep/spec.h"
#include "coordinator/plan/point_maker.h"
#include "coordinator/plan/rules.h"

namespace capsweep::plan {

// What is known of a point that was asked for.
struct Outcome {
  enum class State { kOpen, kDone, kFailed };
  State state = State::kOpen;
  int64_t items_mem = 0;
  double items_corr = 0;
  std::string failure;  // why it failed
  double seconds = 0;   // that it took
};
using Outcomes = absl::flat_hash_map<std::string, Outcome>;  // by point_key: every point the sweep has asked for

enum class CellState { kSearching, kSettled, kStopped };  // stopped: ended without settling
std::string_view ToWord(CellState state);

// One architecture (with its recipe): the points of the grid without the searched field and, but for minnet, the seeds.
struct Finding {
  int64_t cell = 0;       // number in the order of the file
  std::string point_key;  // of a run of it; of a minnet that found a size, of the run that showed it
  CellState state = CellState::kSearching;
  std::string reason;  // why it stopped; which runs failed
  int64_t probes = 0;  // runs that decided
  std::optional<double> mac;
  bool mac_unsettled = false;
  std::optional<double> mls;    // mean over the seeds; a lower bound where the search stopped
  std::optional<int64_t> size;  // of minnet: the smallest that memorized
  // Of adaptive, whose one cell is its prediction.
  std::string target;  // what is predicted
  int64_t rounds = 0;  // that are over
  std::optional<double> seconds, predicted, low, high;
};

struct SearchPlan {
  std::vector<PointSpec> wanted;  // not asked for before, each once
  std::vector<Finding> cells;
  int64_t settled = 0;    // cells that search no longer
  bool complete = false;  // all of them
};

// Not thread-safe.
class Search {
 public:
  // Precondition: the measure is mac, mls or minnet. InvalidArgument as EnumerateGrid, for the grid of the first runs.
  static absl::StatusOr<std::unique_ptr<Search>> Create(SweepSpec sweep);

  // Wants what the rules need next and, for workers that would otherwise wait, what they may need after it: both
  // outcomes of every open run are followed, so that k workers cut a bracket into about k + 1 parts. What is found does
  // not depend on `workers` (how many points could run at once), nor on the order in which results arrive.
  SearchPlan Plan(const Outcomes& known, int64_t workers);

 private:
  // A point that a search can ask for.
  struct Made {
    std::string key, impossible;
    int64_t dataset_size = 0;
  };
  // One bisection: of a cell with one seed.
  struct Bisection {
    size_t cell = 0;
    int64_t number = 0;  // of the sweep's product
    int64_t start = 0;
  };
  struct Cell {
    std::vector<int64_t> numbers;  // one per seed
    int64_t mac_start = 0;
  };
  using Assumed = std::vector<std::pair<Probe, bool>>;
  struct Round;

  explicit Search(SweepSpec sweep) : sweep_(std::move(sweep)) {}
  absl::Status FindCells();
  PointSpec MakePoint(int64_t number, const Probe& probe, std::string& impossible);
  const Made& Make(int64_t number, const Probe& probe);
  Ruling Rule(const Bisection& bisection, const Outcomes& known, const Assumed& assumed, Finding* finding);
  LibraryRuns Look(const Cell& cell, int64_t size, const Outcomes& known, Finding* finding);
  void PlanMac(const Cell& cell, Round& round, Finding& finding);
  void Conclude(const Bisection& bisection, const Ruling& ruling, Finding& finding);
  void Speculate(Round& round, int64_t workers);
  void Want(int64_t number, const Probe& probe, Round& round);

  const SweepSpec sweep_;
  std::optional<PointMaker> maker_;
  int knob_ = -1;  // field that a probe's size sets
  std::vector<Cell> cells_;
  std::vector<Bisection> bisections_;
  absl::flat_hash_map<std::tuple<int64_t, int64_t, int64_t>, Made> made_;
};

// The points that a sweep asks for when it is submitted: its grid, or the first runs of its search. As EnumerateGrid,
// and as Adaptive::Create.
absl::Status EnumerateSweep(const SweepSpec& sweep, const std::function<absl::Status(const PointSpec&)>& visit);

}  // namespace capsweep::plan
