// What an agent owes the coordinator: the end of an attempt, kept until it is acknowledged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ids.h"
#include "common/result.h"

namespace capsweep::agent {

// One lease of a point. The attempt number is the fencing token.
struct AttemptId {
  PointId point;
  AttemptNumber attempt;

  friend bool operator==(const AttemptId&, const AttemptId&) = default;
  friend bool operator<(const AttemptId& a, const AttemptId& b) {
    return a.point == b.point ? a.attempt < b.attempt : a.point < b.point;
  }
};

// "17/2": point 17, attempt 2. For trainers, file names and logs.
std::string ToText(const AttemptId& id);
// `message` for the log, with the fields point and attempt.
std::string WithIds(std::string_view message, const AttemptId& id);

enum class ReportKind { kResult, kFailure, kHandBack };

struct Report {
  ReportKind kind = ReportKind::kResult;
  std::string database_id;  // of the coordinator that gave the attempt
  AttemptId id;
  std::string device;
  std::shared_ptr<const PointResult> result;  // kResult: not null
  FailureCause cause = FailureCause::kInternal;
  std::string message;
  int32_t pack_size = 1;                         // kFailure: attempts that ran together when it happened
  std::shared_ptr<const Checkpoint> checkpoint;  // kHandBack: may be null
};

// Upper bound of the report's size on the wire, in bytes; requests are cut by it.
size_t WireBytes(const Report& report);

// In a file of the spool: a line "capsweep-report 1 <sha256 of the rest>", then JSON. Decoding answers DataLoss for
// anything that is not exactly what encoding wrote.
std::string EncodeReport(const Report& report);
absl::StatusOr<Report> DecodeReport(std::string_view bytes);

// A file may hold several of them: what EncodeReport made, joined by line feeds after a line "capsweep-reports
// <count>", so that a file that was cut where a report ends is known for what it is. One alone stands there as it is.
std::string JoinReports(const std::vector<std::string>& encoded);

// Cut where a report begins, so that a damaged one leaves its neighbours whole.
struct ReportParts {
  std::vector<std::string_view> reports;
  bool complete = false;  // as many as the first line says
};
ReportParts SplitReports(std::string_view bytes);

}  // namespace capsweep::agent
