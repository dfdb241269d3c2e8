// Speaks the trainer protocol without LibTorch: "trains" a point by waiting and answers with numbers that are a pure
// function of the point and pass ValidateResult. Lets tests and sanitizers see agent and coordinator work end to end.
//
//   fake_trainer --serve --device cpu        (also without --serve: ends after its input)
//
// Environment:
//   FAKE_TRAINER_MS=20             per point (default 1)
//   FAKE_TRAINER_SLOTS=1           points at once
//   FAKE_TRAINER_HELLO_MS=0        before hello
//   FAKE_TRAINER_NO_HELLO=1        exit with code 3 instead of hello
//   FAKE_TRAINER_DIE_ON=TEXT       abort when a point whose attempt or JSON contains TEXT is half done
//   FAKE_TRAINER_DIE_ONCE=FILE     with DIE_ON: only while FILE does not exist; it is then made
//   FAKE_TRAINER_DIE_READING=TEXT  abort on reading such a train line, before `started`
//   FAKE_TRAINER_HANG_ON=TEXT      stop talking for good when such a point is half done
//   FAKE_TRAINER_FAIL_ON=TEXT      answer such a point with `failed`, cause FAKE_TRAINER_CAUSE (default nan_loss)
//   FAKE_TRAINER_LOG=FILE          append a line "pid attempt" for each point started
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "common/build_info.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/point.h"
#include "common/result.h"
#include "common/text.h"
#include "tests/support/fake_result.h"

namespace capsweep {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

std::string Env(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}
int EnvInt(const char* name, int otherwise) {
  const std::string text = Env(name);
  return text.empty() ? otherwise : std::stoi(text);
}

void Say(const json& line) {
  const std::string text = line.dump() + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (wrote < 0 && errno != EINTR) _exit(1);
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
}

struct Job {
  std::string attempt;
  PointSpec point;
  std::string text;  // what the switches of the environment are matched with
  int64_t resumed_from_step = 0;
  bool started = false;
  bool half_done = false;
  Clock::time_point ends;
};

class FakeTrainer {
 public:
  explicit FakeTrainer(bool serve) : serve_(serve) {}

  int Run() {
    if (!Env("FAKE_TRAINER_NO_HELLO").empty()) {
      std::cerr << "fake trainer: told to say nothing\n";
      return 3;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(EnvInt("FAKE_TRAINER_HELLO_MS", 0)));
    if (serve_) {
      Say({{"type", "hello"},
           {"protocol", 1},
           {"version", kVersion},
           {"torch_version", "none"},
           {"blas", "none"},
           {"backends", {"fake"}},
           {"device", "cpu"},
           {"device_kind", "cpu"},
           {"device_name", "fake"},
           {"memory_bytes", int64_t{1} << 30},
           {"slots", slots_},
           {"threads", 1}});
    }
    while (!(ended_ && (serve_ || jobs_.empty()))) {
      ReadInput();
      if (ended_ && serve_) return 0;  // the agent is gone
      Work();
    }
    return failed_ ? 1 : 0;
  }

 private:
  void ReadInput() {
    int wait = -1;
    if (!jobs_.empty()) {
      wait = 1;
      pollfd poke{STDIN_FILENO, POLLIN, 0};
      if (ended_ || poll(&poke, 1, wait) <= 0) {
        if (ended_) std::this_thread::sleep_for(std::chrono::milliseconds(wait));
        return;
      }
    }
    char buffer[1 << 16];
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) {
      ended_ = true;
      return;
    }
    input_.append(buffer, static_cast<size_t>(got));
    for (size_t end; (end = input_.find('\n')) != std::string::npos; input_.erase(0, end + 1)) {
      Take(input_.substr(0, end));
    }
  }

  void Take(const std::string& text) {
    const json line = json::parse(text, nullptr, false);
    if (line.is_discarded() || !line.is_object()) {
      Say({{"type", "error"}, {"message", "not a JSON object"}});
      return;
    }
    const std::string type = line.value("type", "");
    if (type == "cancel") {
      Cancel(line.value("attempt", ""));
    } else if (type == "stop") {
      Stop(line.value("folder", ""));
    } else {
      Queue(line, type.empty() ? std::to_string(++bare_points_) : line.value("attempt", ""));
    }
  }

  void Queue(const json& line, const std::string& attempt) {
    const std::string point_text = line.contains("point") ? line["point"].dump() : line.dump();
    absl::StatusOr<PointSpec> point = PointFromJson(point_text);
    if (point.ok()) {
      if (absl::Status valid = ValidatePoint(*point); !valid.ok()) point = valid;
    }
    if (!point.ok()) {
      Fail(attempt, "bad_point", std::string(point.status().message()));
      return;
    }
    Job job{attempt, *point, attempt + " " + point_text};
    if (Matches("FAKE_TRAINER_DIE_READING", job)) Die();
    if (line.contains("checkpoint")) {
      std::ifstream file(line["checkpoint"].get<std::string>());
      file >> job.resumed_from_step;
    }
    jobs_.push_back(std::move(job));
  }

