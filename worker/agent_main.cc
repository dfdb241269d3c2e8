// capsweep-worker: drives the devices of this host for a coordinator.
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/build_info.h"
#include "common/logging.h"
#include "common/status.h"
#include "worker/agent/agent.h"
#include "worker/agent/options.h"

namespace {

using capsweep::agent::Agent;
using capsweep::agent::CommandLine;

std::atomic<Agent*> running{nullptr};
static_assert(std::atomic<Agent*>::is_always_lock_free);

// The first signal asks for a hand-back, the second ends the process; trainers then see the end of their input.
void OnSignal(int signal) {
  Agent* agent = running.exchange(nullptr);
  if (agent == nullptr) _exit(128 + signal);
  const int saved = errno;
  agent->RequestStop();
  errno = saved;
}

void HandleSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  struct sigaction hangup = {};
  // nohup asks for hang-ups to be ignored.
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

void AddOptions(CLI::App& app, CommandLine& line) {
  app.add_option("--coordinator", line.coordinator, "Address of the coordinator, host:port")->required();
  app.add_option("--tls-ca", line.security.tls_ca, "Speak TLS and trust this authority (also CAPSWEEP_TLS_CA)");
  app.add_option("--token-file", line.security.token_file,
                 "File with a worker's token, mode 0600 (also CAPSWEEP_TOKEN_FILE)");
  app.add_option("--tls-cert", line.security.tls_cert, "Client certificate (also CAPSWEEP_TLS_CERT)");
  app.add_option("--tls-key", line.security.tls_key, "Its key, mode 0600 (also CAPSWEEP_TLS_KEY)");
  app.add_option("--devices", line.devices, "auto, all, cpu, cpu:N (N trainers of one core) or cuda:0,1")
      ->capture_default_str();
  app.add_option("--labels", line.labels, "What this worker is, k=v (repeatable)");
  app.add_option("--id", line.id, "Name of this worker, the same at every start (default: the host's name, numbered)");
  app.add_option("--spool", line.spool,
                 "Folder for reports not delivered yet (default: below ~/.local/state/capsweep)");
  app.add_option("--trainer", line.trainer, "Trainer program (default: capsweep-trainer beside this program)");
  app.add_flag("--exit-with-parent", line.exit_with_parent, "Stop at once when standard input, a pipe, ends");
  app.add_option("--hang-seconds", line.hang_seconds, "Silence after which a trainer with work is killed")
      ->capture_default_str();
  app.add_option("--grace-seconds", line.grace_seconds, "Time for trainers to save their work when told to stop")
      ->capture_default_str();
  app.add_option("--give-up-seconds", line.give_up_seconds,
                 "Exit with code 3 when the coordinator is unreachable for so long; 0 = never")
      ->capture_default_str();
  app.add_option("--allocation-seconds", line.allocation_seconds,
                 "Wall time this worker may use; it hands back in time; 0 = unlimited")
      ->capture_default_str();
  app.add_flag("--i-know-this-is-insecure", line.insecure,
               "Allow a coordinator that is not on this host, in plain text");
  app.add_option("--log-level", line.log_level, "trace, debug, info, warning, error or off");
  app.add_option("--log-format", line.log_format, "text or json (a line each)")->capture_default_str();
  app.set_version_flag("--version", capsweep::BuildInfo());
}

int Fail(const absl::Status& status) {
  std::cerr << "capsweep-worker: " << std::string(status.message()) << "\n";
  return capsweep::ExitCodeFor(status);
}

}  // namespace

int main(int argc, char** argv) {
  // Debian's Abseil looks for lock cycles under a global lock at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  CommandLine line;
  CLI::App app("Trains points for a capsweep coordinator with the devices of this host.", "capsweep-worker");
  AddOptions(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? capsweep::kExitOk : capsweep::kExitBadInput;
  }
  if (absl::Status status = capsweep::InitLogging("capsweep-worker", line.log_level, line.log_format); !status.ok()) {
    return Fail(status);
  }
  absl::StatusOr<std::unique_ptr<Agent>> agent = capsweep::agent::CreateFromCommandLine(line);
  if (!agent.ok()) return Fail(agent.status());
  running = agent->get();
  HandleSignals();
  const int code = (*agent)->Run();
  running = nullptr;
  return code;
}
