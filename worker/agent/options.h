// From the words of the command line to an agent: checks, defaults, and the choice of devices and names.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/agent/agent.h"

namespace capsweep::agent {

struct CommandLine {
  std::string coordinator;
  ClientSecurity security;
  std::string devices = "auto";
  std::vector<std::string> labels;
  std::string id;
  std::string spool;
  std::string trainer;
  bool exit_with_parent = false;
  double hang_seconds = 60;
  double grace_seconds = 10;
  double give_up_seconds = 0;
  double allocation_seconds = 0;
  bool insecure = false;
  std::string log_level;
  std::string log_format = "text";
};

// InvalidArgument names the option, the value and what may be given. Without --id and --spool the worker takes the
// first free of the names <host>-1, <host>-2, …, so that several can be started on one host just so.
absl::StatusOr<std::unique_ptr<Agent>> CreateFromCommandLine(const CommandLine& line);

// Parts of it.
// `safe`: the connection is TLS, or the user says that the network is to be trusted.
absl::Status CheckCoordinatorAddress(const std::string& address, bool safe);
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& labels);
// `auto` is every GPU the trainer can use, else a trainer per core.
absl::StatusOr<std::vector<DeviceName>> ChooseDevices(const std::string& text, const std::string& trainer);

}  // namespace capsweep::agent
