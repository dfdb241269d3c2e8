#include "common/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <features.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "common/status.h"
#include "common/text.h"

extern char** environ;

namespace capsweep {
namespace {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// Both ends lie above the standard descriptors, even in a process that was started without them: the child's
// descriptors 0..2 are then made by dup2, which also takes the close-on-exec flag off.
absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FromErrno(errno, "create a pipe");
  Pipe raw{UniqueFd(ends[0]), UniqueFd(ends[1])};
  Pipe moved{UniqueFd(fcntl(raw.read.get(), F_DUPFD_CLOEXEC, 3)), UniqueFd(fcntl(raw.write.get(), F_DUPFD_CLOEXEC, 3))};
  if (moved.read.get() < 0 || moved.write.get() < 0) return FromErrno(errno, "move a pipe");
  return moved;
}

absl::StatusOr<UniqueFd> OpenForAppend(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (file.get() < 0) return FromErrno(errno, StrCat("open ", path, " for a child's standard error"));
  UniqueFd moved(fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
  if (moved.get() < 0) return FromErrno(errno, StrCat("move the descriptor of ", path));
  return moved;
}

// Writing to a child that died must be an error code, not the end of this process.
void IgnoreSigpipe() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction now = {};
    if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
  });
}

// posix_spawn's two argument objects, released on every path.
class SpawnArguments {
 public:
  SpawnArguments() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  ~SpawnArguments() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnArguments(const SpawnArguments&) = delete;
  SpawnArguments& operator=(const SpawnArguments&) = delete;

  void Redirect(int from, int to) { posix_spawn_file_actions_adddup2(&actions_, from, to); }

  // Descriptors that some library opened without close-on-exec do not reach the child either.
  void CloseTheRest() {
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
#endif
#endif
  }

  // A child starts with no signal blocked and with the defaults for the signals that programs of this house handle.
  void SetSignalsAndGroup(bool new_process_group) {
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    for (int signal : {SIGINT, SIGTERM, SIGQUIT, SIGPIPE, SIGCHLD, SIGUSR1, SIGUSR2}) sigaddset(&defaults, signal);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (new_process_group) {
      posix_spawnattr_setpgroup(&attributes_, 0);
      flags |= POSIX_SPAWN_SETPGROUP;
    }
    posix_spawnattr_setflags(&attributes_, flags);
  }

  const posix_spawn_file_actions_t* actions() const {
    return &actions_;
  }
  const posix_spawnattr_t* attributes() const {
    return &attributes_;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!added.contains(std::string(text.substr(0, text.find('='))))) merged.emplace_back(text);
  }
  for (const auto& [name, value] : added) merged.push_back(StrCat(name, "=", value));
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

int ExitFromWaitStatus(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

absl::StatusOr<Subprocess> Subprocess::Start(const SubprocessOptions& options) {
  if (options.argv.empty() || options.argv[0].empty()) {
    return absl::InvalidArgumentError("start a child process: no program was named");
  }
  IgnoreSigpipe();
  SpawnArguments spawn;
  Pipe to_child, from_child;
  UniqueFd errors;
  if (options.pipe_stdin) {
    ASSIGN_OR_RETURN(to_child, MakePipe());
    spawn.Redirect(to_child.read.get(), STDIN_FILENO);
  }
  if (options.pipe_stdout) {
    ASSIGN_OR_RETURN(from_child, MakePipe());
    if (fcntl(from_child.read.get(), F_SETFL, O_NONBLOCK) != 0) return FromErrno(errno, "set a pipe non-blocking");
    spawn.Redirect(from_child.write.get(), STDOUT_FILENO);
  }
  if (!options.stderr_path.empty()) {
    ASSIGN_OR_RETURN(errors, OpenForAppend(options.stderr_path));
    spawn.Redirect(errors.get(), STDERR_FILENO);
  }
  spawn.CloseTheRest();
  spawn.SetSignalsAndGroup(options.new_process_group);

  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> environment = MergedEnvironment(options.env);
  std::vector<char*> argument_pointers = Pointers(arguments);
  std::vector<char*> environment_pointers = Pointers(environment);
  Subprocess child;
  // posix_spawn never runs this program's code between fork and exec, so it is safe beside other threads and reports a
  // failed exec as its own error.
  const int error = posix_spawn(&child.pid_, arguments[0].c_str(), spawn.actions(), spawn.attributes(),
                                argument_pointers.data(), environment_pointers.data());
  if (error != 0) {
    child.pid_ = -1;
    return FromErrno(error, StrCat("start ", options.argv[0]));
  }
  child.own_group_ = options.new_process_group;
  child.stdin_fd_ = to_child.write.Release();
  child.stdout_fd_ = from_child.read.Release();
  return child;
}

Subprocess::Subprocess(Subprocess&& other) noexcept {
  *this = std::move(other);
}

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(own_group_, other.own_group_);
  std::swap(stdin_fd_, other.stdin_fd_);
  std::swap(stdout_fd_, other.stdout_fd_);
  std::swap(exit_, other.exit_);
  return *this;
}

Subprocess::~Subprocess() {
  if (pid_ > 0 && !Poll().has_value()) {
    Signal(SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  CloseStdin();
  if (stdout_fd_ >= 0) close(stdout_fd_);
}

void Subprocess::CloseStdin() {
  if (stdin_fd_ >= 0) close(std::exchange(stdin_fd_, -1));
}

void Subprocess::Signal(int signal) {
  // A reaped pid may already belong to someone else.
  if (pid_ <= 0 || exit_.has_value()) return;
  // What the child started itself must not outlive it when it is killed.
  if (signal == SIGKILL && own_group_) kill(-pid_, signal);
  kill(pid_, signal);
}

std::optional<int> Subprocess::Poll() {
  if (pid_ <= 0 || exit_.has_value()) return exit_;
  int status = 0;
  const pid_t got = waitpid(pid_, &status, WNOHANG);
  if (got == pid_) {
    exit_ = ExitFromWaitStatus(status);
  } else if (got < 0 && errno == ECHILD) {
    exit_ = 127;  // reaped by someone else in this process: the code is gone
  }
  return exit_;
}

std::optional<int> Subprocess::Wait(Duration timeout) {
  const Instant deadline = std::chrono::steady_clock::now() + timeout;
  Duration pause = std::chrono::milliseconds(1);
  while (!Poll().has_value()) {
    const Duration left = deadline - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) break;
    std::this_thread::sleep_for(std::min(pause, left));
    pause = std::min<Duration>(pause * 2, std::chrono::milliseconds(20));
  }
  return exit_;
}

}  // namespace capsweep
