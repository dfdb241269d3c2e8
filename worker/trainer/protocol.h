// The lines of docs/trainer-protocol.md: commands in, reports out, as JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/result.h"
#include "worker/trainer/backend.h"

namespace capsweep::trainer {

inline constexpr int kProtocol = 1;
inline constexpr size_t kMaxLineBytes = size_t{1} << 20;

struct Command {
  enum class Kind { kTrain, kCancel, kStop };
  Kind kind = Kind::kTrain;
  std::string attempt;     // train, cancel; "" for a bare point
  absl::Status bad_point;  // train: not OK if `point` is no point or breaks a rule
  PointSpec point;         // train
  std::string checkpoint;  // train: file to resume from, "" = none
  std::string folder;      // stop
};

// InvalidArgument if the line is no command. A point that can be told from other commands but breaks a rule is a
// command with `bad_point`, because its attempt can be answered.
absl::StatusOr<Command> ParseCommand(std::string_view line);

// One line each, without the newline.
std::string HelloLine(const DeviceFacts& facts, std::string_view device, const std::vector<std::string>& backends,
                      int slots);
std::string StartedLine(std::string_view attempt, int64_t resumed_from_step);
std::string ProgressLine(std::string_view attempt, const SlotView& view);
std::string ResultLine(std::string_view attempt, const PointResult& result);
std::string FailedLine(std::string_view attempt, FailureCause cause, std::string_view message, int pack_size);
std::string CancelledLine(std::string_view attempt);
std::string StoppedLine(std::string_view attempt, std::string_view checkpoint);
std::string ErrorLine(std::string_view message);

}  // namespace capsweep::trainer
