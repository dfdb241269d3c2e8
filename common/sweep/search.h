// The measure of a sweep file and its settings: `measure` and `search`.
#pragma once

#include <string_view>
#include <vector>

#include "common/sweep/errors.h"
#include "common/sweep/spec.h"
#include "common/sweep/yaml_tree.h"

namespace capsweep::sweep {

// Sets measure and measure_line. Errors: an unknown measure, one that is not available.
void ReadMeasure(const YamlNode& node, SweepSpec& spec, Errors& errors);

// Reads the mapping `search` for the measure that the spec has by now. Errors: settings of another measure, unknown
// names, wrong types, values out of range, a setting that the measure needs and the mapping lacks. `node` is null where
// the file has no such field.
void ReadSearch(const YamlNode* node, SweepSpec& spec, Errors& errors);

// Fields that the search itself sets: an error each that the file gives, with its line.
void CheckSearchedFields(const SweepSpec& spec, Errors& errors);

}  // namespace capsweep::sweep
