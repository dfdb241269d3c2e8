// A point that takes far too long is started a second time on an idle device; the first result counts.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

// w1 holds 1/1 since second 0, w2 has measured point 2 (10 s, as estimated) and is idle; it is second 30, both are
// alive.
constexpr const char* kOneIsSlow = R"(
> sweep 1 : 1..2
> sync w1
> commit
> sync w2
> commit
> tick 10
> sync w2 result=2/1=10
> commit
> tick 15
> sync w1 hold=1/1
> sync w2
> tick 5
)";

// Plays `then` after the above and returns what it printed.
std::string After(const std::string& before, const std::string& then) {
  const std::string first = Transcript().Play(before);
  return Transcript().Play(before + then).substr(first.size());
}

TEST(CoreStragglersTest, IdleWorkerStartsItAgainAndTheFirstResultCounts) {
  const std::string both = std::string(kOneIsSlow) + "> tick 10\n> sync w2\n> commit\n";
  const char* doubled = R"(> tick 10
> sync w2
  persist 5
    audit point_doubled point 1: attempt 1 of point 1 on w1 is slow: after 40 s started a second time, as attempt 2; the first result counts
    end 1/1 dropped (slow: after 40 s started a second time, as attempt 2; the first result counts)
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 6: assign 1/2 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(After(kOneIsSlow, "> tick 10\n> sync w2\n> commit\n"), doubled);
  // Neither is told to let go while the point is open.
  EXPECT_EQ(After(both, "> sync w1 hold=1/1\n> sync w2 hold=1/2\n").find("drop"), std::string::npos);
  // The slow one delivers first after all.
  const std::string slow_first = After(both, "> sync w1 result=1/1=45\n> commit\n> sync w2 hold=1/2\n> commit\n");
  EXPECT_NE(slow_first.find("end 1/2 dropped (attempt 1 was first)"), std::string::npos) << slow_first;
  EXPECT_NE(slow_first.find("result 1/1 from w1"), std::string::npos) << slow_first;
  EXPECT_NE(slow_first.find("drop 1/2"), std::string::npos) << slow_first;
  // The second one does; the slow one is let go, and what it delivers all the same is late.
  const std::string second_first = After(
      both, "> sync w2 result=1/2=10\n> commit\n> sync w1 hold=1/1\n> commit\n> sync w1 result=1/1=60\n> commit\n");
  EXPECT_NE(second_first.find("result 1/2 from w2"), std::string::npos) << second_first;
  EXPECT_NE(second_first.find("drop 1/1"), std::string::npos) << second_first;
  EXPECT_NE(second_first.find("end 1/1 late (attempt 2 was first)"), std::string::npos) << second_first;
}

TEST(CoreStragglersTest, WhatEitherOfTheTwoSuffersLeavesTheOtherAlone) {
  const std::string both = std::string(kOneIsSlow) + "> tick 10\n> sync w2\n> commit\n";
  // The slow one fails: history, no failure of the point.
  const std::string failed = After(both, "> sync w1 fail=1/1:internal\n> commit\n> show point 1\n");
  EXPECT_NE(failed.find("late"), std::string::npos) << failed;
  EXPECT_EQ(failed.find("point 1 pending"), std::string::npos) << failed;
  EXPECT_EQ(failed.find("may still deliver"), std::string::npos) << failed;
  // The new one is lost: a third is given out, and the slow one may still be first.
  const std::string lost = After(both, "> sync w2 #b\n> commit\n> sync w1 hold=1/1\n> sync w1 result=1/1\n> commit\n");
  EXPECT_NE(lost.find("end 1/2 lost"), std::string::npos) << lost;
  EXPECT_NE(lost.find("start 1/3 on w2#b"), std::string::npos) << lost;
  EXPECT_EQ(lost.find("drop 1/1"), std::string::npos) << lost;
  EXPECT_NE(lost.find("result 1/1 from w1"), std::string::npos) << lost;
  EXPECT_NE(lost.find("end 1/3 dropped"), std::string::npos) << lost;
  // The slow worker dies: nothing changes for the new one.
  const std::string dead = After(both, "> tick 10\n> sync w2 hold=1/2\n> tick 6\n> show point 1\n");
  EXPECT_NE(dead.find("worker_lost w1"), std::string::npos) << dead;
  EXPECT_EQ(dead.find("lost=1"), std::string::npos) << dead;
  EXPECT_NE(dead.find("Attempt 2 is held by worker w2"), std::string::npos) << dead;
  EXPECT_EQ(dead.find("may still deliver"), std::string::npos) << dead;
}

TEST(CoreStragglersTest, OnlyWhatIsMuchTooLateIsStartedAgainAndOnlyOnce) {
  EXPECT_EQ(After(kOneIsSlow, "> sync w2\n").find("start 1/2"), std::string::npos)
      << "30 s are not more than 3 times 10 s";
  EXPECT_EQ(After(kOneIsSlow, "> sync w1 hold=1/1@0.9\n> tick 10\n> sync w2\n").find("start 1/2"), std::string::npos)
      << "it will be done before a new start would";
  EXPECT_EQ(After(kOneIsSlow, "> pause 1\n> commit\n> tick 10\n> sync w2\n").find("start 1/2"), std::string::npos);
  EXPECT_EQ(After(kOneIsSlow, "> tick 10\n> sync w3 kind=unknown\n").find("start 1/2"), std::string::npos)
      << "of this kind nothing is known";
  const std::string both = std::string(kOneIsSlow) + "> tick 10\n> sync w2\n> commit\n> sync w1 hold=1/1\n> tick 25\n";
  EXPECT_EQ(After(both, "> sync w1 hold=1/1\n> sync w2 hold=1/2\n> tick 25\n> sync w3\n").find("start 1/3"),
            std::string::npos);
  // Other work goes first.
  const std::string more = After(kOneIsSlow, "> tick 10\n> sweep 2 : 3..3\n> sync w2\n");
  EXPECT_NE(more.find("start 3/1"), std::string::npos) << more;
  EXPECT_EQ(more.find("start 1/2"), std::string::npos) << more;
}

}  // namespace
}  // namespace capsweep::core
