#include "coordinator/service/store_reports.h"

#include <utility>
#include <variant>

namespace capsweep::service {

void StoreReports::Push(core::Event event) {
  {
    std::lock_guard lock(mu_);
    const auto* now = std::get_if<core::StoreCommitted>(&event);
    auto* last = events_.empty() ? nullptr : std::get_if<core::StoreCommitted>(&events_.back());
    if (now != nullptr && last != nullptr) {
      last->ticket = now->ticket;
      return;  // the driver has been woken for the earlier one
    }
    events_.push_back(std::move(event));
  }
  wake_.notify_one();
}

void StoreReports::PushFatal(const absl::Status& status) {
  {
    std::lock_guard lock(mu_);
    if (fatal_.ok()) {
      fatal_ = status;
    }
  }
  wake_.notify_one();
}

void StoreReports::Stop() {
  {
    std::lock_guard lock(mu_);
    stop_ = true;
  }
  wake_.notify_one();
}

bool StoreReports::Take(Instant deadline, std::vector<core::Event>& events, absl::Status& fatal) {
  std::unique_lock lock(mu_);
  wake_.wait_until(lock, deadline, [this] { return stop_ || !events_.empty() || (!fatal_.ok() && !fatal_taken_); });
  events.clear();
  events.swap(events_);
  fatal = fatal_taken_ ? absl::OkStatus() : fatal_;
  fatal_taken_ = fatal_taken_ || !fatal.ok();
  return !stop_;
}

}  // namespace capsweep::service
