// spdlog to standard error: text for people, level from --log-level or CAPSWEEP_LOG (trace…error, off).
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace capsweep {

// Call once in main. `program` stands in every line.
absl::Status InitLogging(std::string_view program, std::string_view level = "");

// For sources that cannot include spdlog: LibTorch 2.x brings an {fmt} of its own.
void LogWarning(const std::string& text);

}  // namespace capsweep
