#include "worker/agent/report.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "common/hash.h"
#include "common/json_number.h"
#include "common/logging.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::agent {
namespace {

using nlohmann::json;

constexpr std::string_view kHeader = "capsweep-report 1 ";
constexpr std::string_view kCountHeader = "capsweep-reports ";
constexpr size_t kHashDigits = 64;

std::string_view ToWord(ReportKind kind) {
  switch (kind) {
    case ReportKind::kResult:
      return "result";
    case ReportKind::kFailure:
      return "failure";
    case ReportKind::kHandBack:
      return "hand_back";
  }
  return "";
}

absl::StatusOr<ReportKind> KindFromWord(std::string_view word) {
  for (ReportKind kind : {ReportKind::kResult, ReportKind::kFailure, ReportKind::kHandBack}) {
    if (word == ToWord(kind)) return kind;
  }
  return absl::DataLossError(StrCat("unknown kind of report '", word, "'"));
}

template <class T>
absl::Status ReadField(const json& body, const char* name, T& out) {
  return ReadInteger(body.at(name), out) ? absl::OkStatus()
                                         : absl::DataLossError(StrCat(name, " is no whole number, or too large"));
}

absl::Status ReadParts(const json& body, Report& report) {
  ASSIGN_OR_RETURN(report.kind, KindFromWord(body.at("kind").get<std::string>()));
  report.database_id = body.at("database_id").get<std::string>();
  int64_t point = 0;
  int32_t attempt = 0;
  RETURN_IF_ERROR(ReadField(body, "point_id", point));
  RETURN_IF_ERROR(ReadField(body, "attempt", attempt));
  report.id = {PointId(point), AttemptNumber(attempt)};
  report.device = body.at("device").get<std::string>();
  if (report.kind == ReportKind::kResult) {
    ASSIGN_OR_RETURN(PointResult result, ResultFromJson(body.at("result").dump()));
    report.result = std::make_shared<const PointResult>(std::move(result));
  }
  if (report.kind == ReportKind::kFailure) {
    const std::string cause = body.at("cause").get<std::string>();
    if (!FromWord(cause, report.cause)) return absl::DataLossError(StrCat("unknown cause '", cause, "'"));
    report.message = body.at("message").get<std::string>();
    RETURN_IF_ERROR(ReadField(body, "pack_size", report.pack_size));
  }
  if (body.contains("checkpoint")) {
    Checkpoint checkpoint;
    checkpoint.backend = body.at("checkpoint_backend").get<std::string>();
    if (!absl::Base64Unescape(body.at("checkpoint").get<std::string>(), &checkpoint.bytes)) {
      return absl::DataLossError("the checkpoint is not base64");
    }
    report.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ToText(const AttemptId& id) {
  return StrCat(id.point.value(), "/", id.attempt.value());
}

std::string WithIds(std::string_view message, const AttemptId& id) {
  return WithFields(message, {{"point", StrCat(id.point.value())}, {"attempt", StrCat(id.attempt.value())}});
}

size_t WireBytes(const Report& report) {
  constexpr size_t kFixed = 768;      // every scalar field at its longest
  constexpr size_t kEvaluation = 72;  // tag, length and six fields at their longest
  size_t bytes = kFixed + report.device.size() + report.message.size();
  if (report.result != nullptr) {
    const PointResult& r = *report.result;
    bytes += r.curve.size() * kEvaluation;
    for (const std::string* text : {&r.point_key, &r.stop_reason, &r.backend, &r.device_kind, &r.device_name,
                                    &r.version, &r.torch_version, &r.blas}) {
      bytes += text->size();
    }
  }
  if (report.checkpoint != nullptr) bytes += report.checkpoint->bytes.size() + report.checkpoint->backend.size();
  return bytes;
}

std::string EncodeReport(const Report& report) {
  json body = {{"kind", ToWord(report.kind)},
               {"database_id", report.database_id},
               {"point_id", report.id.point.value()},
               {"attempt", report.id.attempt.value()},
               {"device", report.device}};
  if (report.kind == ReportKind::kResult) body["result"] = json::parse(ResultToJson(*report.result));
  if (report.kind == ReportKind::kFailure) {
    body["cause"] = capsweep::ToWord(report.cause);
    body["message"] = report.message;
    body["pack_size"] = report.pack_size;
  }
  if (report.checkpoint != nullptr) {
    body["checkpoint_backend"] = report.checkpoint->backend;
    body["checkpoint"] = absl::Base64Escape(report.checkpoint->bytes);
  }
  // A trainer's last words on standard error need not be UTF-8.
  const std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  return StrCat(kHeader, Sha256Hex(text), "\n", text);
}

absl::StatusOr<Report> DecodeReport(std::string_view bytes) {
  if (bytes.size() < kHeader.size() + kHashDigits + 1 || bytes.substr(0, kHeader.size()) != kHeader ||
      bytes[kHeader.size() + kHashDigits] != '\n') {
    return absl::DataLossError("it does not start as a report does");
  }
  const std::string_view hash = bytes.substr(kHeader.size(), kHashDigits);
  const std::string_view text = bytes.substr(kHeader.size() + kHashDigits + 1);
  if (Sha256Hex(text) != hash) return absl::DataLossError("its checksum does not fit its content");
  Report report;
  try {
    if (absl::Status status = ReadParts(json::parse(text), report); !status.ok()) {
      return absl::DataLossError(status.message());
    }
  } catch (const json::exception& e) {
    return absl::DataLossError(e.what());
  }
  return report;
}

std::string JoinReports(const std::vector<std::string>& encoded) {
  const std::string joined = StrJoin(encoded, "\n");
  return encoded.size() == 1 ? joined : StrCat(kCountHeader, encoded.size(), "\n", joined);
}

ReportParts SplitReports(std::string_view bytes) {
  size_t count = 1;
  if (const size_t line = bytes.find('\n');
      bytes.substr(0, kCountHeader.size()) == kCountHeader && line != std::string_view::npos) {
    std::from_chars(bytes.data() + kCountHeader.size(), bytes.data() + line, count);
    bytes.remove_prefix(line + 1);
  }
  ReportParts parts;
  const std::string border = StrCat("\n", kHeader);
  for (size_t end; (end = bytes.find(border)) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
    parts.reports.push_back(bytes.substr(0, end));
  }
  parts.reports.push_back(bytes);
  parts.complete = parts.reports.size() == count;
  return parts;
}

}  // namespace capsweep::agent
