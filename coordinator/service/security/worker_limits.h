// How much one worker, one address and all of them together may ask of the coordinator.
#pragma once

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "coordinator/service/security/rate_limit.h"

namespace capsweep::service {

// A worker that keeps to the protocol has one call open, and makes at most some hundreds a second.
struct WorkerQuotas {
  double calls_per_second = 5000;  // of one worker
  double burst = 20'000;
  int open_calls = 16;  // of one worker
  size_t all_open_calls = 50'000;
  size_t workers = 50'000;  // names heard in the last hour
  size_t workers_of_address = 20'000;
  Duration remembered = std::chrono::hours(1);
};

// Thread-safe. Errors are Unavailable, which an agent takes for "later" and keeps its reports.
class WorkerLimits {
 public:
  WorkerLimits(const WorkerQuotas& quotas, const Clock* clock)
      : quotas_(quotas), clock_(clock), rate_(quotas.calls_per_second, quotas.burst, 2 * quotas.workers, clock) {}

  // A call of `worker` comes from `address`. If OK, End must follow.
  absl::Status Begin(const std::string& worker, const std::string& address);
  void End(const std::string& worker);
  size_t open_calls();

 private:
  struct Known {
    std::string address;
    Instant heard{};
    int open = 0;
  };

  absl::Status Admit(const std::string& worker, const std::string& address, Instant now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetSilent(Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const WorkerQuotas quotas_;
  const Clock* const clock_;
  RateLimiter rate_;
  Mutex mu_;
  absl::flat_hash_map<std::string, Known> workers_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, size_t> of_address_ ABSL_GUARDED_BY(mu_);
  size_t open_ ABSL_GUARDED_BY(mu_) = 0;
  Instant swept_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace capsweep::service
