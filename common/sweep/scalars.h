// YAML scalars -> typed values.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/sweep/fields.h"
#include "common/sweep/yaml_tree.h"

namespace capsweep::sweep {

// Numbers: digits with an optional sign, point and exponent; "_" may stand between digits. Errors say what is wrong
// with the value and how to mend it.
absl::StatusOr<double> ReadReal(const YamlNode& node);

// The same, but whole and at most 2^53 (3, 3.0 and 3e0 are the same number).
absl::StatusOr<int64_t> ReadInteger(const YamlNode& node);

// A value of the type of the field and in its range; "split" for head_dim.
absl::StatusOr<Scalar> ReadScalar(int field_id, const YamlNode& node);

// What a node holds, for messages: "two", a list, a mapping, nothing.
std::string Describe(const YamlNode& node);

}  // namespace capsweep::sweep
