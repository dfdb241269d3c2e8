// simulate [--seeds N] [--first S] [--until-broken] | --seed S [--trace]: runs the simulation over many seeds on all
// cores, or until one breaks a promise, or replays one.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/simulation.h"

namespace {

using capsweep::simulation::Outcome;
using capsweep::simulation::Simulate;

int Replay(uint64_t seed, bool trace) {
  const Outcome outcome = Simulate(seed, capsweep::simulation::Mutant::kNone, trace);
  std::printf("seed %llu: %s (%lld events, digest %016llx)\n", static_cast<unsigned long long>(seed),
              outcome.violation.empty() ? "every promise was kept" : outcome.violation.c_str(),
              static_cast<long long>(outcome.events), static_cast<unsigned long long>(outcome.digest));
  return outcome.violation.empty() ? 0 : 1;
}

int RunMany(uint64_t first, uint64_t count, bool until_broken) {
  std::atomic<uint64_t> next{first}, failed{0};
  std::atomic<int64_t> events{0}, crashes{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (uint64_t seed = next++; seed < first + count && !(until_broken && failed > 0); seed = next++) {
        const Outcome outcome = Simulate(seed);
        events += outcome.events;
        crashes += outcome.coordinator_crashes + outcome.worker_crashes;
        if (outcome.violation.empty()) continue;
        ++failed;
        std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), outcome.violation.c_str());
        std::fflush(stdout);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%llu seeds from %llu, %lld events, %lld crashes: %llu broke a promise\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(first),
              static_cast<long long>(events.load()), static_cast<long long>(crashes.load()),
              static_cast<unsigned long long>(failed.load()));
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t first = 1, count = 10'000, seed = 0;
  bool trace = false, until_broken = false;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--trace") {
      trace = true;
    } else if (flag == "--until-broken") {
      until_broken = true;
    } else if (flag == "--seed" && has_value) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (flag == "--seeds" && has_value) {
      count = std::strtoull(argv[++i], nullptr, 10);
    } else if (flag == "--first" && has_value) {
      first = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr, "simulate [--seeds N] [--first S] [--until-broken] | --seed S [--trace]\n");
      return 2;
    }
  }
  return seed > 0 ? Replay(seed, trace) : RunMany(first, count, until_broken);
}
