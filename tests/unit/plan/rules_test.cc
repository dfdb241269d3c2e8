// The rules of MAC, MLS and minnet on made-up runs, against brute force and a plain sequential reading of the rule.
#include "coordinator/plan/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace capsweep::plan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Drives a rule as a sequential experimenter would: runs what it needs, tells it, asks again.
struct Driven {
  Ruling ruling;
  std::vector<Probe> asked;
};
Driven Drive(const std::function<Ruling(const Ask&)>& rule, const std::function<bool(const Probe&)>& ok) {
  std::map<Probe, bool> known;
  Driven driven;
  for (int i = 0; i < 100'000; ++i) {
    driven.ruling = rule([&](const Probe& probe) -> Told {
      const auto it = known.find(probe);
      return it == known.end() ? Told{} : Told{it->second ? Answer::kYes : Answer::kNo, ""};
    });
    if (!driven.ruling.needs.has_value()) return driven;
    EXPECT_TRUE(known.emplace(*driven.ruling.needs, ok(*driven.ruling.needs)).second) << "asked twice";
    driven.asked.push_back(*driven.ruling.needs);
  }
  ADD_FAILURE() << "never ends";
  return driven;
}

TEST(MlsRuleTest, FindsEveryThresholdOfAMonotoneLimitExactly) {
  SearchSpec search;
  search.tolerance = 0;
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const auto limit = static_cast<int64_t>(random() % 5000);
    const auto start = static_cast<int64_t>(1 + random() % 3000);
    int64_t brute = 0;
    for (int64_t size = 1; size <= 6000; ++size) {
      if (size <= limit) brute = size;
    }
    const Driven d = Drive([&](const Ask& ask) { return RuleMls(search, start, ask); },
                           [&](const Probe& p) { return p.size <= limit; });
    EXPECT_EQ(d.ruling.value, brute) << "start " << start;
    EXPECT_THAT(d.ruling.stopped, IsEmpty());
  }
}

TEST(MlsRuleTest, ToleranceEndsEarlierAndBelowTheLimit) {
  SearchSpec search;  // 3 %
  for (int64_t limit = 40; limit < 3000; limit += 7) {
    const Driven d = Drive([&](const Ask& ask) { return RuleMls(search, 50, ask); },
                           [&](const Probe& p) { return p.size <= limit; });
    EXPECT_LE(d.ruling.value, limit);
    EXPECT_GE(static_cast<double>(d.ruling.value), static_cast<double>(limit) / 1.03 - 1);
  }
}

TEST(MlsRuleTest, ANextRestartIsOnlyNeededWhereTheLastFailedAndAnySuccessCounts) {
  SearchSpec search;
  search.tolerance = 0;
  const Driven d = Drive([&](const Ask& ask) { return RuleMls(search, 4, ask); },
                         [](const Probe& p) { return p.size <= 4 || (p.size == 5 && p.run == 2); });
  EXPECT_EQ(d.ruling.value, 5);
  // 4 at once; 8, 6 and 5 up to their third restart; then 6 again.
  EXPECT_THAT(d.asked,
              ElementsAre(Probe{4, 0}, Probe{8, 0}, Probe{8, 1}, Probe{8, 2}, Probe{6, 0}, Probe{6, 1}, Probe{6, 2},
                          Probe{5, 0}, Probe{5, 1}, Probe{5, 2}, Probe{6, 3}, Probe{6, 4}, Probe{6, 5}));
}

TEST(MlsRuleTest, ARetestThatSucceedsGoesOnFromThere) {
  SearchSpec search;
  search.tolerance = 0;
  const Driven d = Drive([&](const Ask& ask) { return RuleMls(search, 4, ask); },
                         [](const Probe& p) { return p.size <= 4 || (p.size == 5 && p.run == 4); });
  EXPECT_EQ(d.ruling.value, 5);
}

// Success by chance, near the limit and not monotone. What is found must be a size that some run memorized, next to one
// that failed with twice the restarts.
TEST(MlsRuleTest, ANoisyLimitEndsBetweenASuccessAndADoubleFailure) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SearchSpec search;
    search.restarts = 1 + seed % 4;
    const auto ok = [&](const Probe& p) {
      std::mt19937 random(seed * 7919 + static_cast<unsigned>(p.size * 31 + p.run));
      random.discard(3);
      const double chance = p.size < 80 ? 1 : p.size > 160 ? 0 : static_cast<double>(160 - p.size) / 80;
      return static_cast<double>(random() % 1000) < 1000 * chance;
    };
    const Driven d = Drive([&](const Ask& ask) { return RuleMls(search, 16, ask); }, ok);
    const int64_t found = d.ruling.value;
    std::map<int64_t, int64_t> failed;
    bool succeeded = false;
    for (const Probe& p : d.asked) {
      succeeded = succeeded || (p.size == found && ok(p));
      failed[p.size] += ok(p) ? 0 : 1;
    }
    EXPECT_TRUE(succeeded);
    const auto above = failed.upper_bound(found);
    ASSERT_NE(above, failed.end());
    EXPECT_EQ(above->second, 2 * search.restarts);
    EXPECT_LE(above->first - found, std::max<int64_t>(1, static_cast<int64_t>(0.03 * static_cast<double>(found))));
  }
}

