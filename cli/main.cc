#include <csignal>
#include <cstdlib>
#include <iostream>

#include "cli/app.h"
#include "common/logging.h"
#include "common/status.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // A closed pipe shows as a failed write instead of ending the process: `run` has children to take along.
  std::signal(SIGPIPE, SIG_IGN);
  // Logs of the coordinator inside `run` would tear the progress bar; CAPSWEEP_LOG brings them back.
  const bool asked = std::getenv("CAPSWEEP_LOG") != nullptr && *std::getenv("CAPSWEEP_LOG") != '\0';
  if (const absl::Status status = capsweep::InitLogging("capsweep", asked ? "" : "off"); !status.ok()) {
    std::cerr << "capsweep: " << status.message() << " (CAPSWEEP_LOG)" << std::endl;
    return capsweep::kExitBadInput;
  }
  capsweep::cli::Console console = capsweep::cli::Console::Standard();
  return capsweep::cli::RunCommandLine({argv + 1, argv + argc}, console);
}
