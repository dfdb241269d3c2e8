// One trainer child of one device: started, greeted, watched, restarted. Knows lines and time, not attempts.
#pragma once

#include <poll.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/subprocess.h"
#include "worker/agent/trainer_lines.h"

namespace capsweep::agent {

struct TrainerOptions {
  std::string program;      // path of capsweep-trainer
  std::string device;       // value of --device
  std::string name;         // the worker's name of the device, for logs
  std::string stderr_path;  // last words are read from here; "" = inherit
  std::map<std::string, std::string> env;
  Duration hello_timeout = std::chrono::seconds(120);  // LibTorch from a cold network disk is slow
  Duration hang_timeout = std::chrono::seconds(60);
  Duration first_backoff = std::chrono::milliseconds(100);
  Duration max_backoff = std::chrono::seconds(30);
};

// The child is gone (and reaped). It is started again after a pause that grows while it keeps dying.
struct TrainerLost {
  FailureCause cause = FailureCause::kTrainerDied;  // or kTrainerHung
  std::string message;                              // exit code or signal, and the last lines of its standard error
  int deaths_before_hello = 0;                      // in a row; 0 if it had said hello
};
// The child answered `stop` and is gone, or was killed by Kill(). It is not started again.
struct TrainerEnded {};

using TrainerEvent = std::variant<TrainerMessage, TrainerLost, TrainerEnded>;

// Not thread-safe. Nothing blocks, except that a child that closed its output gets up to 0.5 s to exit before SIGKILL.
// Destruction kills the child.
class TrainerProcess {
 public:
  explicit TrainerProcess(TrainerOptions options);

  // Starts, reads, writes, checks time limits; call when a descriptor is ready or NextDeadline has come. `busy`: it has
  // work, so silence for hang_timeout means that it hangs.
  std::vector<TrainerEvent> Pump(Instant now, bool busy);

  // Queues a line, which the next Pump writes; lost if the child dies first. Only between hello and the next
  // TrainerLost or TrainerEnded.
  void Send(std::string_view line);
  // Sends `stop`; TrainerEnded follows. A child that has not said hello is killed.
  void Stop(const std::string& folder);
  // SIGKILL now; no more events but TrainerEnded.
  void Kill();

  bool ready() const { return phase_ == Phase::kReady; }
  bool ended() const { return phase_ == Phase::kEnded; }
  pid_t pid() const { return child_.has_value() ? child_->pid() : -1; }
  const std::string& name() const { return options_.name; }
  void AddPollFds(std::vector<pollfd>& fds) const;
  std::optional<Instant> NextDeadline(bool busy) const;

 private:
  enum class Phase { kDown, kStarting, kReady, kStopping, kEnded };

  void StartChild(Instant now, std::vector<TrainerEvent>& events);
  void ReadLines(Instant now, std::vector<TrainerEvent>& events);
  void TakeLine(std::string_view line, std::vector<TrainerEvent>& events);
  void WriteQueued();
  void CheckTime(Instant now, bool busy, std::vector<TrainerEvent>& events);
  // Reaps the child (killing it if need be) and reports.
  void Lose(Instant now, FailureCause cause, const std::string& why, std::vector<TrainerEvent>& events);
  std::string LastWords() const;

  TrainerOptions options_;
  Phase phase_ = Phase::kDown;
  std::optional<Subprocess> child_;
  std::string input_;   // bytes not yet a whole line
  std::string output_;  // bytes the pipe did not take yet
  std::string wrong_protocol_;
  Instant phase_since_{};
  Instant last_line_{};
  Instant busy_since_{};
  bool was_busy_ = false;
  Instant restart_at_{};
  Duration backoff_{};
  int deaths_before_hello_ = 0;
};

// Starts a trainer only to read its hello. Unavailable with the reason if none comes.
absl::StatusOr<Hello> ProbeTrainer(TrainerOptions options);

}  // namespace capsweep::agent
