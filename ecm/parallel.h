// Independent jobs on a few threads. Which thread runs a job does not change its outcome, so results do not depend on
// the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace capsweep::ecm {

// Calls job(0) … job(count − 1), each once; returns when all are done.
inline void ParallelFor(int count, int threads, const std::function<void(int)>& job) {
  std::atomic<int> next{0};
  auto work = [&] {
    for (int i = next++; i < count; i = next++) job(i);
  };
  std::vector<std::thread> helpers;
  for (int t = 1; t < std::min(threads, count); ++t) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace capsweep::ecm
