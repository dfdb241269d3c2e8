#include "worker/trainer/protocol.h"

#include <nlohmann/json.hpp>

#include "common/build_info.h"
#include "common/json_scan.h"
#include "common/json_text.h"
#include "common/text.h"

namespace capsweep::trainer {
namespace {

using Json = nlohmann::ordered_json;

// Messages may quote input that is not UTF-8; a report must never fail for that.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json Report(std::string_view type, std::string_view attempt) {
  return {{"type", type}, {"attempt", attempt}};
}

// Reads `name` as text into `out`; `required` ones must be there and not empty.
absl::Status ReadText(const Json& json, const char* name, bool required, std::string& out) {
  const auto field = json.find(name);
  if (field == json.end()) {
    return required ? absl::InvalidArgumentError(StrCat("field '", name, "' is missing")) : absl::OkStatus();
  }
  if (!field->is_string() || (required && field->get_ref<const std::string&>().empty())) {
    return absl::InvalidArgumentError(
        StrCat("field '", name, "' must be a text", required ? " that is not empty" : ""));
  }
  out = field->get<std::string>();
  return absl::OkStatus();
}

void ReadPoint(const Json& json, Command& command) {
  absl::StatusOr<PointSpec> point = PointFromParsed(json);
  command.bad_point = point.ok() ? ValidatePoint(*point) : point.status();
  if (command.bad_point.ok()) {
    command.point = *std::move(point);
  }
}

absl::Status ReadTrain(const Json& json, Command& command) {
  if (absl::Status read = ReadText(json, "attempt", true, command.attempt); !read.ok()) {
    return read;
  }
  if (absl::Status read = ReadText(json, "checkpoint", false, command.checkpoint); !read.ok()) {
    return read;
  }
  const auto point = json.find("point");
  if (point == json.end() || !point->is_object()) {
    return absl::InvalidArgumentError("field 'point' must be an object");
  }
  ReadPoint(*point, command);
  return absl::OkStatus();
}

// A train line as our agents write it.
bool ScanTrain(std::string_view line, Command& command) {
  JsonScan in(line);
  return in.Skip(R"({"type":"train","attempt":)") && in.Read(command.attempt) && !command.attempt.empty() &&
         (!in.Name("checkpoint") || in.Read(command.checkpoint)) && in.Name("point") && ScanPoint(in, command.point) &&
         in.Close() && in.AtEnd();
}

}  // namespace

absl::StatusOr<Command> ParseCommand(std::string_view line) {
  if (Command command; ScanTrain(line, command)) {
    command.bad_point = ValidatePoint(command.point);
    return command;
  }
  const Json json = Json::parse(line, /*callback=*/nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::InvalidArgumentError("the line is not a JSON object");
  }
  Command command;
  if (!json.contains("type")) {
    ReadPoint(json, command);
    return command;
  }
  std::string type;
  absl::Status read = ReadText(json, "type", true, type);
  if (read.ok() && type == "train") {
    read = ReadTrain(json, command);
  } else if (read.ok() && type == "cancel") {
    command.kind = Command::Kind::kCancel;
    read = ReadText(json, "attempt", true, command.attempt);
  } else if (read.ok() && type == "stop") {
    command.kind = Command::Kind::kStop;
    read = ReadText(json, "folder", true, command.folder);
  } else if (read.ok()) {
    read = absl::InvalidArgumentError(StrCat("type '", type, "' is unknown; use train, cancel or stop"));
  }
  if (!read.ok()) {
    return read;
  }
  return command;
}

std::string HelloLine(const DeviceFacts& facts, std::string_view device, const std::vector<std::string>& backends,
                      int slots) {
  return Dump({{"type", "hello"},
               {"protocol", kProtocol},
               {"version", kVersion},
               {"torch_version", facts.torch_version},
               {"blas", facts.blas},
               {"backends", backends},
               {"device", device},
               {"device_kind", facts.kind},
               {"device_name", facts.name},
               {"memory_bytes", facts.memory_bytes},
               {"slots", slots},
               {"threads", facts.threads}});
}

std::string StartedLine(std::string_view attempt, int64_t resumed_from_step) {
  std::string line = R"({"type":"started","attempt":)";
  AppendJsonText(line, attempt);
  StrAppend(&line, R"(,"resumed_from_step":)", resumed_from_step, "}");
  return line;
}

std::string ProgressLine(std::string_view attempt, const SlotView& view) {
  Json json = Report("progress", attempt);
  json["step"] = view.step;
  json["budget_steps"] = view.budget_steps;
  json["epoch"] = view.epoch;
  json["items_mem"] = view.last.items_mem;
  json["train_loss"] = view.train_loss;
  return Dump(json);
}

std::string ResultLine(std::string_view attempt, const PointResult& result) {
  // ResultToJson is the one writer of results; its text goes in as it is.
  std::string line = R"({"type":"result","attempt":)";
  AppendJsonText(line, attempt);
  StrAppend(&line, R"(,"result":)", ResultToJson(result), "}");
  return line;
}

std::string FailedLine(std::string_view attempt, FailureCause cause, std::string_view message, int pack_size) {
  Json json = Report("failed", attempt);
  json["cause"] = ToWord(cause);
  json["message"] = message;
  json["pack_size"] = pack_size;
  return Dump(json);
}

std::string CancelledLine(std::string_view attempt) {
  return Dump(Report("cancelled", attempt));
}

std::string StoppedLine(std::string_view attempt, std::string_view checkpoint) {
  Json json = Report("stopped", attempt);
  json["checkpoint"] = checkpoint;
  return Dump(json);
}

std::string ErrorLine(std::string_view message) {
  return Dump({{"type", "error"}, {"message", message}});
}

}  // namespace capsweep::trainer
