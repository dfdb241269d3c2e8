// One value of the sweep file -> the values of an axis.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/sweep/errors.h"
#include "common/sweep/fields.h"
#include "common/sweep/spec.h"
#include "common/sweep/yaml_tree.h"

namespace capsweep::sweep {

// More values than this in one axis are refused before they are made.
inline constexpr int64_t kMaxAxisValues = 1'000'000;

// Reads every form an axis has: a value, an expression, a list, {from, to, step}, {log2: [low, high]} and
// {geometric: {from, to, count}}. Values are of the field's type, in its range and differ from each other; whatever is
// not becomes an error and nothing is returned.
std::optional<Axis> ReadAxis(int field_id, const YamlNode& node, Errors& errors);

// The same forms for seeds, without expressions: whole numbers from 0 to 2^53.
std::optional<std::vector<uint64_t>> ReadSeeds(const YamlNode& node, Errors& errors);

// A whole number from low to high.
std::optional<int64_t> ReadWhole(std::string_view field, const YamlNode& node, int64_t low, int64_t high,
                                 Errors& errors);

}  // namespace capsweep::sweep
