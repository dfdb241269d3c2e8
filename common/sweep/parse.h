// YAML -> SweepSpec. The file format is documented in docs/sweep-file.md.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/sweep/spec.h"

namespace capsweep {

// InvalidArgument with every error of the file, a line each: "FILE:LINE: FIELD: what is wrong with VALUE; the fix".
// Reads nothing but `text`; bounded in time and memory for any input (aliases are refused, 1 MiB cap).
absl::StatusOr<SweepSpec> ParseSweep(std::string_view text, const std::string& file_name);

// ReadFile, ParseSweep and LoadDataFiles.
absl::StatusOr<SweepSpec> LoadSweep(const std::string& path);

}  // namespace capsweep