TEST(MlsRuleTest, EndsAtTheLargestLibraryAndWhereThereIsNone) {
  SearchSpec search;
  search.largest = 100;
  const Driven full =
      Drive([&](const Ask& ask) { return RuleMls(search, 30, ask); }, [](const Probe&) { return true; });
  EXPECT_EQ(full.ruling.value, 100);
  EXPECT_THAT(full.ruling.stopped, HasSubstr("search.largest is 100"));
  const Ruling none = RuleMls(search, 30, [](const Probe& p) -> Told {
    return p.size > 40 ? Told{Answer::kImpossible, "too large for the alphabet"} : Told{Answer::kYes, ""};
  });
  EXPECT_EQ(none.value, 30);
  EXPECT_EQ(none.stopped, "too large for the alphabet");
}

TEST(MinnetRuleTest, FindsTheSmallestSizeThatSucceeds) {
  SearchSpec search;
  search.knob = "width";
  search.from = 4;
  search.to = 61;  // not met by the steps: the largest is 60
  search.step = 4;
  search.trials = 3;
  for (int64_t smallest = 0; smallest <= 60; ++smallest) {
    int64_t brute = 0;
    for (int64_t size = 60; size >= 4; size -= 4) brute = size >= smallest ? size : brute;
    const Driven d = Drive([&](const Ask& ask) { return RuleMinnet(search, ask); },
                           [&](const Probe& p) { return p.size >= smallest && p.run == 1; });
    EXPECT_EQ(d.ruling.value, brute);
    EXPECT_EQ(d.ruling.succeeded, (Probe{brute, 1}));
  }
  const Driven none =
      Drive([&](const Ask& ask) { return RuleMinnet(search, ask); }, [](const Probe&) { return false; });
  EXPECT_THAT(none.ruling.stopped, HasSubstr("none of 3 trials with width 60"));
  EXPECT_EQ(none.asked.size(), 3u);
}

// A model that holds `capacity` items, and `jam` of them less for every doubling beyond.
LibraryRuns Holds(double capacity, double loss, int64_t size) {
  LibraryRuns runs;
  runs.settled = true;
  runs.done = 1;
  runs.items_mem = std::min<double>(capacity, static_cast<double>(size));
  if (static_cast<double>(size) > 2 * capacity) runs.items_mem *= 1 - loss;
  runs.items_corr = runs.items_mem;
  return runs;
}

TEST(MacRuleTest, DoublesWhileTheLibraryIsFullThenOnceMore) {
  std::set<int64_t> seen;
  const auto look = [&](int64_t size) {
    seen.insert(size);
    return Holds(500, 0, size);
  };
  const MacRuling ruling = RuleMac(100, 10, look);
  EXPECT_THAT(ruling.needs, IsEmpty());
  EXPECT_EQ(ruling.mac, 500);
  EXPECT_FALSE(ruling.unsettled);
  EXPECT_THAT(seen, ElementsAre(100, 200, 400, 800, 1600));
}

TEST(MacRuleTest, TheLargestMeanCountsAndAChangeByMoreThanATenthIsSaid) {
  const MacRuling ruling = RuleMac(600, 10, [](int64_t size) { return Holds(500, 0.2, size); });
  EXPECT_EQ(ruling.mac, 500);
  EXPECT_TRUE(ruling.unsettled) << "400 at the last doubling";
  EXPECT_FALSE(RuleMac(600, 10, [](int64_t size) { return Holds(500, 0.09, size); }).unsettled);
}

TEST(MacRuleTest, ALibraryAndTheNextAreAskedForTogether) {
  std::map<int64_t, LibraryRuns> known;
  const auto look = [&](int64_t size) { return known.contains(size) ? known[size] : LibraryRuns{}; };
  EXPECT_THAT(RuleMac(100, 10, look).needs, ElementsAre(100, 200));
  known[100] = Holds(90, 0, 100);
  EXPECT_THAT(RuleMac(100, 10, look).needs, ElementsAre(200));
  known[100] = Holds(150, 0, 100);
  EXPECT_THAT(RuleMac(100, 10, look).needs, ElementsAre(200, 400));
}

TEST(MacRuleTest, SaysWhyItDidNotSettle) {
  const MacRuling full = RuleMac(100, 2, [](int64_t size) { return Holds(1e6, 0, size); });
  EXPECT_THAT(full.stopped, HasSubstr("nine tenths of 400 items"));
  EXPECT_EQ(full.mac, 400);
  EXPECT_TRUE(full.unsettled);
  const MacRuling none = RuleMac(100, 2, [](int64_t size) {
    LibraryRuns runs = Holds(1e6, 0, size);
    if (size > 100) runs.impossible = "too large for the alphabet";
    return runs;
  });
  EXPECT_EQ(none.stopped, "too large for the alphabet");
  EXPECT_EQ(none.mac, 100);
  const MacRuling failed = RuleMac(100, 2, [](int64_t) { return LibraryRuns{true, 0, 0, 0, ""}; });
  EXPECT_THAT(failed.stopped, HasSubstr("every run with 100 items failed"));
  EXPECT_FALSE(failed.mac.has_value());
}

}  // namespace
}  // namespace capsweep::plan
