// spdlog to standard error: text for people or JSON lines for machines, level from --log-level or CAPSWEEP_LOG
// (trace…error, off).
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace capsweep {

// Call once in main. `program` stands in every line. `format`: text or json.
absl::Status InitLogging(std::string_view program, std::string_view level = "", std::string_view format = "text");

// A message with fields: "attempt failed point=12 attempt=2" in text, keys of their own in JSON. To be logged as it is,
// as in spdlog::warn("{}", WithFields("attempt failed", {{"point", "12"}})).
std::string WithFields(std::string_view message,
                       std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

// For sources that cannot include spdlog: LibTorch 2.x brings an {fmt} of its own.
void LogWarning(const std::string& text);

}  // namespace capsweep
