#include "tests/simulation/simulation.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace capsweep::simulation {
namespace {

// Run by CTest as shards side by side; together they cover the seeds 1 to 10,000. Under a sanitizer, which is slower by
// seven, a tenth of them pass every line.
#ifdef CAPSWEEP_SANITIZED
constexpr uint64_t kSeeds = 500;
#else
constexpr uint64_t kSeeds = 5000;
#endif

void ExpectAllKept(uint64_t first, uint64_t count) {
  Outcome sum;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const Outcome outcome = Simulate(seed);
    ASSERT_EQ(outcome.violation, "") << "seed " << seed << "; replay: simulate --seed " << seed << " --trace";
    sum.coordinator_crashes += outcome.coordinator_crashes;
    sum.worker_crashes += outcome.worker_crashes;
    sum.lost_messages += outcome.lost_messages;
    sum.late_results += outcome.late_results;
    sum.doubled += outcome.doubled;
    sum.results += outcome.results;
    sum.events += outcome.events;
  }
  // A storm that never blows proves nothing.
  EXPECT_GT(sum.coordinator_crashes, static_cast<int64_t>(count) / 4);
  EXPECT_GT(sum.worker_crashes, static_cast<int64_t>(count) / 4);
  EXPECT_GT(sum.lost_messages, static_cast<int64_t>(count));
  EXPECT_GT(sum.late_results, static_cast<int64_t>(count) / 50);
  EXPECT_GT(sum.doubled, static_cast<int64_t>(count) / 50);
  std::printf(
      "%llu seeds: %lld events, %lld results, %lld + %lld crashes, %lld lost messages, %lld late results, %lld "
      "doubled\n",
      static_cast<unsigned long long>(count), static_cast<long long>(sum.events), static_cast<long long>(sum.results),
      static_cast<long long>(sum.coordinator_crashes), static_cast<long long>(sum.worker_crashes),
      static_cast<long long>(sum.lost_messages), static_cast<long long>(sum.late_results),
      static_cast<long long>(sum.doubled));
}

TEST(SimulationTest, EveryPromiseIsKeptFirstHalf) {
  ExpectAllKept(1, kSeeds);
}
TEST(SimulationTest, EveryPromiseIsKeptSecondHalf) {
  ExpectAllKept(kSeeds + 1, kSeeds);
}

TEST(SimulationTest, ASeedReplaysExactly) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const Outcome first = Simulate(seed), second = Simulate(seed);
    EXPECT_EQ(first.digest, second.digest) << seed;
    EXPECT_EQ(first.events, second.events) << seed;
  }
  EXPECT_NE(Simulate(2).digest, Simulate(3).digest);
}

class MutantTest : public ::testing::TestWithParam<Mutant> {};

TEST_P(MutantTest, IsCaught) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    const Outcome outcome = Simulate(seed, GetParam());
    if (!outcome.violation.empty()) {
      std::printf("%s: caught by seed %llu: %s\n", std::string(NameOf(GetParam())).c_str(),
                  static_cast<unsigned long long>(seed), outcome.violation.c_str());
      return;
    }
  }
  FAIL() << NameOf(GetParam()) << " went through 400 seeds unnoticed";
}

INSTANTIATE_TEST_SUITE_P(All, MutantTest, ::testing::ValuesIn(AllMutants()), [](const auto& parameter) {
  std::string name(NameOf(parameter.param));
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace capsweep::simulation
