// The trainer protocol (docs/trainer-protocol.md) as values: JSON lines in, messages out, and back. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/result.h"

namespace capsweep::agent {

inline constexpr int kTrainerProtocol = 1;
// A result line holds the point's whole curve, and must fit the coordinator's message limit anyway.
inline constexpr size_t kMaxLineBytes = 4 << 20;

struct Hello {
  int64_t protocol = 0;
  std::string version;
  std::string torch_version;
  std::string device_kind;
  std::string device_name;
  std::string backend;  // the first one it offers
  int64_t memory_bytes = 0;
  int32_t slots = 1;
};
struct Started {
  std::string attempt;
};
struct Progress {
  std::string attempt;
  double fraction = 0;  // 0..1 of the step budget
};
struct Finished {
  std::string attempt;
  std::shared_ptr<const PointResult> result;
};
struct Failed {
  std::string attempt;
  FailureCause cause = FailureCause::kInternal;
  std::string message;
  int32_t pack_size = 1;
};
struct Cancelled {
  std::string attempt;
};
struct Stopped {
  std::string attempt;
  std::string checkpoint;  // path; "" = none
};
struct Complaint {
  std::string message;
};
using TrainerMessage = std::variant<Hello, Started, Progress, Finished, Failed, Cancelled, Stopped, Complaint>;

// InvalidArgument for anything that is not a line of the protocol. A `result` whose content cannot be read is a Failed
// with cause `internal`: the attempt is over either way.
absl::StatusOr<TrainerMessage> ParseTrainerLine(std::string_view line);

// Lines for the trainer, each with its line feed.
std::string TrainLine(std::string_view attempt, const PointSpec& point, std::string_view checkpoint_path);
std::string CancelLine(std::string_view attempt);
std::string StopLine(std::string_view folder);

}  // namespace capsweep::agent
