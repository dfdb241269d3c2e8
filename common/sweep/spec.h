// The parsed, validated sweep file. Parse once here; plan enumerates it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

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

// Invariant (established by ParseSweep): every field known, every value of the right type and in range on its own,
// expressions parse, know all their names and have no cycle.
struct SweepSpec {
  std::string name;
  std::vector<Axis> axes;       // in canonical field order
  std::vector<uint64_t> seeds;  // from repeats or seeds
  std::string where;            // "" = no constraint
  int where_line = 0;
  std::string measure = "grid";
  SweepLimits limits;
  std::string text;       // the file as given
  std::string file_name;  // for messages
};

}  // namespace capsweep
