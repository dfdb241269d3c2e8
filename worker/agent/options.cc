#include "worker/agent/options.h"

#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <utility>

#include "common/file.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/agent/devices.h"
#include "worker/agent/trainer_process.h"

namespace capsweep::agent {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxNumberedNames = 256;
constexpr double kMaxSeconds = 1e9;

bool PlainWord(const std::string& text, size_t longest) {
  return !text.empty() && text.size() <= longest && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 128 && (std::isalnum(c) || c == '-' || c == '_' || c == '.'); });
}

std::string HostWord() {
  char name[256] = {};
  std::string host = gethostname(name, sizeof name - 1) == 0 ? name : "";
  std::replace_if(
      host.begin(), host.end(), [](char c) { return !PlainWord(std::string(1, c) + "x", 2); }, '-');
  return host.empty() ? "host" : host.substr(0, 64);
}

absl::StatusOr<std::string> DefaultSpoolBase() {
  const char* state = getenv("XDG_STATE_HOME");
  if (state != nullptr && state[0] == '/') return StrCat(state, "/capsweep/spool");
  const char* home = getenv("HOME");
  if (home == nullptr || home[0] != '/') {
    return absl::InvalidArgumentError("there is no home folder to keep undelivered reports in; give --spool FOLDER");
  }
  return StrCat(home, "/.local/state/capsweep/spool");
}

absl::StatusOr<Duration> CheckSeconds(const char* option, double value, double least) {
  if (!std::isfinite(value) || value < least || value > kMaxSeconds) {
    return absl::InvalidArgumentError(StrCat(option, " ", value, ": must be ", least, " to ", kMaxSeconds));
  }
  return FromSeconds(value);
}

