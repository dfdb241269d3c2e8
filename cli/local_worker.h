// The one capsweep-worker child of `capsweep run`: started, restarted if it dies, stopped.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/subprocess.h"

namespace capsweep::cli {

struct LocalWorkerOptions {
  std::string program;      // path of capsweep-worker
  std::string trainer;      // path of the trainer; "" = the worker's choice
  std::string coordinator;  // host:port
  std::string devices;      // as --devices
  std::string folder;       // reports not delivered yet and worker.log live here; made if missing
};

// Not thread-safe. The child watches its standard input, so that it and its trainers end when this process does,
// however it does. Destruction kills it.
class LocalWorker {
 public:
  static absl::StatusOr<LocalWorker> Start(LocalWorkerOptions options);

  // Call often. Restarts a dead child after a growing pause. An error ends the run: the child refuses its options
  // (InvalidArgument) or keeps dying although nothing gets done in between (Internal); both end with what its log says.
  // `restarted` is set if a child was started anew, with its predecessor's exit code.
  absl::Status Watch(int64_t points_done, Instant now, std::optional<int>& restarted);

  // Asks it to hand back what it holds and waits up to `limit`.
  void Stop(Duration limit);

  const std::string& log_path() const { return log_path_; }

 private:
  LocalWorker(LocalWorkerOptions options, Subprocess child);

  LocalWorkerOptions options_;
  std::string log_path_;
  Subprocess child_;
  int deaths_ = 0;  // since the last finished point
  int64_t done_at_death_ = 0;
  std::optional<int> dead_;  // exit code of a child that waits to be restarted
  Instant restart_at_{};
};

// `text` of --devices: auto, all, cpu, cpu:N or cuda:0,1. InvalidArgument says so; whether the devices exist is the
// worker's to say.
absl::Status ValidateDevices(const std::string& text);

}  // namespace capsweep::cli