  void Work() {
    const auto now = Clock::now();
    const auto length = std::chrono::milliseconds(EnvInt("FAKE_TRAINER_MS", 1));
    const size_t active = std::min(jobs_.size(), static_cast<size_t>(slots_));
    for (size_t i = 0; i < active; ++i) {
      Job& job = jobs_[i];
      if (!job.started) Start(job, now + length);
      if (!job.half_done && now >= job.ends - length / 2) HalfWay(job);
    }
    for (size_t i = 0; i < std::min(jobs_.size(), static_cast<size_t>(slots_));) {
      if (!jobs_[i].started || now < jobs_[i].ends) {
        ++i;
        continue;
      }
      Finish(jobs_[i]);
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void Start(Job& job, Clock::time_point ends) {
    Reach(FailPoint::kTrainerStarts).IgnoreError();
    job.started = true;
    job.ends = ends;
    if (const std::string path = Env("FAKE_TRAINER_LOG"); !path.empty()) {
      std::ofstream(path, std::ios::app) << StrCat(getpid(), " ", job.attempt, "\n") << std::flush;
    }
    if (serve_) Say({{"type", "started"}, {"attempt", job.attempt}, {"resumed_from_step", job.resumed_from_step}});
  }

  void HalfWay(Job& job) {
    job.half_done = true;
    if (Matches("FAKE_TRAINER_DIE_ON", job) && MayDie()) Die();
    while (Matches("FAKE_TRAINER_HANG_ON", job)) pause();
    const int64_t budget = BudgetSteps(job.point);
    if (serve_) {
      Say({{"type", "progress"},
           {"attempt", job.attempt},
           {"step", budget / 2},
           {"budget_steps", budget},
           {"epoch", 1},
           {"items_mem", 0},
           {"train_loss", 1.0}});
    }
  }

  void Finish(const Job& job) {
    if (Matches("FAKE_TRAINER_FAIL_ON", job)) {
      const std::string cause = Env("FAKE_TRAINER_CAUSE");
      Fail(job.attempt, cause.empty() ? "nan_loss" : cause, "as the environment asks");
      return;
    }
    PointResult result = FakeResult(job.point);
    result.resumed_from_step = job.resumed_from_step;
    result.seconds = result.seconds_train = EnvInt("FAKE_TRAINER_MS", 1) / 1000.0;
    Reach(FailPoint::kTrainerResult).IgnoreError();
    Say({{"type", "result"}, {"attempt", job.attempt}, {"result", json::parse(ResultToJson(result))}});
    Reach(FailPoint::kTrainerSaid).IgnoreError();
  }

  void Fail(const std::string& attempt, const std::string& cause, const std::string& message) {
    failed_ = true;
    Say({{"type", "failed"}, {"attempt", attempt}, {"cause", cause}, {"message", message}, {"pack_size", 1}});
  }

  void Cancel(const std::string& attempt) {
    std::erase_if(jobs_, [&](const Job& job) { return job.attempt == attempt; });
    Say({{"type", "cancelled"}, {"attempt", attempt}});
  }

  [[noreturn]] void Stop(const std::string& folder) {
    for (const Job& job : jobs_) {
      std::string path;
      if (job.started) {
        std::string name = job.attempt;
        std::replace(name.begin(), name.end(), '/', '-');
        path = StrCat(folder, "/", name, ".checkpoint");
        Reach(FailPoint::kTrainerSaves).IgnoreError();
        if (!WriteFileAtomic(path, StrCat(BudgetSteps(job.point) / 2, "\n")).ok()) path.clear();
        Reach(FailPoint::kTrainerSaved).IgnoreError();
      }
      Say({{"type", "stopped"}, {"attempt", job.attempt}, {"checkpoint", path}});
    }
    _exit(0);
  }

  static bool Matches(const char* name, const Job& job) {
    const std::string wanted = Env(name);
    return !wanted.empty() && job.text.find(wanted) != std::string::npos;
  }

  static bool MayDie() {
    const std::string once = Env("FAKE_TRAINER_DIE_ONCE");
    if (once.empty()) return true;
    const int fd = open(once.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
  }

  [[noreturn]] static void Die() {
    std::cerr << "fake trainer: dying as the environment asks\n" << std::flush;
    raise(SIGKILL);
    _exit(1);
  }

  const bool serve_;
  const int slots_ = EnvInt("FAKE_TRAINER_SLOTS", 1);
  std::string input_;
  std::deque<Job> jobs_;
  int64_t bare_points_ = 0;
  bool ended_ = false;
  bool failed_ = false;
};

}  // namespace
}  // namespace capsweep

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  bool serve = false;
  for (int i = 1; i < argc; ++i) serve = serve || std::string(argv[i]) == "--serve";
  return capsweep::FakeTrainer(serve).Run();
}
