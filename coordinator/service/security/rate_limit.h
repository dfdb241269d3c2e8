// Token buckets per key, in bounded memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/clock.h"
#include "common/mutex.h"

namespace capsweep::service {

// Thread-safe. Every key may be used `burst` times at once and `per_second` times a second in the long run. At most
// `max_keys` are remembered: beyond, those that have rested long enough to be full again are forgotten, and new ones
// share a bucket if there are none.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst, size_t max_keys, const Clock* clock)
      : per_second_(per_second), burst_(burst), max_keys_(max_keys), clock_(clock) {}

  // Whether `key` may be used once more now; if so it has been.
  bool Allow(std::string_view key);
  size_t keys();

 private:
  struct Bucket {
    double left = 0;
    Instant at{};
  };

  bool Take(Bucket& bucket, Instant now) const;
  void ForgetRested(Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const double per_second_, burst_;
  const size_t max_keys_;
  const Clock* const clock_;
  Mutex mu_;
  absl::flat_hash_map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mu_);
  Instant swept_ ABSL_GUARDED_BY(mu_){};
};

}  // namespace capsweep::service
