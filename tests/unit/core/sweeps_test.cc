// Sweep states and the verbs on sweeps.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CoreSweepsTest, PauseLetsRunningAttemptsFinishAndResumeGoesOn) {
  const char* transcript = R"(
> sweep 1 : 1..3
  persist 1
    audit sweep_stored s1: 3 points, 3 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> pause 1
  persist 3
    sweep 1 paused
    audit sweep_paused s1: paused by an operator
> commit
  admin 2: OK affected=2
> pause 1
  admin 3: OK affected=0
> sync w1 result=1/1
  persist 4
    result 1/1 from w1 cpu:0
    worker w1#a idle
> commit
  reply 4: 1/1=accepted next=2s
> show point 2
  Point 2 is pending. No running sweep asks for it: s1 is paused.
> resume 1
  persist 5
    sweep 1 running
    audit sweep_resumed s1
> commit
  admin 5: OK affected=2
> sync w1
  persist 6
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 6: assign 2/1 to cpu:0 for 10s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, CancelDropsWhatNobodyElseWants) {
  const char* transcript = R"(
> sweep 1 : 1..3
  persist 1
    audit sweep_stored s1: 3 points, 3 to do
> sweep 2 : 2..4
  persist 2
    audit sweep_stored s2: 3 points, 3 to do
> sync w1 devices=2
  persist 3
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:1
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s assign 2/1 to cpu:1 for 10s next=0.5s
> cancel 1
  persist 4
    sweep 1 cancelled
    audit sweep_cancelled s1: cancelled by an operator
    end 1/1 dropped (sweep cancelled)
    point 1 cancelled
> commit
  admin 2: OK affected=1
> sync w1 devices=2 hold=1/1,2/1
  persist 5
    start 3/1 on w1#a cpu:1
> commit
  reply 3: assign 3/1 to cpu:1 for 10s drop 1/1 next=0.5s
> sync w1 devices=2 hold=2/1,3/1 result=1/1
  persist 6
    result 1/1 from w1 cpu:0
    start 4/1 on w1#a cpu:1
> commit
  reply 4: 1/1=accepted assign 4/1 to cpu:1 for 10s next=2s
> cancel 1
  admin 5: OK affected=0
> pause 1
  admin 6: FAILED_PRECONDITION: sweep s1 is cancelled: only a running sweep can be paused affected=0
> resume 1
  admin 7: FAILED_PRECONDITION: sweep s1 is cancelled: there is nothing to resume; submit or extend a sweep, or retry its failed points affected=0
> show sweeps
  s1 cancelled: 3 points, 1 done, 0 failed, 2 running, 0 pending, 0 cancelled, rate 1, eta -1
  s2 running: 3 points, 0 done, 0 failed, 3 running, 0 pending, 0 cancelled, rate 0, eta 15
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, ExtendedFinishedSweepRunsAgain) {
  const char* transcript = R"(
> sweep 1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 result=1/1
  persist 3
    result 1/1 from w1 cpu:0
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
> commit
  reply 2: 1/1=accepted next=2s
> sweep 1 : 2..2
  persist 4
    sweep 1 running
    audit sweep_reopened s1
    audit sweep_extended s1: 2 points, 1 to do
> commit
> show sweeps
  s1 running: 2 points, 1 done, 0 failed, 0 running, 1 pending, 0 cancelled, rate 1, eta 10
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, SharedPointRunsOnceAndCountsInBoth) {
  const char* transcript = R"(
> sweep 1 state=paused : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sweep 2 : 2..2
  persist 2
    audit sweep_stored s2: 1 points, 1 to do
> sync w1
  persist 3
    audit worker_registered w1: on host, version 1
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 2/1 to cpu:0 for 10s next=2s
> sync w1 result=2/1
  persist 4
    result 2/1 from w1 cpu:0
    sweep 2 finished
    audit sweep_finished s2
    worker w1#a idle
> commit
  reply 2: 2/1=accepted next=2s
> show sweeps
  s1 paused: 2 points, 1 done, 0 failed, 0 running, 1 pending, 0 cancelled, rate 1, eta -1
  s2 finished: 1 points, 1 done, 0 failed, 0 running, 0 pending, 0 cancelled, rate 1, eta 0
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, UnknownOneIsNotFound) {
  const char* transcript = R"(
> pause 7
  admin 1: NOT_FOUND: there is no sweep with id 7 affected=0
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, CancelledPointIsWantedAgainByANewSweep) {
  const char* transcript = R"(
> sweep 1 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> cancel 1
  persist 2
    sweep 1 cancelled
    audit sweep_cancelled s1: cancelled by an operator
    point 1 cancelled
    point 2 cancelled
> sweep 2 : 2..3
  persist 3
    point 2 pending
    audit sweep_stored s2: 2 points, 2 to do
> show sweeps
  s1 cancelled: 2 points, 0 done, 0 failed, 0 running, 1 pending, 1 cancelled, rate 0, eta -1
  s2 running: 2 points, 0 done, 0 failed, 0 running, 2 pending, 0 cancelled, rate 0, eta -1
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSweepsTest, RetryReopensEveryFinishedSweepOfThePoint) {
  const char* transcript = R"(
> sweep 1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sweep 2 : 1..1
  persist 2
    audit sweep_stored s2: 1 points, 1 to do
> sync w1
  persist 3
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 fail=1/1:nan
  persist 4
    end 1/1 failed nan_loss (boom)
    point 1 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 1: nan_loss: boom
    sweep 1 finished
    audit sweep_finished s1
    sweep 2 finished
    audit sweep_finished s2
    worker w1#a idle
> retry 1
  persist 5
    sweep 1 running
    audit sweep_reopened s1
    sweep 2 running
    audit sweep_reopened s2
    point 1 pending
    audit sweep_retried s1: 1 failed points are pending again
> commit
  reply 2: 1/1=accepted next=2s
  admin 3: OK affected=1
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
