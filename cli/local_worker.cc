#include "cli/local_worker.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <string_view>

#include "absl/strings/numbers.h"
#include "common/file.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::cli {
namespace {

constexpr int kMaxDeaths = 5;
constexpr Duration kFirstPause = std::chrono::milliseconds(250);
// Below Stop's limit, so that a trainer too slow to save its work does not cost the hand-back.
constexpr int kGraceSeconds = 6;
constexpr size_t kLogLines = 5;

// The last lines of the log, each behind a line break and two blanks.
std::string LogTail(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok() || text->empty()) {
    return "";
  }
  std::string_view rest(*text);
  while (rest.ends_with('\n')) {
    rest.remove_suffix(1);
  }
  size_t begin = rest.size();
  for (size_t lines = 0; lines < kLogLines && begin != 0; ++lines) {
    const size_t line_break = rest.rfind('\n', begin - 1);
    begin = line_break == std::string_view::npos ? 0 : line_break;
  }
  std::string tail;
  for (char c : rest.substr(begin)) {
    tail += c;
    if (c == '\n') {
      tail += "  ";
    }
  }
  return begin == 0 ? StrCat("\n  ", tail) : tail;
}

// Stable over restarts, so that a restarted worker takes back what its predecessor held.
std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "local";
}

SubprocessOptions ChildOptions(const LocalWorkerOptions& options, const std::string& log_path) {
  SubprocessOptions child;
  child.argv = {options.program,
                "--coordinator",
                options.coordinator,
                "--devices",
                options.devices,
                "--spool",
                StrCat(options.folder, "/reports"),
                "--id",
                HostName(),
                "--exit-with-parent",
                "--grace-seconds",
                StrCat(kGraceSeconds)};
  if (!options.trainer.empty()) {
    child.argv.insert(child.argv.end(), {"--trainer", options.trainer});
  }
  // The coordinator of this process speaks plain text on loopback, whatever the environment says of others.
  child.env = {
      {"CAPSWEEP_TLS_CA", ""}, {"CAPSWEEP_TLS_CERT", ""}, {"CAPSWEEP_TLS_KEY", ""}, {"CAPSWEEP_TOKEN_FILE", ""}};
  child.pipe_stdin = true;
  child.stderr_path = log_path;
  return child;
}

}  // namespace

LocalWorker::LocalWorker(LocalWorkerOptions options, Subprocess child)
    : options_(std::move(options)), log_path_(StrCat(options_.folder, "/worker.log")), child_(std::move(child)) {}

absl::StatusOr<LocalWorker> LocalWorker::Start(LocalWorkerOptions options) {
  RETURN_IF_ERROR(MakeFolders(options.folder));
  ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(ChildOptions(options, StrCat(options.folder, "/worker.log"))));
  return LocalWorker(std::move(options), std::move(child));
}

absl::Status LocalWorker::Watch(int64_t points_done, Instant now, std::optional<int>& restarted) {
  if (!dead_.has_value()) {
    dead_ = child_.Poll();
    if (!dead_.has_value()) {
      return absl::OkStatus();
    }
    if (*dead_ == kExitBadInput) {
      return absl::InvalidArgumentError(StrCat("the worker cannot start:", LogTail(log_path_)));
    }
    deaths_ = points_done > done_at_death_ ? 1 : deaths_ + 1;
    done_at_death_ = points_done;
    if (deaths_ > kMaxDeaths) {
      return absl::InternalError(StrCat("the worker died ", deaths_, " times in a row (exit code ", *dead_,
                                        "); nothing is lost, see ", log_path_, ":", LogTail(log_path_)));
    }
    restart_at_ = now + kFirstPause * (1 << (deaths_ - 1));
  }
  if (now < restart_at_) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(child_, Subprocess::Start(ChildOptions(options_, log_path_)));
  restarted = dead_;
  dead_.reset();
  return absl::OkStatus();
}

void LocalWorker::Stop(Duration limit) {
  if (dead_.has_value() || child_.Poll().has_value()) {
    return;
  }
  child_.Signal(SIGTERM);
  if (!child_.Wait(limit).has_value()) {
    child_.Signal(SIGKILL);
    child_.Wait(std::chrono::seconds(1));
  }
}

absl::Status ValidateDevices(const std::string& text) {
  const auto all_numbers = [](std::string_view list) {
    while (true) {
      const size_t comma = list.find(',');
      const std::string_view item = list.substr(0, comma);
      if (item.empty() || item.size() > 4 || item.find_first_not_of("0123456789") != std::string_view::npos) {
        return false;
      }
      if (comma == std::string_view::npos) {
        return true;
      }
      list.remove_prefix(comma + 1);
    }
  };
  int cores = 0;
  const bool valid =
      text == "auto" || text == "all" || text == "cpu" ||
      (text.starts_with("cpu:") && text.size() <= 8 && absl::SimpleAtoi(text.substr(4), &cores) && cores >= 1) ||
      (text.starts_with("cuda:") && all_numbers(std::string_view(text).substr(5)));
  return valid ? absl::OkStatus()
               : absl::InvalidArgumentError(StrCat("--devices ", text,
                                                   ": must be auto, all, cpu:N (N trainers of one core "
                                                   "each) or a list of GPUs like cuda:0,1"));
}

}  // namespace capsweep::cli
