#include "worker/agent/trainer_lines.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "common/json_number.h"
#include "common/json_scan.h"
#include "common/json_text.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::agent {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxNameBytes = 128;
constexpr int64_t kMaxSlots = 65536;

std::string Line(const Json& body) {
  return body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// The coordinator refuses a whole call for one of these being long or having control characters.
std::string Name(const Json& line, const char* field) {
  std::string text = line.value(field, "");
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c > '~'; }, '?');
  return text.substr(0, kMaxNameBytes);
}

// A field that may be absent, and then leaves `out` alone.
absl::Status ReadField(const Json& line, const char* field, int64_t& out) {
  if (line.contains(field) && !ReadInteger(line.at(field), out)) {
    return absl::InvalidArgumentError(StrCat(field, " is no whole number, or too large"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainerMessage> ReadHello(const Json& line) {
  Hello hello;
  int64_t memory_bytes = 0, slots = 1;
  if (!line.contains("protocol")) return absl::InvalidArgumentError("protocol is missing");
  RETURN_IF_ERROR(ReadField(line, "protocol", hello.protocol));
  RETURN_IF_ERROR(ReadField(line, "memory_bytes", memory_bytes));
  RETURN_IF_ERROR(ReadField(line, "slots", slots));
  hello.version = Name(line, "version");
  hello.torch_version = Name(line, "torch_version");
  hello.device_kind = Name(line, "device_kind");
  hello.device_name = Name(line, "device_name");
  const Json backends = line.value("backends", Json::array());
  if (!backends.empty()) hello.backend = backends.front().get<std::string>();
  hello.memory_bytes = std::max<int64_t>(0, memory_bytes);
  hello.slots = static_cast<int32_t>(std::clamp<int64_t>(slots, 1, kMaxSlots));
  return hello;
}

Progress ReadProgress(const Json& line) {
  const double budget = line.value("budget_steps", 0.0);
  const double step = line.value("step", 0.0);
  return {line.at("attempt").get<std::string>(), budget > 0 ? std::clamp(step / budget, 0.0, 1.0) : 0.0};
}

TrainerMessage ReadResult(const Json& line) {
  std::string attempt = line.at("attempt").get<std::string>();
  absl::StatusOr<PointResult> result = ResultFromParsed(line.at("result"));
  if (!result.ok()) {
    return Failed{std::move(attempt), FailureCause::kInternal,
                  StrCat("the trainer's result cannot be read: ", result.status().message()), 1};
  }
  return Finished{std::move(attempt), std::make_shared<const PointResult>(std::move(*result))};
}

absl::StatusOr<TrainerMessage> ReadFailed(const Json& line) {
  Failed failed;
  int64_t pack_size = 1;
  RETURN_IF_ERROR(ReadField(line, "pack_size", pack_size));
  failed.attempt = line.at("attempt").get<std::string>();
  const std::string cause = line.value("cause", "internal");
  failed.message = line.value("message", "");
  if (!FromWord(cause, failed.cause)) failed.message = StrCat(cause, ": ", failed.message);
  failed.pack_size = static_cast<int32_t>(std::clamp<int64_t>(pack_size, 1, kMaxSlots));
  return failed;
}

absl::StatusOr<TrainerMessage> Read(const Json& line) {
  const std::string type = line.at("type").get<std::string>();
  if (type == "hello") return ReadHello(line);
  if (type == "started") return Started{line.at("attempt").get<std::string>()};
  if (type == "progress") return ReadProgress(line);
  if (type == "result") return ReadResult(line);
  if (type == "failed") return ReadFailed(line);
  if (type == "cancelled") return Cancelled{line.at("attempt").get<std::string>()};
  if (type == "stopped") return Stopped{line.at("attempt").get<std::string>(), line.value("checkpoint", "")};
  if (type == "error") return Complaint{line.value("message", "")};
  return absl::InvalidArgumentError(StrCat("unknown type '", type, "'"));
}

// The two kinds that every point has, as our trainers write them.
std::optional<TrainerMessage> Scan(std::string_view line) {
  JsonScan in(line);
  Started started;
  int64_t step = 0;
  if (in.Skip(R"({"type":"started","attempt":)")) {
    const bool ok = in.Read(started.attempt) && in.Skip(R"(,"resumed_from_step":)") && in.Read(step) && in.Close();
    return ok && in.AtEnd() ? std::optional<TrainerMessage>(std::move(started)) : std::nullopt;
  }
  if (!in.Skip(R"({"type":"result","attempt":)")) return std::nullopt;
  std::string attempt;
  auto result = std::make_shared<PointResult>();
  if (!in.Read(attempt) || !in.Skip(R"(,"result":)") || !ScanResult(in, *result) || !in.Close() || !in.AtEnd()) {
    return std::nullopt;
  }
  return Finished{std::move(attempt), std::move(result)};
}

}  // namespace

absl::StatusOr<TrainerMessage> ParseTrainerLine(std::string_view line) {
  if (std::optional<TrainerMessage> message = Scan(line); message.has_value()) return *std::move(message);
  try {
    return Read(Json::parse(line));
  } catch (const Json::exception& e) {
    return absl::InvalidArgumentError(e.what());
  }
}

std::string TrainLine(std::string_view attempt, const PointSpec& point, std::string_view checkpoint_path) {
  std::string line = R"({"type":"train","attempt":)";
  AppendJsonText(line, attempt);
  if (!checkpoint_path.empty()) {
    AppendJsonName(line, "checkpoint");
    AppendJsonText(line, checkpoint_path);
  }
  AppendJsonName(line, "point");
  StrAppend(&line, PointToJson(point), "}\n");
  return line;
}

std::string CancelLine(std::string_view attempt) {
  return Line({{"type", "cancel"}, {"attempt", attempt}});
}

std::string StopLine(std::string_view folder) {
  return Line({{"type", "stop"}, {"folder", folder}});
}

}  // namespace capsweep::agent
