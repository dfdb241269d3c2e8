// The figures that can be drawn of a sweep: one table, one maker each. A maker is pure: what was read in, a chart out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/analysis/analysis.h"
#include "cli/figures/chart.h"
#include "ecm/capacity.h"
#include "ecm/report.h"

namespace capsweep::figures {

// Evaluations of one point, as the table `curves` holds them.
struct LearningCurve {
  ecm::Measurement point;
  struct Evaluation {
    double epoch = 0, items = 0;
  };
  std::vector<Evaluation> evaluations;
};

// One row of v_capacity where both were measured.
struct LibraryPair {
  double heads = 0, width = 0, seq_len = 0;
  bool freeze_mlp = false;
  double mac = 0, mls = 0;  // items
};

// Losses of one point, as the table `curves` holds them.
struct LossCurve {
  std::string architecture;
  double tokens = 0;  // of its library
  struct Evaluation {
    double step = 0, train = 0, heldout = 0;  // nats per target
  };
  std::vector<Evaluation> evaluations;
};

// A fit without the largest number of heads, and what it says of the rows that were kept out.
struct HeldOut {
  ecm::GroupFit fit;  // of the other rows; `error` set if there is none
  double heads = 0;   // kept out
  struct Row {
    ecm::Row row;
    double predicted = 0;
    double low = kNothing, high = kNothing;  // 95 % prediction interval; NaN without bootstrap
  };
  std::vector<Row> rows;
};

// What makers read. Only what a kind needs has to be there (FigureKind::needs).
struct FigureData {
  std::string sweep, measure;
  ecm::CapacityKind capacity = ecm::CapacityKind::kItemsCorr;
  std::vector<ecm::Measurement> measurements;
  std::vector<ecm::Group> groups;  // by `capacity`; MainGroups of those of all measurements
  size_t repeated_recipes = 0;     // how many MainGroups left out
  ecm::FitReport fit;              // of `groups`
  std::vector<HeldOut> held_out;   // one for each group
  std::vector<LearningCurve> curves;
  std::vector<LibraryPair> libraries;
  std::string libraries_from;  // the sweep that measured them, if not this one
  std::vector<cli::Topic> topics;
  std::optional<cli::BitsAnalysis> bits;
  std::optional<cli::AssocAnalysis> assoc;
  std::vector<LossCurve> losses;
  std::optional<cli::MinnetAnalysis> minnet;
  std::optional<cli::FamiliesAnalysis> families;
  std::optional<cli::AdaptiveAnalysis> adaptive;
  int64_t seq_len = 0;  // where a figure shows one sequence length; 0: the largest
};

enum Need : unsigned {
  kNoNeed = 0,
  kNeedFit = 1,
  kNeedHeldOut = 2,
  kNeedCurves = 4,
  kNeedLibraries = 8,
  kNeedAnalyses = 16,  // of bits, least networks and families
  kNeedLosses = 32,    // the analysis of associative memories, and its curves
  kNeedRounds = 64,    // those of an adaptive sweep
};

struct FigureKind {
  const char* name;   // of --kind
  const char* title;  // as a heading
  const char* shows;  // one sentence
  unsigned needs;
  cli::Topic topic;  // a report draws the kinds of the topics that a sweep has
  // FailedPrecondition: the sweep cannot support it, and why. InvalidArgument: a sequence length it does not have.
  absl::StatusOr<Chart> (*make)(const FigureData&);
};

// All of them, in the order of a report.
const std::vector<FigureKind>& FigureKinds();
// nullptr for an unknown name.
const FigureKind* FindFigure(const std::string& name);

absl::StatusOr<Chart> CapacityFigure(const FigureData& data);
absl::StatusOr<Chart> PanelsFigure(const FigureData& data);
absl::StatusOr<Chart> HeadsFigure(const FigureData& data);
absl::StatusOr<Chart> FreezeFigure(const FigureData& data);
absl::StatusOr<Chart> SlopesFigure(const FigureData& data);
absl::StatusOr<Chart> HeldOutFigure(const FigureData& data);
absl::StatusOr<Chart> ResidualsFigure(const FigureData& data);
absl::StatusOr<Chart> LibrariesFigure(const FigureData& data);
absl::StatusOr<Chart> BatchFigure(const FigureData& data);
absl::StatusOr<Chart> BudgetFigure(const FigureData& data);
absl::StatusOr<Chart> CurvesFigure(const FigureData& data);
absl::StatusOr<Chart> ParametersFigure(const FigureData& data);
absl::StatusOr<Chart> MemoryFigure(const FigureData& data);
absl::StatusOr<Chart> PredictionFigure(const FigureData& data);
absl::StatusOr<Chart> ChosenFigure(const FigureData& data);
absl::StatusOr<Chart> FamiliesFigure(const FigureData& data);
absl::StatusOr<Chart> BitsFigure(const FigureData& data);
absl::StatusOr<Chart> LossesFigure(const FigureData& data);
absl::StatusOr<Chart> BalanceFigure(const FigureData& data);
absl::StatusOr<Chart> DistancesFigure(const FigureData& data);
absl::StatusOr<Chart> MinnetFigure(const FigureData& data);

// Without the recipes that only repeat some architectures of another with another batch size: they are a study of the
// batch size, which BatchFigure shows from the measurements.
std::vector<ecm::Group> MainGroups(const std::vector<ecm::Group>& groups);

// What FigureData::held_out holds: fits of every group without its largest number of heads, and predictions there. The
// form is chosen on the rows that stay. The interval is of the parameters' bootstrap draws times the relative residuals
// of those rows.
std::vector<HeldOut> HoldOutHeads(const std::vector<ecm::Group>& groups, const ecm::FitSettings& settings);

// The points whose curves are shown: of every group the first seed of each width, at the largest number of heads and
// one sequence length (FigureData::seq_len), where a cell was measured in several ways the first in the data. Indexes
// into `measurements`.
std::vector<size_t> ChooseCurvePoints(const std::vector<ecm::Measurement>& measurements, int64_t seq_len);

// The points whose losses are shown: of up to six architectures the smallest library, the critical one (a middle one
// where there is none) and the largest, the first of each in `rows`. Indexes into `rows`.
std::vector<size_t> ChooseLossPoints(const cli::AssocAnalysis& analysis, const std::vector<cli::ResultRow>& rows);

}  // namespace capsweep::figures
