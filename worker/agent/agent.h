// The worker agent: keeps one trainer per device busy with what the coordinator wants, and delivers every report.
//
// One thread owns everything and waits in poll(); the Sync call runs on a second one (sync_client.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "proto/client_security.h"
#include "worker/agent/devices.h"
#include "worker/agent/trainer_process.h"

namespace capsweep::agent {

struct AgentOptions {
  std::string coordinator;  // host:port
  ClientSecurity security;
  std::string worker_id;  // stable over restarts
  std::vector<DeviceName> devices;
  std::string trainer;       // program
  std::string spool_folder;  // this agent's own
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> trainer_env;  // added to each trainer's environment
  // Stop at once when this descriptor (a pipe from the parent) ends; -1 = no parent to watch.
  int parent_fd = -1;
  Duration hang = std::chrono::seconds(60);       // silence of a trainer that has work before it is killed
  Duration grace = std::chrono::seconds(10);      // for trainers to save what they hold when the agent is stopped
  Duration give_up = Duration::zero();            // exit when the coordinator is unreachable for so long; 0 = never
  Duration allocation = Duration::zero();         // of wall time this agent may use; 0 = unlimited
  Duration lock_wait = std::chrono::seconds(10);  // for a dying predecessor to leave the spool
  // Timing that tests shorten.
  Duration first_backoff = std::chrono::milliseconds(100);
  Duration max_backoff = std::chrono::seconds(10);
  Duration idle_hold = std::chrono::seconds(20);   // how long an idle call may be held open
  Duration leave_limit = std::chrono::seconds(3);  // for the last calls
};

class Agent {
 public:
  // FailedPrecondition when another agent holds the spool folder; the errors of MakeCredentials.
  static absl::StatusOr<std::unique_ptr<Agent>> Create(AgentOptions options);
  ~Agent();  // kills the trainers that are left

  // Until told to stop. Exit code: 0 after handing back, 3 when the coordinator stayed unreachable for `give_up`, 1
  // when the parent is gone.
  int Run();

  // Hand back what is held and return from Run. Any thread; safe in a signal handler.
  void RequestStop();

 private:
  struct Impl;
  explicit Agent(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Full jitter: a duration drawn evenly from (0, min(max, first · 2^failures)]; `random` in [0, 1).
Duration BackoffDelay(Duration first, Duration max, int failures, double random);

}  // namespace capsweep::agent
