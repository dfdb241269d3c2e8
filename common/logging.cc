#include "common/logging.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/text.h"

namespace capsweep {
namespace {

// Between a message and its fields, and between a field's name and value; both are taken out of what is logged.
constexpr char kField = '\x1f';
constexpr char kValue = '\x1e';
// Set by InitLogging: programs without it (tests) have spdlog's own formatter, which knows no fields.
std::atomic<bool> formatter_knows_fields{false};

std::string Timestamp(std::chrono::system_clock::time_point time, bool utc) {
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
  std::tm parts{};
  utc ? gmtime_r(&seconds, &parts) : localtime_r(&seconds, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char fraction[8];
  std::snprintf(fraction, sizeof fraction, ".%03d", static_cast<int>(millis % 1000));
  return StrCat(std::string_view(text, size), fraction, utc ? "Z" : "");
}

// Lines of one record each, whatever is in it: others' texts are quoted in messages.
std::string OneLine(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
      out.push_back(' ');
    } else if (c == '\n') {
      out += "\n    ";  // what follows is seen to belong to the line above
    } else {
      out.push_back(c);
    }
  }
  return out;
}

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(bool json) : json_(json) {}
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<LineFormatter>(json_); }

  void format(const spdlog::details::log_msg& record, spdlog::memory_buf_t& out) override {
    std::string_view rest(record.payload.data(), record.payload.size());
    const size_t end = std::min(rest.find(kField), rest.size());
    const std::string_view message = rest.substr(0, end);
    rest.remove_prefix(end);
    const std::string_view level(spdlog::level::to_string_view(record.level).data());
    const std::string_view program(record.logger_name.data(), record.logger_name.size());
    nlohmann::ordered_json object;
    std::string line;
    if (json_) {
      object = {{"time", Timestamp(record.time, true)},
                {"level", level},
                {"program", program},
                {"message", std::string(message)}};
    } else {
      line = StrCat(Timestamp(record.time, false), " ", program, " ");
      record.color_range_start = line.size();
      line += level;
      record.color_range_end = line.size();
      StrAppend(&line, " ", OneLine(message));
    }
    while (!rest.empty()) {
      rest.remove_prefix(1);
      const size_t size = std::min(rest.find(kField), rest.size());
      const std::string_view field = rest.substr(0, size);
      rest.remove_prefix(size);
      const size_t split = std::min(field.find(kValue), field.size());
      const std::string name(field.substr(0, split)), value(field.substr(std::min(split + 1, field.size())));
      if (json_) {
        object[name] = value;
      } else {
        StrAppend(&line, " ", name, "=", OneLine(value));
      }
    }
    if (json_) line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    line.push_back('\n');
    out.append(line.data(), line.data() + line.size());
  }

 private:
  const bool json_;
};

void AppendPlain(std::string& out, std::string_view text) {
  for (const char c : text) out.push_back(c == kField || c == kValue ? ' ' : c);
}

}  // namespace

std::string WithFields(std::string_view message,
                       std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
  std::string out;
  AppendPlain(out, message);
  for (const auto& [name, value] : fields) {
    out.push_back(formatter_knows_fields ? kField : ' ');
    AppendPlain(out, name);
    out.push_back(formatter_knows_fields ? kValue : '=');
    AppendPlain(out, value);
  }
  return out;
}

absl::Status InitLogging(std::string_view program, std::string_view level, std::string_view format) {
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
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(StrCat("--log-format '", format, "' is unknown; use text or json"));
  }
  auto logger = spdlog::stderr_color_mt(std::string(program));
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(wanted));
  formatter_knows_fields = true;
  spdlog::set_formatter(std::make_unique<LineFormatter>(format == "json"));
  return absl::OkStatus();
}

void LogWarning(const std::string& text) {
  spdlog::warn("{}", text);
}

}  // namespace capsweep
