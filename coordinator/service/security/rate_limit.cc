#include "coordinator/service/security/rate_limit.h"

#include <algorithm>

namespace capsweep::service {
namespace {

constexpr std::string_view kShared = "\n";  // no key of ours has a line feed
constexpr Duration kSweepEvery = std::chrono::seconds(1);

}  // namespace

bool RateLimiter::Take(Bucket& bucket, Instant now) const {
  bucket.left = std::min(burst_, bucket.left + per_second_ * ToSeconds(now - bucket.at));
  bucket.at = now;
  if (bucket.left < 1) {
    return false;
  }
  bucket.left -= 1;
  return true;
}

void RateLimiter::ForgetRested(Instant now) {
  if (now - swept_ < kSweepEvery && swept_ != Instant{}) {
    return;  // a flood of new keys must not make every call walk over all of them
  }
  swept_ = now;
  absl::erase_if(buckets_, [&](const auto& entry) {
    return entry.second.left + per_second_ * ToSeconds(now - entry.second.at) >= burst_;
  });
}

bool RateLimiter::Allow(std::string_view key) {
  const Instant now = clock_->Now();
  MutexLock lock(&mu_);
  const auto found = buckets_.find(std::string(key));
  if (found != buckets_.end()) {
    return Take(found->second, now);
  }
  if (buckets_.size() >= max_keys_) {
    ForgetRested(now);
  }
  const std::string_view held = buckets_.size() >= max_keys_ ? kShared : key;
  return Take(buckets_.try_emplace(std::string(held), Bucket{burst_, now}).first->second, now);
}

size_t RateLimiter::keys() {
  MutexLock lock(&mu_);
  return buckets_.size();
}

}  // namespace capsweep::service
