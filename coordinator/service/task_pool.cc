#include "coordinator/service/task_pool.h"

#include <utility>

namespace capsweep::service {

TaskPool::TaskPool(int threads, size_t max_waiting) : max_waiting_(max_waiting) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Work(); });
  }
}

TaskPool::~TaskPool() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool TaskPool::Post(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  if (waiting_.size() >= max_waiting_) {
    return false;
  }
  waiting_.push_back(std::move(task));
  return true;
}

void TaskPool::Work() {
  const auto something_to_do = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || !waiting_.empty(); };
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(&something_to_do));
      if (waiting_.empty()) {
        return;
      }
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    task();
  }
}

}  // namespace capsweep::service
