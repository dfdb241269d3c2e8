// A few threads for calls that block: enumerating a sweep, reading the database. gRPC's own threads must stay free for
// the workers' calls.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace capsweep::service {

class TaskPool {
 public:
  TaskPool(int threads, size_t max_waiting);
  ~TaskPool();  // runs what is queued, then joins

  // False if too many tasks wait already; then `task` is not run.
  bool Post(std::function<void()> task);

 private:
  void Work();

  const size_t max_waiting_;
  Mutex mu_;
  std::condition_variable_any work_or_stop_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace capsweep::service
