#include "worker/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"
#include "worker/agent/courier.h"
#include "worker/agent/spool.h"
#include "worker/agent/state.h"

namespace capsweep::agent {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxCheckpointBytes = 1 << 20;
constexpr int kDeathsToGiveUpDevice = 3;
// The first call waits for trainers to be up, so that a healthy worker never shows as a broken one.
constexpr Duration kFirstCallPatience = std::chrono::seconds(3);

// Wakes poll() from another thread or a signal handler.
class WakeFd {
 public:
  WakeFd() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~WakeFd() { close(fd_); }
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  void Wake() const {
    const uint64_t one = 1;
    (void)!write(fd_, &one, sizeof one);
  }
  bool Clear() const {
    uint64_t count = 0;
    return read(fd_, &count, sizeof count) == sizeof count;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Whether the other end of the pipe is closed. What the parent writes is ignored.
bool PipeEnded(int fd) {
  char buffer[256];
  pollfd ready{fd, POLLIN, 0};
  while (poll(&ready, 1, 0) > 0) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) return true;
    if (got < 0) return false;
  }
  return false;
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "unknown";
}

std::string FileNameOf(std::string attempt) {
  std::replace_if(
      attempt.begin(), attempt.end(), [](char c) { return c == '/' || c == '~'; }, '-');
  return attempt;
}

}  // namespace

Duration BackoffDelay(Duration first, Duration max, int failures, double random) {
  const double ceiling = std::min(ToSeconds(max), ToSeconds(first) * std::exp2(std::min(failures, 30)));
  return FromSeconds(std::max(0.001, ceiling * (1.0 - random)));
}

struct Agent::Impl {
  Impl(AgentOptions given, std::unique_ptr<Spool> opened, std::string incarnation,
       std::shared_ptr<grpc::ChannelCredentials> credentials);

  enum class Phase { kWorking, kStoppingTrainers, kLeaving, kDone };

  int Run();
  void PumpTrainers(Instant now);
  void OnLost(size_t device, const TrainerLost& lost, Instant now);
  void OnStopped(size_t device, const Stopped& stopped, Instant now);
  void OnAnswer(const Courier::Answer& answer, Instant now);
  void Carry(const Changes& changes, Instant now);
  void SendTrain(const Train& train);
  void ForgetCheckpointFile(const std::string& attempt);
  void CheckLimits(Instant now);
  void BeginStop(Instant now, const std::string& why, int exit_code);
  void FinishStop(Instant now);
  void Wait(Instant now);
  bool AllTrainersSettled() const;

  AgentOptions options;
  WakeFd wake;  // news from the Sync thread
  WakeFd stop_asked;
  std::unique_ptr<Spool> spool;
  std::string checkpoint_folder;
  std::set<std::string> resumable;  // attempts with a file in checkpoint_folder that waits for their trainer
  State state;
  std::vector<TrainerProcess> trainers;  // parallel to the state's devices
  std::vector<bool> hopeless;            // its trainer cannot be started; still tried
  std::vector<std::string> backends;     // of the trainers, for checkpoints
  Phase phase = Phase::kWorking;
  Instant started;
  Instant phase_ends = Instant::max();
  int exit_code = kExitOk;
  std::optional<Courier> courier;
};

