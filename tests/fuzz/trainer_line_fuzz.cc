// A line between agent and trainer, read by both ends.
#include "tests/fuzz/target.h"
#include "worker/agent/trainer_lines.h"
#include "worker/trainer/protocol.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line = fuzz::Text(data, size);
  (void)agent::ParseTrainerLine(line);
  const absl::StatusOr<trainer::Command> command = trainer::ParseCommand(line);
  if (command.ok() && command->kind == trainer::Command::Kind::kTrain && command->bad_point.ok()) {
    fuzz::Require(ValidatePoint(command->point).ok(), "a point that is trained is valid");
  }
  return 0;
}
