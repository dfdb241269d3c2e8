// A child process with pipes. The agent runs its trainers and `capsweep run` its worker through this.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"

namespace capsweep {

struct SubprocessOptions {
  std::vector<std::string> argv;           // argv[0] is a path
  std::map<std::string, std::string> env;  // added to the parent's
  bool pipe_stdin = false;                 // the child sees end of input when this process dies, however it dies
  bool pipe_stdout = false;
  std::string stderr_path;        // "" = inherit; else appended to this file
  bool new_process_group = true;  // so that Ctrl-C in a terminal reaches only the parent
};

// Not thread-safe. Close-on-exec everywhere: no child holds another child's pipe open.
class Subprocess {
 public:
  // NotFound or PermissionDenied when the program cannot be run. From the first call on this process ignores SIGPIPE
  // (unless it handles it), so that a write to a dead child is an error and not the end.
  static absl::StatusOr<Subprocess> Start(const SubprocessOptions& options);
  Subprocess(Subprocess&&) noexcept;
  Subprocess& operator=(Subprocess&&) noexcept;
  ~Subprocess();  // SIGKILL and reap if still alive

  pid_t pid() const { return pid_; }
  int stdin_fd() const { return stdin_fd_; }    // -1 if not piped; blocking writes
  int stdout_fd() const { return stdout_fd_; }  // -1 if not piped; non-blocking reads
  void CloseStdin();
  void Signal(int signal);  // SIGKILL reaches the child's whole process group if it has its own

  // Exit of the child: code, or 128 + signal. nullopt while it runs.
  std::optional<int> Poll();
  std::optional<int> Wait(Duration timeout);

 private:
  Subprocess() = default;
  pid_t pid_ = -1;
  int stdin_fd_ = -1;
  int stdout_fd_ = -1;
  bool own_group_ = false;
  std::optional<int> exit_;
};

}  // namespace capsweep