Agent::Impl::Impl(AgentOptions given, std::unique_ptr<Spool> opened, std::string incarnation,
                  std::shared_ptr<grpc::ChannelCredentials> credentials)
    : options(std::move(given)), spool(std::move(opened)), state([this] {
        std::vector<std::string> names;
        for (const DeviceName& device : options.devices) names.push_back(device.name);
        return names;
      }()) {
  started = std::chrono::steady_clock::now();
  checkpoint_folder = spool->folder() + "/checkpoints";
  for (size_t i = 0; i < options.devices.size(); ++i) {
    TrainerOptions trainer;
    trainer.program = options.trainer;
    trainer.device = options.devices[i].argument;
    trainer.name = options.devices[i].name;
    trainer.stderr_path = StrCat(spool->folder(), "/trainer-", i, ".log");
    // One core per trainer: more threads make small models slower and results depend on their number.
    trainer.env = {{"OMP_NUM_THREADS", "1"}, {"OPENBLAS_NUM_THREADS", "1"}, {"MKL_NUM_THREADS", "1"}};
    trainer.env.insert(options.trainer_env.begin(), options.trainer_env.end());
    trainer.hang_timeout = options.hang;
    trainers.emplace_back(std::move(trainer));
  }
  hopeless.resize(trainers.size(), false);
  backends.resize(trainers.size());

  CourierOptions how;
  how.client.coordinator = options.coordinator;
  how.client.credentials = std::move(credentials);
  how.client.worker_id = options.worker_id;
  how.client.incarnation = incarnation;
  how.client.host = HostName();
  how.client.labels = options.labels;
  how.first_backoff = options.first_backoff;
  how.max_backoff = options.max_backoff;
  how.idle_hold = options.idle_hold;
  how.allocation = options.allocation;
  courier.emplace(std::move(how), &state, spool.get(), started, [this] { wake.Wake(); });
}

