#include "worker/agent/trainer_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::agent {
namespace {

constexpr Duration kExitPatience = std::chrono::milliseconds(500);
constexpr size_t kLastWordsBytes = 1500;

std::string DescribeExit(int exit) {
  if (exit < 128) return StrCat("exit code ", exit);
  const char* name = sigdescr_np(exit - 128);
  return StrCat("signal ", exit - 128, name != nullptr ? StrCat(" (", name, ")") : "");
}

// A program's last words may be any bytes; what goes into a message must be text.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (c != '\n' && (c < ' ' || c > '~')) c = '?';
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

TrainerProcess::TrainerProcess(TrainerOptions options)
    : options_(std::move(options)), backoff_(options_.first_backoff) {}

std::vector<TrainerEvent> TrainerProcess::Pump(Instant now, bool busy) {
  std::vector<TrainerEvent> events;
  if (busy && !was_busy_) busy_since_ = now;
  was_busy_ = busy;
  if (phase_ == Phase::kDown && now >= restart_at_) StartChild(now, events);
  if (child_.has_value()) WriteQueued();
  if (child_.has_value()) ReadLines(now, events);
  if (child_.has_value()) CheckTime(now, busy, events);
  return events;
}

void TrainerProcess::StartChild(Instant now, std::vector<TrainerEvent>& events) {
  SubprocessOptions how;
  how.argv = {options_.program, "--serve", "--device", options_.device};
  how.env = options_.env;
  how.pipe_stdin = how.pipe_stdout = true;
  how.stderr_path = options_.stderr_path;
  if (!how.stderr_path.empty()) unlink(how.stderr_path.c_str());  // keeps the last run's words only
  phase_since_ = last_line_ = now;
  absl::StatusOr<Subprocess> child = Subprocess::Start(how);
  phase_ = Phase::kStarting;
  if (!child.ok()) {
    Lose(now, FailureCause::kTrainerDied, std::string(child.status().message()), events);
    return;
  }
  child_.emplace(std::move(*child));
  // A trainer that stopped reading must not stop the agent.
  fcntl(child_->stdin_fd(), F_SETFL, O_NONBLOCK);
  spdlog::debug("{}: trainer {} started", options_.name, child_->pid());
}

void TrainerProcess::Send(std::string_view line) {
  if (phase_ != Phase::kReady) return;
  output_ += line;
}

void TrainerProcess::Stop(const std::string& folder) {
  if (phase_ != Phase::kReady) {
    Kill();
    return;
  }
  Send(StopLine(folder));
  phase_ = Phase::kStopping;
}

void TrainerProcess::Kill() {
  child_.reset();
  phase_ = Phase::kEnded;
}

void TrainerProcess::WriteQueued() {
  size_t done = 0;
  while (done < output_.size()) {
    const ssize_t wrote = write(child_->stdin_fd(), output_.data() + done, output_.size() - done);
    if (wrote > 0) {
      done += static_cast<size_t>(wrote);
    } else if (errno != EINTR) {
      break;  // full, or the child is dead: then its output ends too and that is where it is noticed
    }
  }
  output_.erase(0, done);
}

void TrainerProcess::ReadLines(Instant now, std::vector<TrainerEvent>& events) {
  char buffer[1 << 16];
  // Bounded, so that one talkative trainer does not starve the others; poll comes back for the rest.
  for (int reads = 0; reads < 64 && child_.has_value(); ++reads) {
    const ssize_t got = read(child_->stdout_fd(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;  // nothing more for now
    if (got == 0) {
      Lose(now, FailureCause::kTrainerDied, "", events);
      return;
    }
    last_line_ = now;
    input_.append(buffer, static_cast<size_t>(got));
    size_t start = 0;
    for (size_t end; (end = input_.find('\n', start)) != std::string::npos; start = end + 1) {
      TakeLine(std::string_view(input_).substr(start, end - start), events);
    }
    input_.erase(0, start);
    if (!wrong_protocol_.empty()) {
      Lose(now, FailureCause::kTrainerDied, std::exchange(wrong_protocol_, ""), events);
    } else if (input_.size() > kMaxLineBytes) {
      Lose(now, FailureCause::kTrainerDied, StrCat("killed: it wrote a line of more than ", kMaxLineBytes, " bytes"),
           events);
    }
  }
}

void TrainerProcess::TakeLine(std::string_view line, std::vector<TrainerEvent>& events) {
  if (line.empty()) return;
  absl::StatusOr<TrainerMessage> message = ParseTrainerLine(line);
  if (!message.ok()) {
    spdlog::warn("{}: the trainer wrote a line that is not of its protocol ({}): {:.200}", options_.name,
                 std::string(message.status().message()), line);
    return;
  }
  if (std::holds_alternative<Hello>(*message)) {
    if (phase_ != Phase::kStarting) return;
    const Hello& hello = std::get<Hello>(*message);
    if (hello.protocol != kTrainerProtocol) {
      wrong_protocol_ = StrCat(options_.program, " speaks trainer protocol ", hello.protocol, ", this worker ",
                               kTrainerProtocol, "; install matching versions");
      return;
    }
    phase_ = Phase::kReady;
    deaths_before_hello_ = 0;
  } else if (phase_ == Phase::kStarting) {
    return;
  }
  // Anything after hello proves that the restart worked.
  if (!std::holds_alternative<Hello>(*message)) backoff_ = options_.first_backoff;
  events.emplace_back(std::in_place_type<TrainerMessage>, std::move(*message));
}

void TrainerProcess::CheckTime(Instant now, bool busy, std::vector<TrainerEvent>& events) {
  if (phase_ == Phase::kStarting && now - phase_since_ >= options_.hello_timeout) {
    Lose(now, FailureCause::kTrainerHung, StrCat("no hello within ", ToSeconds(options_.hello_timeout), " s"), events);
  } else if (phase_ == Phase::kReady && busy && now - std::max(last_line_, busy_since_) >= options_.hang_timeout) {
    Lose(now, FailureCause::kTrainerHung,
         StrCat("killed: silent for ", ToSeconds(options_.hang_timeout), " s while it had work"), events);
  }
}

void TrainerProcess::Lose(Instant now, FailureCause cause, const std::string& why, std::vector<TrainerEvent>& events) {
  std::string message = why;
  if (child_.has_value()) {
    std::optional<int> exit = why.empty() ? child_->Wait(kExitPatience) : std::nullopt;
    if (why.empty()) message = exit.has_value() ? DescribeExit(*exit) : "killed: it closed its output and did not exit";
    child_.reset();
  }
  input_.clear();
  output_.clear();
  if (phase_ == Phase::kStopping) {
    phase_ = Phase::kEnded;
    events.emplace_back(std::in_place_type<TrainerEnded>);
    return;
  }
  if (std::string words = LastWords(); !words.empty()) message += StrCat("; its last words: ", words);
  TrainerLost lost{cause, message, phase_ == Phase::kStarting ? ++deaths_before_hello_ : 0};
  phase_ = Phase::kDown;
  restart_at_ = now + backoff_;
  backoff_ = std::min(backoff_ * 2, options_.max_backoff);
  spdlog::warn("{}: the trainer is gone: {}; starting it again in {:.1f} s", options_.name, message,
               ToSeconds(restart_at_ - now));
  events.emplace_back(std::in_place_type<TrainerLost>, std::move(lost));
}

std::string TrainerProcess::LastWords() const {
  std::ifstream file(options_.stderr_path, std::ios::binary | std::ios::ate);
  if (options_.stderr_path.empty() || !file) return "";
  const auto size = static_cast<size_t>(std::max<std::streamoff>(0, file.tellg()));
  const size_t wanted = std::min(size, kLastWordsBytes);
  std::string text(wanted, '\0');
  file.seekg(static_cast<std::streamoff>(size - wanted));
  file.read(text.data(), static_cast<std::streamsize>(wanted));
  text.resize(static_cast<size_t>(file.gcount()));
  return Printable(std::move(text));
}

void TrainerProcess::AddPollFds(std::vector<pollfd>& fds) const {
  if (!child_.has_value()) return;
  fds.push_back({child_->stdout_fd(), POLLIN, 0});
  if (!output_.empty()) fds.push_back({child_->stdin_fd(), POLLOUT, 0});
}

std::optional<Instant> TrainerProcess::NextDeadline(bool busy) const {
  switch (phase_) {
    case Phase::kDown:
      return restart_at_;
    case Phase::kStarting:
      return phase_since_ + options_.hello_timeout;
    case Phase::kReady:
      if (busy) return std::max(last_line_, busy_since_) + options_.hang_timeout;
      return std::nullopt;
    case Phase::kStopping:
    case Phase::kEnded:
      return std::nullopt;
  }
  return std::nullopt;
}

absl::StatusOr<Hello> ProbeTrainer(TrainerOptions options) {
  const std::string name = options.name;
  TrainerProcess trainer(std::move(options));
  while (true) {
    for (const TrainerEvent& event : trainer.Pump(std::chrono::steady_clock::now(), false)) {
      if (const auto* lost = std::get_if<TrainerLost>(&event)) {
        return absl::UnavailableError(StrCat(name, ": ", lost->message));
      }
      const auto* message = std::get_if<TrainerMessage>(&event);
      if (message != nullptr && std::holds_alternative<Hello>(*message)) return std::get<Hello>(*message);
    }
    std::vector<pollfd> fds;
    trainer.AddPollFds(fds);
    poll(fds.data(), fds.size(), 100);
  }
}

}  // namespace capsweep::agent
