// The thread that asks the planners of sweeps that search, whenever results came or devices did, and stores what they
// want. It remembers nothing that matters: after a crash it starts from the results again.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/mutex.h"
#include "coordinator/core/core.h"
#include "coordinator/plan/adaptive.h"
#include "coordinator/plan/search.h"
#include "coordinator/store/store.h"

namespace capsweep::service {

// What is to be planned, as the core knows it.
struct PlannerLook {
  std::vector<core::Searching> sweeps;
  int64_t slots = 0;  // points that the connected devices could run at once
};

class Planner {
 public:
  // `submitting` is held while the plan of one sweep is stored, so that nobody extends it meanwhile, and while it is
  // made, but for the fits of an adaptive sweep, which take up to seconds; `look` and `apply` take the engine's lock.
  // All must outlive the planner.
  Planner(store::Store* store, Mutex* submitting, std::function<PlannerLook()> look,
          std::function<void(const core::Event&)> apply);
  ~Planner();  // ends the round it is in (of an adaptive sweep: the fit), then joins

  // Something may have changed. Any thread; cheap.
  void Wake();

 private:
  // What was planned last for a sweep; when nothing of it has changed there is nothing to do.
  struct Planned {
    uint64_t mark = 0;
    int64_t slots = 0;
    std::string text;                          // the sweep file behind `search`
    std::unique_ptr<plan::Search> search;      // of mac, mls, minnet
    std::unique_ptr<plan::Adaptive> adaptive;  // of adaptive
    std::vector<store::SearchRow> stored;
  };

  void Work();
  bool WaitForWork();  // false: the end
  void PlanAll();
  absl::Status PlanOne(const core::Searching& sweep, int64_t slots, Planned& planned);
  absl::Status Understand(const store::SearchInput& input, Planned& planned);
  absl::StatusOr<plan::SearchPlan> Ask(const store::SearchInput& input, int64_t slots, Planned& planned);
  bool stopping();

  store::Store* const store_;
  Mutex* const submitting_;
  const std::function<PlannerLook()> look_;
  const std::function<void(const core::Event&)> apply_;
  absl::flat_hash_map<SweepId, Planned> planned_;  // of the thread alone
  Duration fitted_{};                              // of the fits since the last pause; of the thread alone

  Mutex mu_;
  std::condition_variable_any wake_;
  bool woken_ ABSL_GUARDED_BY(mu_) = true;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace capsweep::service
