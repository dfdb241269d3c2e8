// What the store's writer thread reports, in order, for the engine's driver thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "common/clock.h"
#include "coordinator/core/events.h"

namespace capsweep::service {

// Thread-safe; its lock is a leaf, so that the writer never waits for the core.
class StoreReports {
 public:
  // Commits in a row are told as the last of them.
  void Push(core::Event event);
  void PushFatal(const absl::Status& status);
  void Stop();

  // Waits for a report or the deadline and takes all there are. `fatal` is set once. False after Stop.
  bool Take(Instant deadline, std::vector<core::Event>& events, absl::Status& fatal);

 private:
  // std's, not absl's: the wait must follow the monotonic clock, whatever happens to the wall clock.
  std::mutex mu_;
  std::condition_variable wake_;
  // Guarded by mu_.
  std::vector<core::Event> events_;
  absl::Status fatal_;
  bool fatal_taken_ = false;
  bool stop_ = false;
};

}  // namespace capsweep::service
