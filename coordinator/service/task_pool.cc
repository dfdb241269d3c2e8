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
    MutexLock lock(&mu_);
    stop_ = true;
  }
  work_or_stop_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

bool TaskPool::Post(std::function<void()> task) {
  MutexLock lock(&mu_);
  if (waiting_.size() >= max_waiting_) {
    return false;
  }
  waiting_.push_back(std::move(task));
  work_or_stop_.notify_one();
  return true;
}

void TaskPool::Work() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mu_);
      while (!stop_ && waiting_.empty()) {
        work_or_stop_.wait(mu_);
      }
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
