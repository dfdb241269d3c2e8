// The parsed, validated sweep file. Parse once here; plan enumerates it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data_file.h"
#include "common/point.h"

namespace capsweep {

// A value an axis can take.
using Scalar = std::variant<bool, int64_t, double, std::string>;

// One axis: a field with the values it takes in file order (a scalar is an axis of one value), or an expression.
struct Axis {
  std::string field;           // as in PointSpec ("heads"), plus "head_dim" which may hold the word "split"
  int line = 0;                // in the sweep file, for messages
  std::vector<Scalar> values;  // empty if expression is set
  std::string expression;      // text after '=', "" if none
};

struct SweepLimits {
  int64_t max_failures = 20;  // failed points before the sweep stops
  int64_t attempts = 3;       // reported failures before a point has failed
  int64_t max_points = 2'000'000;
};

// Settings of a measure that searches: which points are asked for depends on results. docs/sweep-file.md, "search".
struct SearchSpec {
  int line = 0;  // 0 = the file leaves them out
  // mac, mls: the first library size; 0 = worked out from the parameters of each architecture. adaptive: points before
  // the first fit; 0 = by the budget.
  int64_t start = 0;
  int64_t max_doublings = 10;  // mac: of the library after the first
  // mls
  int64_t restarts = 3;
  double tolerance = 0.03;
  int64_t largest = 100'000'000;
  // minnet: the size that is made as small as possible, over from, from + step, ... up to `to`.
  std::string knob;
  int64_t from = 0, to = 0, step = 1;
  int64_t trials = 10;
  double lr_low = 1e-4, lr_high = 3e-2;
  double warmup_low = 0, warmup_high = 0.2;
  // adaptive: the prediction that is to become surer, a capacity (heads, width, seq_len) or that of the smallest model
  // for so many items (design_items, seq_len); then what may be spent. 0 = not given.
  int64_t target_heads = 0, target_width = 0, target_seq_len = 0, design_items = 0;
  int target_line = 0;
  int64_t budget_points = 0;
  double budget_seconds = 0;
  int64_t round = 0;                   // points; 0 = by the budget
  double stop_at = 0;                  // half of the interval over the prediction
  std::string form = "log_quadratic";  // that predicts and chooses
};

// A library of the user's own, as it was when the sweep was submitted.
struct SweepDataFile {
  std::string path;  // absolute
  std::shared_ptr<const DataFile> file;
  std::map<Mode, absl::StatusOr<DataShape>> shapes;
};

// Invariant (established by ParseSweep): every field known, every value of the right type and in range on its own,
// expressions parse, know all their names and have no cycle.
struct SweepSpec {
  std::string name;
  std::vector<Axis> axes;       // in canonical field order
  std::vector<uint64_t> seeds;  // from repeats or seeds
  std::string where;            // "" = no constraint
  int where_line = 0;
  std::string measure = "grid";
  int measure_line = 0;
  SearchSpec search;
  SweepLimits limits;
  // Named additions to the grid: each a whole sweep of its own, the base with fields, seeds or `where` replaced. `name`
  // is that of the study; they have no studies. Only of measures that do not search.
  std::vector<SweepSpec> studies;
  std::string text;       // the file as given
  std::string file_name;  // for messages
  std::string folder;     // of the file, absolute; "" = unknown
  // By the text in the axis `file`; empty until LoadDataFiles has read them.
  std::map<std::string, SweepDataFile> data_files;
};

// Whether the points of a sweep with this measure depend on results, so that their number is not known beforehand.
inline bool MeasureSearches(std::string_view measure) {
  return measure == "mac" || measure == "mls" || measure == "minnet" || measure == "adaptive";
}

}  // namespace capsweep