absl::Status CheckTimes(const CommandLine& line, AgentOptions& options) {
  ASSIGN_OR_RETURN(options.hang, CheckSeconds("--hang-seconds", line.hang_seconds, 0.1));
  ASSIGN_OR_RETURN(options.grace, CheckSeconds("--grace-seconds", line.grace_seconds, 0));
  ASSIGN_OR_RETURN(options.give_up, CheckSeconds("--give-up-seconds", line.give_up_seconds, 0));
  ASSIGN_OR_RETURN(options.allocation, CheckSeconds("--allocation-seconds", line.allocation_seconds, 0));
  if (options.allocation > Duration::zero() && options.allocation <= options.grace + options.leave_limit) {
    return absl::InvalidArgumentError(
        StrCat("--allocation-seconds ", line.allocation_seconds, ": leaves no time to work; it must be more than ",
               ToSeconds(options.grace + options.leave_limit), " (--grace-seconds and the last call)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FindTrainer(const std::string& given) {
  const std::string path = given.empty() ? ExecutableFolder() + "/capsweep-trainer" : given;
  if (access(path.c_str(), X_OK) != 0 || fs::is_directory(path)) {
    return absl::InvalidArgumentError(
        StrCat("trainer program ", path, " cannot be run; build it, or give --trainer PATH"));
  }
  return path;
}

// With a name of its own the agent waits for a dying predecessor; numbered names just take the next.
absl::StatusOr<std::unique_ptr<Agent>> CreateNumbered(AgentOptions options) {
  ASSIGN_OR_RETURN(const std::string base, DefaultSpoolBase());
  absl::Status last;
  for (int i = 1; i <= kMaxNumberedNames; ++i) {
    options.worker_id = StrCat(HostWord(), "-", i);
    options.spool_folder = StrCat(base, "/", options.worker_id);
    options.lock_wait = Duration::zero();
    absl::StatusOr<std::unique_ptr<Agent>> agent = Agent::Create(options);
    if (agent.ok() || agent.status().code() != absl::StatusCode::kFailedPrecondition) return agent;
    last = agent.status();
  }
  return last;
}

}  // namespace

absl::Status CheckCoordinatorAddress(const std::string& address, bool safe) {
  const size_t colon = address.rfind(':');
  const std::string host = colon == std::string::npos ? "" : address.substr(0, colon);
  int port = 0;
  const char* digits = address.data() + (colon == std::string::npos ? address.size() : colon + 1);
  const auto [end, error] = std::from_chars(digits, address.data() + address.size(), port);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (host.empty() || error != std::errc() || end != address.data() + address.size() || port < 1 || port > 65535 ||
      (!bracketed && host.find_first_of(":/ []") != std::string::npos)) {
    return absl::InvalidArgumentError(
        StrCat("--coordinator '", address, "': must be host:port, e.g. 127.0.0.1:7171 or [::1]:7171"));
  }
  const bool loopback = host == "localhost" || host == "[::1]" || host.rfind("127.", 0) == 0;
  if (!loopback && !safe) {
    return absl::InvalidArgumentError(StrCat("--coordinator ", address,
                                             " is not on this host and the connection is plain text; give --tls-ca and "
                                             "--token-file, or, if the network is trusted, add "
                                             "--i-know-this-is-insecure"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& labels) {
  std::map<std::string, std::string> parsed;
  for (const std::string& label : labels) {
    const size_t equals = label.find('=');
    const std::string key = label.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : label.substr(equals + 1);
    const bool printable =
        std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= ' ' && c <= '~'; });
    if (equals == std::string::npos || !PlainWord(key, 64) || !printable || value.size() > 256) {
      return absl::InvalidArgumentError(
          StrCat("--labels '", label, "': must be key=value, the key of letters, digits, '-', '_' and '.'"));
    }
    if (!parsed.emplace(key, value).second) {
      return absl::InvalidArgumentError(StrCat("--labels ", label, ": '", key, "' is given twice"));
    }
  }
  return parsed;
}

absl::StatusOr<std::vector<DeviceName>> ChooseDevices(const std::string& text, const std::string& trainer) {
  const HostDevices host = FindHostDevices();
  if (text != "auto") return ParseDevices(text, host);
  if (host.gpus > 0) {
    TrainerOptions probe;
    probe.program = trainer;
    probe.device = probe.name = "cuda:0";
    absl::StatusOr<Hello> hello = ProbeTrainer(std::move(probe));
    if (hello.ok()) {
      std::string list = "cuda:0";
      for (int i = 1; i < host.gpus; ++i) StrAppend(&list, ",", i);
      return ParseDevices(list, host);
    }
    spdlog::info("this host has {} GPU(s), but the trainer cannot use them ({}): using the cores", host.gpus,
                 std::string(hello.status().message()));
  }
  return ParseDevices("cpu", host);
}

absl::StatusOr<std::unique_ptr<Agent>> CreateFromCommandLine(const CommandLine& line) {
  AgentOptions options;
  options.security = WithEnvironment(line.security);
  RETURN_IF_ERROR(CheckCoordinatorAddress(line.coordinator, line.insecure || options.security.tls()));
  RETURN_IF_ERROR(MakeCredentials(options.security).status());  // before anything is made or started
  options.coordinator = line.coordinator;
  ASSIGN_OR_RETURN(options.labels, ParseLabels(line.labels));
  RETURN_IF_ERROR(CheckTimes(line, options));
  if (!line.id.empty() && !PlainWord(line.id, 128)) {
    return absl::InvalidArgumentError(
        StrCat("--id '", line.id, "': must be of letters, digits, '-', '_' and '.', at most 128"));
  }
  ASSIGN_OR_RETURN(options.trainer, FindTrainer(line.trainer));
  ASSIGN_OR_RETURN(options.devices, ChooseDevices(line.devices, options.trainer));
  options.parent_fd = line.exit_with_parent ? STDIN_FILENO : -1;
  if (line.id.empty() && line.spool.empty()) return CreateNumbered(std::move(options));

  options.spool_folder = line.spool;
  if (line.spool.empty()) {
    ASSIGN_OR_RETURN(const std::string base, DefaultSpoolBase());
    options.spool_folder = StrCat(base, "/", line.id);
  }
  std::error_code error;
  const fs::path absolute = fs::absolute(options.spool_folder, error);
  if (!error) options.spool_folder = absolute.lexically_normal().string();
  options.worker_id = line.id.empty() ? StrCat(HostWord(), "-", Sha256Hex(options.spool_folder).substr(0, 8)) : line.id;
  return Agent::Create(std::move(options));
}

}  // namespace capsweep::agent
