#include "common/logging.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdlib>
#include <string>

#include "common/text.h"

namespace capsweep {

absl::Status InitLogging(std::string_view program, std::string_view level) {
  std::string wanted(level);
  if (wanted.empty()) {
    const char* env = std::getenv("CAPSWEEP_LOG");
    wanted = env != nullptr && *env != '\0' ? env : "info";
  }
  constexpr std::array<std::string_view, 6> kLevels = {"trace", "debug", "info", "warning", "error", "off"};
  bool known = false;
  for (std::string_view name : kLevels) known = known || name == wanted;
  if (!known) {
    return absl::InvalidArgumentError(
        StrCat("log level '", wanted, "' is unknown; use trace, debug, info, warning, error or off"));
  }
  auto logger = spdlog::stderr_color_mt(std::string(program));
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(wanted));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %n %^%l%$ %v");
  return absl::OkStatus();
}

void LogWarning(const std::string& text) {
  spdlog::warn("{}", text);
}

}  // namespace capsweep
