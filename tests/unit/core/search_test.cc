// Sweeps whose points follow from results: open until their planner has spoken.
// The language of the transcripts is explained in transcript.h.
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CoreSearchTest, ASearchIsNotFinishedBeforeItsPlannerSaysSo) {
  const char* transcript = R"(
> sweep 1 searches : 1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do, more may come
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> sync w1 result=1/1
  persist 3
    result 1/1 from w1 cpu:0
    worker w1#a idle
> commit
  reply 2: 1/1=accepted next=0.05s
> planned 1 cells=3 settled=1
> show sweeps
  s1 running: 1 points, 1 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 1, eta -1
> show sweep 1
  Sweep s1 is running. Of its points 1 are done, 0 running, 0 pending, 0 failed, 0 cancelled. It searches: 1 of 3 architectures are settled, further points follow from results. Results arrive at 1 per second.
> sweep 1 searches probes : 2
  persist 4
    audit sweep_extended s1: 2 points, 1 to do, more may come
> sync w1
  persist 5
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 3: assign 2/1 to cpu:0 for 10s next=0.5s
> planned 1 complete
> sync w1 result=2/1
  persist 6
    result 2/1 from w1 cpu:0
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSearchTest, WhatThePlannerSaidBeforeTheLastResultDoesNotCount) {
  const char* transcript = R"(
> sweep 1 searches : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do, more may come
> sync w1 slots=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> sync w1 slots=2 hold=1/1 result=2/1
  persist 3
    result 2/1 from w1 cpu:0
> planned 1 complete mark=4
> planned 1 complete mark=5
> sync w1 slots=2 result=1/1
  persist 4
    result 1/1 from w1 cpu:0
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSearchTest, PausedAndCancelledSweepsAreNotPlanned) {
  const char* transcript = R"(
> sweep 1 searches :
  persist 1
    audit sweep_stored s1: 0 points, 0 to do, more may come
> pause 1
  persist 2
    sweep 1 paused
    audit sweep_paused s1: paused by an operator
> commit
  admin 1: OK affected=0
> planned 1 complete
> show sweeps
  s1 paused: 0 points, 0 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 0, eta -1
> resume 1
  persist 3
    sweep 1 running
    audit sweep_resumed s1
> commit
  admin 2: OK affected=0
> cancel 1
  persist 4
    sweep 1 cancelled
    audit sweep_cancelled s1: cancelled by an operator
> commit
  admin 3: OK affected=0
> planned 1 complete
> planned 1 error=late
> show sweeps
  s1 cancelled: 0 points, 0 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 0, eta 0
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSearchTest, AfterARestartItIsOpenAgainUnlessItWasFinished) {
  const char* transcript = R"(
> recover sweep=1 searches points=1..1 done=1/1
> show sweeps
  s1 running: 1 points, 1 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 0, eta -1
> planned 1 complete
  persist 1
    sweep 1 finished
    audit sweep_finished s1
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
  const char* finished = R"(
> recover sweep=1 searches state=finished points=1..1 done=1/1
> show sweeps
  s1 finished: 1 points, 1 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 0, eta 0
)";
  EXPECT_EQ(Transcript().Play(finished), finished);
}

// A search that is over although its only point has failed.
constexpr char kFinishedWithoutItsPoint[] = R"(
> sweep 1 searches attempts=1 : 1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do, more may come
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> sync w1 fail=1/1:nan
  persist 3
    end 1/1 failed nan_loss (boom)
    point 1 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 1: nan_loss: boom
    worker w1#a idle
> planned 1 complete
  persist 4
    sweep 1 finished
    audit sweep_finished s1
)";

TEST(CoreSearchTest, RetriedPointsOfAFinishedSearchOpenItAgain) {
  const std::string transcript = absl::StrCat(kFinishedWithoutItsPoint, R"(> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
  reply 2: 1/1=accepted next=0.05s
> retry 1
  persist 5
    sweep 1 running
    audit sweep_reopened s1
    point 1 pending
    audit sweep_retried s1: 1 failed points are pending again
> planned 1 complete mark=3
> show sweeps
  s1 running: 1 points, 0 done, 0 failed, 0 running, 1 pending, 0 cancelled, rate 0, eta -1
)");
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

// Found by the simulation (seed 111661): the search went on without the probe, and never heard that it had a result.
TEST(CoreSearchTest, AResultThatComesAfterItsPointHasFailedOpensAFinishedSearchAgain) {
  const std::string transcript = absl::StrCat(kFinishedWithoutItsPoint, R"(> sync w1 result=1/1
  persist 5
    result 1/1 from w1 cpu:0
    sweep 1 running
    audit sweep_reopened s1
> planned 1 complete
  persist 6
    sweep 1 finished
    audit sweep_finished s1
)");
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSearchTest, APlannerThatCannotGoOnStopsTheSweepAndTooManyFailuresDo) {
  const char* transcript = R"(
> sweep 1 searches max_failures=1 attempts=1 : 1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do, more may come
> planned 1 error=unreadable
  persist 2
    sweep 1 stopped
    audit sweep_stopped s1: the search cannot go on: unreadable
> resume 1
  persist 3
    sweep 1 running
    audit sweep_resumed s1
> sync w1
  persist 4
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> sync w1 fail=1/1:nan
  persist 5
    end 1/1 failed nan_loss (boom)
    point 1 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 1: nan_loss: boom
    sweep 1 stopped
    audit sweep_stopped s1: 1 points failed (limits.max_failures is 1); the last one, point 1: nan_loss: boom
    worker w1#a idle
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