absl::StatusOr<std::unique_ptr<Agent>> Agent::Create(AgentOptions options) {
  if (options.devices.empty()) return absl::InvalidArgumentError("a worker needs at least one device");
  ASSIGN_OR_RETURN(auto credentials, MakeCredentials(options.security));
  const int parent = options.parent_fd;
  ASSIGN_OR_RETURN(std::unique_ptr<Spool> spool, Spool::Open(options.spool_folder, options.lock_wait,
                                                             [parent] { return parent >= 0 && PipeEnded(parent); }));
  // Checkpoints that were waiting for a trainer belong to an agent that is gone.
  std::error_code ignored;
  fs::remove_all(spool->folder() + "/checkpoints", ignored);
  RETURN_IF_ERROR(MakeFolders(spool->folder() + "/checkpoints"));
  const int64_t start = spool->NextStart(Clock::Real().WallMillis() * 1000);
  std::string incarnation = absl::StrFormat("%016d-%s", start, RandomHexId().substr(0, 8));
  auto impl =
      std::make_unique<Impl>(std::move(options), std::move(spool), std::move(incarnation), std::move(credentials));
  // With the reports of one database only, it is most likely the one that answers: they can go with the first call.
  if (std::set<std::string> databases = impl->spool->Databases(); databases.size() == 1) {
    impl->state.AssumeDatabase(*databases.begin());
    impl->state.Restore(impl->spool->Load(*databases.begin()));
  }
  RETURN_IF_ERROR(Reach(FailPoint::kAgentStarted));
  return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() = default;
int Agent::Run() {
  return impl_->Run();
}
void Agent::RequestStop() {
  impl_->stop_asked.Wake();
}

int Agent::Impl::Run() {
  spdlog::info("worker {} with {} device(s), coordinator {}, spool {}", options.worker_id, trainers.size(),
               options.coordinator, spool->folder());
  while (phase != Phase::kDone) {
    const Instant now = std::chrono::steady_clock::now();
    if (options.parent_fd >= 0 && PipeEnded(options.parent_fd)) {
      spdlog::info("the parent process is gone: stopping at once");
      for (TrainerProcess& trainer : trainers) trainer.Kill();
      return kExitFailed;
    }
    if (stop_asked.Clear()) BeginStop(now, "asked to stop", kExitOk);
    wake.Clear();
    PumpTrainers(now);
    courier->SpoolDue(now);
    if (std::optional<Courier::Answer> answer = courier->Take(now)) OnAnswer(*answer, now);
    CheckLimits(now);
    if (phase != Phase::kStoppingTrainers && (AllTrainersSettled() || now >= started + kFirstCallPatience)) {
      courier->Pump(now);
    }
    if (phase != Phase::kDone) Wait(now);
  }
  courier->SpoolAll();
  if (const size_t left = state.Unacknowledged().size(); left > 0) {
    spdlog::warn("{} reports are not acknowledged; those worth it wait in {} for the next start", left,
                 spool->folder());
  }
  return exit_code;
}

bool Agent::Impl::AllTrainersSettled() const {
  for (size_t i = 0; i < trainers.size(); ++i) {
    if (!trainers[i].ready() && !trainers[i].ended() && !hopeless[i]) return false;
  }
  return true;
}

void Agent::Impl::PumpTrainers(Instant now) {
  for (size_t i = 0; i < trainers.size(); ++i) {
    for (const TrainerEvent& event : trainers[i].Pump(now, state.Busy(i))) {
      if (const auto* lost = std::get_if<TrainerLost>(&event)) {
        OnLost(i, *lost, now);
      } else if (const auto* message = std::get_if<TrainerMessage>(&event)) {
        if (const auto* hello = std::get_if<Hello>(message)) {
          spdlog::info("{}: trainer {} is ready ({}, {} slot(s))", trainers[i].name(), trainers[i].pid(),
                       hello->device_name, hello->slots);
          hopeless[i] = false;
          backends[i] = hello->backend;
          courier->Hasten(now);
        }
        if (const auto* started_one = std::get_if<Started>(message)) ForgetCheckpointFile(started_one->attempt);
        if (const auto* stopped = std::get_if<Stopped>(message)) OnStopped(i, *stopped, now);
        Carry(state.OnTrainerMessage(i, *message), now);
      }
    }
  }
}

void Agent::Impl::OnLost(size_t device, const TrainerLost& lost, Instant now) {
  const bool said_hello = lost.deaths_before_hello == 0;
  const bool give_up = lost.deaths_before_hello >= kDeathsToGiveUpDevice;
  if (give_up && !hopeless[device]) {
    spdlog::error("{}: the trainer cannot be started ({} tries in a row); still trying. {}", trainers[device].name(),
                  lost.deaths_before_hello, lost.message);
  }
  hopeless[device] = hopeless[device] || give_up;
  Carry(state.OnTrainerLost(device, lost.cause, lost.message, said_hello, give_up), now);
  courier->Hasten(now);
}

void Agent::Impl::OnStopped(size_t device, const Stopped& stopped, Instant now) {
  std::shared_ptr<const Checkpoint> checkpoint;
  if (!stopped.checkpoint.empty()) {
    absl::StatusOr<std::string> bytes = ReadFile(stopped.checkpoint, kMaxCheckpointBytes);
    unlink(stopped.checkpoint.c_str());
    if (bytes.ok()) {
      checkpoint = std::make_shared<const Checkpoint>(Checkpoint{backends[device], std::move(*bytes)});
    } else {
      spdlog::warn("the checkpoint of attempt {} is left out, its next attempt starts anew: {}", stopped.attempt,
                   std::string(bytes.status().message()));
    }
  }
  Carry(state.HandBack(stopped.attempt, std::move(checkpoint)), now);
}

void Agent::Impl::OnAnswer(const Courier::Answer& answer, Instant now) {
  Reach(FailPoint::kAgentAnswer).IgnoreError();
  Changes changes = state.ApplyReply(answer.call, answer.reply, phase == Phase::kWorking);
  if (changes.new_database && !answer.call.database_id.empty()) {
    spdlog::warn("the coordinator now serves another database ({}): what this worker held is dropped",
                 answer.reply.database_id);
  }
  Carry(changes, now);
  Reach(FailPoint::kAgentApplied).IgnoreError();
  if (ReportPtr refused = state.TakeRefused()) spool->SetAside(*refused);
  if (answer.reply.stop) BeginStop(now, "the coordinator asks to stop", kExitOk);
  if (phase == Phase::kLeaving && answer.call.leaving && state.Unacknowledged().empty()) phase = Phase::kDone;
}

void Agent::Impl::Carry(const Changes& changes, Instant now) {
  for (const Cancel& cancel : changes.cancel) {
    ForgetCheckpointFile(cancel.attempt);
    trainers[cancel.device].Send(CancelLine(cancel.attempt));
  }
  for (const Train& train : changes.train) {
    if (trainers[train.device].ready()) SendTrain(train);  // else at its hello
  }
  courier->Settle(changes, now);
}

void Agent::Impl::SendTrain(const Train& train) {
  std::string path;
  if (train.checkpoint != nullptr) {
    path = StrCat(checkpoint_folder, "/", FileNameOf(train.attempt), ".resume");
    if (absl::Status status = WriteFileAtomic(path, train.checkpoint->bytes); !status.ok()) {
      spdlog::warn("attempt {} starts anew, its checkpoint cannot be written: {}", train.attempt,
                   std::string(status.message()));
      path.clear();
    } else {
      resumable.insert(train.attempt);
    }
  }
  trainers[train.device].Send(TrainLine(train.attempt, train.point, path));
}

void Agent::Impl::ForgetCheckpointFile(const std::string& attempt) {
  if (resumable.erase(attempt) == 0) return;
  unlink(StrCat(checkpoint_folder, "/", FileNameOf(attempt), ".resume").c_str());
}

void Agent::Impl::CheckLimits(Instant now) {
  if (phase == Phase::kWorking) {
    const std::optional<Instant> since = courier->unreachable_since();
    if (options.give_up > Duration::zero() && since.has_value() && now - *since >= options.give_up) {
      BeginStop(now, StrCat("no answer from ", options.coordinator, " for ", ToSeconds(options.give_up), " s"),
                kExitUnreachable);
    } else if (options.allocation > Duration::zero() &&
               now - started >= options.allocation - options.grace - options.leave_limit) {
      BeginStop(now, "the allocation ends", kExitOk);
    }
  } else if (phase == Phase::kStoppingTrainers) {
    const bool all_ended = std::all_of(trainers.begin(), trainers.end(), [](const auto& t) { return t.ended(); });
    if (all_ended || now >= phase_ends) FinishStop(now);
  } else if (phase == Phase::kLeaving && now >= phase_ends) {
    spdlog::warn("the coordinator did not take the last reports in time");
    phase = Phase::kDone;
  }
}

void Agent::Impl::BeginStop(Instant now, const std::string& why, int code) {
  if (phase != Phase::kWorking) return;
  spdlog::info("stopping: {}; handing back {} attempt(s)", why, state.HeldCount());
  phase = Phase::kStoppingTrainers;
  phase_ends = now + options.grace;
  exit_code = code;
  for (TrainerProcess& trainer : trainers) trainer.Stop(checkpoint_folder);
}

void Agent::Impl::FinishStop(Instant now) {
  for (size_t i = 0; i < trainers.size(); ++i) {
    trainers[i].Kill();
    Carry(state.HandBackAll(i), now);
  }
  courier->SpoolAll();  // before anything that may take time: a second signal ends the process at once
  phase = exit_code == kExitUnreachable ? Phase::kDone : Phase::kLeaving;
  phase_ends = now + options.leave_limit;
  courier->Leave(now);
}

void Agent::Impl::Wait(Instant now) {
  std::vector<pollfd> fds = {{wake.fd(), POLLIN, 0}, {stop_asked.fd(), POLLIN, 0}};
  if (options.parent_fd >= 0) fds.push_back({options.parent_fd, POLLIN, 0});
  Instant deadline = phase_ends;
  if (phase == Phase::kWorking && options.allocation > Duration::zero()) {
    deadline = std::min(deadline, started + options.allocation - options.grace - options.leave_limit);
  }
  for (size_t i = 0; i < trainers.size(); ++i) {
    trainers[i].AddPollFds(fds);
    if (std::optional<Instant> at = trainers[i].NextDeadline(state.Busy(i))) deadline = std::min(deadline, *at);
  }
  if (phase != Phase::kStoppingTrainers) {
    Instant call = courier->NextDeadline();
    if (!AllTrainersSettled()) call = std::max(call, started + kFirstCallPatience);
    deadline = std::min(deadline, call);
  }
  // Unreachability is noticed by failing calls, which wake this loop themselves.
  const double seconds = std::clamp(ToSeconds(std::max(deadline, now) - now), 0.0, 60.0);
  poll(fds.data(), fds.size(), static_cast<int>(std::ceil(seconds * 1000)));
}

}  // namespace capsweep::agent
