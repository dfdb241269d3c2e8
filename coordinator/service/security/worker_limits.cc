#include "coordinator/service/security/worker_limits.h"

#include "common/text.h"

namespace capsweep::service {

absl::Status WorkerLimits::Begin(const std::string& worker, const std::string& address) {
  if (!rate_.Allow(worker)) {
    return absl::UnavailableError(
        StrCat("worker ", worker, " calls more than ", quotas_.calls_per_second, " times a second; call again later"));
  }
  const Instant now = clock_->Now();
  MutexLock lock(&mu_);
  if (open_ >= quotas_.all_open_calls) {
    return absl::UnavailableError(StrCat(quotas_.all_open_calls, " calls of workers are open; call again later"));
  }
  auto found = workers_.find(worker);
  if (found == workers_.end()) {
    if (const absl::Status status = Admit(worker, address, now); !status.ok()) {
      return status;
    }
    found = workers_.find(worker);
  }
  Known& known = found->second;
  if (known.open >= quotas_.open_calls) {
    return absl::UnavailableError(
        StrCat("worker ", worker, " has ", known.open, " calls open; a worker makes one at a time"));
  }
  known.heard = now;
  ++known.open;
  ++open_;
  return absl::OkStatus();
}

absl::Status WorkerLimits::Admit(const std::string& worker, const std::string& address, Instant now) {
  if (workers_.size() >= quotas_.workers || of_address_[address] >= quotas_.workers_of_address) {
    ForgetSilent(now);
  }
  if (workers_.size() >= quotas_.workers) {
    return absl::UnavailableError(StrCat("there are ", quotas_.workers, " workers already; call again later"));
  }
  size_t& count = of_address_[address];
  if (count >= quotas_.workers_of_address) {
    return absl::UnavailableError(
        StrCat("there are ", count, " workers at ", address, " already; give agents names that stay the same"));
  }
  ++count;
  workers_.emplace(worker, Known{address, now, 0});
  return absl::OkStatus();
}

void WorkerLimits::ForgetSilent(Instant now) {
  if (swept_ != Instant{} && now - swept_ < std::chrono::seconds(1)) {
    return;  // a flood of new names must not make every call walk over all of them
  }
  swept_ = now;
  absl::erase_if(workers_, [&](const auto& entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const Known& known = entry.second;
    if (known.open > 0 || now - known.heard < quotas_.remembered) {
      return false;
    }
    const auto count = of_address_.find(known.address);
    if (count != of_address_.end() && --count->second == 0) {
      of_address_.erase(count);
    }
    return true;
  });
}

void WorkerLimits::End(const std::string& worker) {
  MutexLock lock(&mu_);
  --open_;
  if (const auto found = workers_.find(worker); found != workers_.end()) {
    --found->second.open;
  }
}

size_t WorkerLimits::open_calls() {
  MutexLock lock(&mu_);
  return open_;
}

}  // namespace capsweep::service
