// Who gets which point, and how many.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CoreScheduleTest, ManyShortPointsFillTwoIntervalsOfTime) {
  const char* transcript = R"(
> sweep 1 cost=0.5 : 1..100
  persist 1
    audit sweep_stored s1: 100 points, 100 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    start 3/1 on w1#a cpu:0
    start 4/1 on w1#a cpu:0
    start 5/1 on w1#a cpu:0
    start 6/1 on w1#a cpu:0
    start 7/1 on w1#a cpu:0
    start 8/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 0.5s assign 2/1 to cpu:0 for 0.5s assign 3/1 to cpu:0 for 0.5s assign 4/1 to cpu:0 for 0.5s assign 5/1 to cpu:0 for 0.5s assign 6/1 to cpu:0 for 0.5s assign 7/1 to cpu:0 for 0.5s assign 8/1 to cpu:0 for 0.5s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, ModelsThatShareACoreFillItHoweverLongTheyTake) {
  const char* transcript = R"(
> sweep 1 : 1..7:7:3600:3
  persist 1
    audit sweep_stored s1: 7 points, 7 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    start 3/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 3600s assign 2/1 to cpu:0 for 3600s assign 3/1 to cpu:0 for 3600s next=0.5s
> sync w2 kind=gpu
  persist 3
    audit worker_registered w2: on host, version 1
    start 4/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 2: assign 4/1 to cpu:0 for 3600s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, LongPointsAreNotHoarded) {
  const char* transcript = R"(
> sweep 1 cost=3600 : 1..10
  persist 1
    audit sweep_stored s1: 10 points, 10 to do
> sync w1 devices=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:1
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 3600s assign 2/1 to cpu:1 for 3600s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, NearTheEndPointsAreSpreadEvenly) {
  const char* transcript = R"(
> sync w1 wait=20
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> sync w2 wait=20
  persist 2
    audit worker_registered w2: on host, version 1
    worker w2#a idle
> commit
> sweep 1 cost=1 : 1..4
  persist 3
    audit sweep_stored s1: 4 points, 4 to do
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    worker w1#a busy
    start 3/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 1s assign 2/1 to cpu:0 for 1s next=0.5s
  reply 2: assign 3/1 to cpu:0 for 1s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, FewPointsSpreadOverTheSlotsOfAllDevices) {
  const char* transcript = R"(
> sync w1 slots=8 wait=20
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> sync w2 slots=8 wait=20
  persist 2
    audit worker_registered w2: on host, version 1
    worker w2#a idle
> commit
> sweep 1 cost=100 : 1..6
  persist 3
    audit sweep_stored s1: 6 points, 6 to do
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    start 3/1 on w1#a cpu:0
    worker w1#a busy
    start 4/1 on w2#a cpu:0
    start 5/1 on w2#a cpu:0
    start 6/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 100s assign 2/1 to cpu:0 for 100s assign 3/1 to cpu:0 for 100s next=0.5s
  reply 2: assign 4/1 to cpu:0 for 100s assign 5/1 to cpu:0 for 100s assign 6/1 to cpu:0 for 100s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, PriorityThenShapeOfMostWorkThenLargest) {
  const char* transcript = R"(
> sweep 1 : 1:1:100
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sweep 2 prio=5 : 2:2:10 3:2:30 4:3:35 5:2:1
  persist 2
    audit sweep_stored s2: 4 points, 4 to do
> sync w1
  persist 3
    audit worker_registered w1: on host, version 1
    start 3/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 3/1 to cpu:0 for 30s next=0.5s
> sync w1 result=3/1
  persist 4
    result 3/1 from w1 cpu:0
    start 2/1 on w1#a cpu:0
> commit
  reply 2: 3/1=accepted assign 2/1 to cpu:0 for 10s next=0.5s
> sync w1 result=2/1
  persist 5
    result 2/1 from w1 cpu:0
    start 5/1 on w1#a cpu:0
    start 4/1 on w1#a cpu:0
> commit
  reply 3: 2/1=accepted assign 5/1 to cpu:0 for 1s assign 4/1 to cpu:0 for 35s next=0.5s
> sync w1 result=5/1
  persist 6
    result 5/1 from w1 cpu:0
> commit
  reply 4: 5/1=accepted assign 4/1 to cpu:0 for 35s next=0.5s
> sync w1 result=4/1
  persist 7
    result 4/1 from w1 cpu:0
    sweep 2 finished
    audit sweep_finished s2
    start 1/1 on w1#a cpu:0
> commit
  reply 5: 4/1=accepted assign 1/1 to cpu:0 for 100s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, MeasuredSpeedChangesHowMuchIsGiven) {
  const char* transcript = R"(
> sweep 1 cost=1 : 1..50
  persist 1
    audit sweep_stored s1: 50 points, 50 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    start 3/1 on w1#a cpu:0
    start 4/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 1s assign 2/1 to cpu:0 for 1s assign 3/1 to cpu:0 for 1s assign 4/1 to cpu:0 for 1s next=0.5s
> sync w1 result=1/1=0.25 result=2/1=0.25 result=3/1=0.25 result=4/1=0.25
  persist 3
    result 1/1 from w1 cpu:0
    result 2/1 from w1 cpu:0
    result 3/1 from w1 cpu:0
    result 4/1 from w1 cpu:0
    start 5/1 on w1#a cpu:0
    start 6/1 on w1#a cpu:0
    start 7/1 on w1#a cpu:0
    start 8/1 on w1#a cpu:0
    start 9/1 on w1#a cpu:0
    start 10/1 on w1#a cpu:0
    start 11/1 on w1#a cpu:0
    start 12/1 on w1#a cpu:0
    start 13/1 on w1#a cpu:0
    start 14/1 on w1#a cpu:0
    start 15/1 on w1#a cpu:0
    start 16/1 on w1#a cpu:0
    start 17/1 on w1#a cpu:0
    start 18/1 on w1#a cpu:0
    start 19/1 on w1#a cpu:0
    start 20/1 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted 2/1=accepted 3/1=accepted 4/1=accepted assign 5/1 to cpu:0 for 0.25s assign 6/1 to cpu:0 for 0.25s assign 7/1 to cpu:0 for 0.25s assign 8/1 to cpu:0 for 0.25s assign 9/1 to cpu:0 for 0.25s assign 10/1 to cpu:0 for 0.25s assign 11/1 to cpu:0 for 0.25s assign 12/1 to cpu:0 for 0.25s assign 13/1 to cpu:0 for 0.25s assign 14/1 to cpu:0 for 0.25s assign 15/1 to cpu:0 for 0.25s assign 16/1 to cpu:0 for 0.25s assign 17/1 to cpu:0 for 0.25s assign 18/1 to cpu:0 for 0.25s assign 19/1 to cpu:0 for 0.25s assign 20/1 to cpu:0 for 0.25s next=2s
> show sweeps
  s1 running: 50 points, 4 done, 0 failed, 16 running, 30 pending, 0 cancelled, rate 4, eta 11.5
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, NothingStartsThatOutlastsTheAllocation) {
  const char* transcript = R"(
> sweep 1 : 1:0:10 2:0:100
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sync w1 remaining=50
  persist 2
    audit worker_registered w1: on host, version 1
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 2/1 to cpu:0 for 100s next=0.5s
> sync w1 remaining=50 result=2/1=100
  persist 3
    result 2/1 from w1 cpu:0
    start 1/1 on w1#a cpu:0
> commit
  reply 2: 2/1=accepted assign 1/1 to cpu:0 for 10s next=2s
> sweep 2 : 3:0:100 4:0:20
  persist 4
    audit sweep_stored s2: 2 points, 2 to do
> sync w1 remaining=50 result=1/1=10
  persist 5
    result 1/1 from w1 cpu:0
    sweep 1 finished
    audit sweep_finished s1
    start 4/1 on w1#a cpu:0
> commit
  reply 3: 1/1=accepted assign 4/1 to cpu:0 for 20s next=2s
> sync w1 remaining=50 result=4/1=20
  persist 6
    result 4/1 from w1 cpu:0
    worker w1#a idle
> commit
  reply 4: 4/1=accepted next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreScheduleTest, DeviceThatIsNotReadyGetsNothingAndAfterALeaseLosesWhatItHolds) {
  const char* transcript = R"(
> sweep 1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1 notready
  persist 2
    audit worker_registered w1: on host, version 1
    worker w1#a idle
  reply 1: next=2s
> show point 1
  Point 1 is pending. No device can take work: of 1 connected workers 0 are draining, and 1 devices have failed or are quarantined; `capsweep workers` says why.
> show workers
  w1 idle, seen 0s ago
    cpu:0 failed, 1 slots, 0 running, 0 done
> sync w2
  persist 3
    audit worker_registered w2: on host, version 1
    start 1/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 2: assign 1/1 to cpu:0 for 10s next=2s
> sync w2 hold=1/1
  reply 3: next=2s
> tick 20
> sync w2 hold=1/1 notready
  persist 4
    worker w2#a busy
  reply 4: next=2s
> tick 20
  persist 5
    audit worker_lost w1: not heard for 40 s; 0 attempts lost
    worker w1#a lost (not heard any more)
> sync w2 hold=1/1 notready
  persist 6
    end 1/1 dropped (its device is not ready)
    point 1 pending
    worker w2#a idle
> commit
  reply 5: drop 1/1 next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
