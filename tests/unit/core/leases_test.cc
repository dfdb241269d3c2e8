// Leases, recovery after a restart, and operator verbs on workers.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CoreLeasesTest, SilentWorkerLosesItsAttempts) {
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
> tick 29
> tick 1
  persist 3
    end 1/1 lost (not heard for 30 s)
    point 1 pending failures=0 lost=1
    audit worker_lost w1: not heard for 30 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> show point 1
  Point 1 is pending. No worker is connected. It has failed 0 of 3 times and lost its worker 1 times.
> show workers
  w1 lost, seen 30s ago (not heard for 30 s)
    cpu:0 idle, 1 slots, 0 running, 0 done
> sync w2
  persist 4
    audit worker_registered w2: on host, version 1
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 2: assign 1/2 to cpu:0 for 10s next=2s
> sync w1 hold=1/1
  persist 5
    audit worker_back w1: heard again after its lease ran out
    worker w1#a idle
> tick 3700
  persist 6
    end 1/2 lost (not heard for 3700 s)
    point 1 pending failures=0 lost=2
    audit worker_lost w2: not heard for 3700 s; 1 attempts lost
    worker w2#a lost (not heard any more)
> show workers
  w1 idle, seen 3700s ago
    cpu:0 idle, 1 slots, 0 running, 0 done
  w2 lost, seen 3700s ago (not heard for 3700 s)
    cpu:0 idle, 1 slots, 0 running, 0 done
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreLeasesTest, PointThatKeepsLosingItsWorkersFails) {
  const char* transcript = R"(
> options lost_limit=2
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
> tick 31
  persist 3
    end 1/1 lost (not heard for 31 s)
    point 1 pending failures=0 lost=1
    audit worker_lost w1: not heard for 31 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> sync w1
  persist 4
    audit worker_back w1: heard again after its lease ran out
    start 1/2 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 2: assign 1/2 to cpu:0 for 10s next=2s
> tick 31
  persist 5
    end 1/2 lost (not heard for 31 s)
    point 1 pending failures=0 lost=2
    audit worker_lost w1: not heard for 31 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> sync w1
  persist 6
    audit worker_back w1: heard again after its lease ran out
    start 1/3 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 3: assign 1/3 to cpu:0 for 10s next=2s
> tick 31
  persist 7
    end 1/3 lost (not heard for 31 s)
    point 1 failed failures=0 lost=3 (its worker was lost 3 times; the last time: not heard for 31 s)
    audit point_failed point 1: its worker was lost 3 times; the last time: not heard for 31 s
    sweep 1 finished
    audit sweep_finished s1
    audit worker_lost w1: not heard for 31 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> show point 1
  Point 1 is failed. It failed 0 times and lost its worker 3 times; `capsweep retry` makes it pending again.
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreLeasesTest, LeavingWorkerFreesItsAttemptsAtOnce) {
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
> sync w1 leaving hold=1/1
  persist 3
    end 1/1 handed_back (its worker left)
    point 1 pending
    audit worker_left w1: gave up 1 attempts
    worker w1#a lost (left)
  reply 2: next=2s
> commit
> show workers
> sync w1 seq=2
  reply 3: FAILED_PRECONDITION: call 2 of worker w1 is not newer than call 2
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreRecoveryTest, RunningAttemptIsAdoptedByTheSameStart) {
  const char* transcript = R"(
> recover sweep=1 points=1..3 done=2/1 running=1/4@w1#a
> show point 1
  Point 1 is running. Attempt 4 is held by worker w1, device cpu:0, 0 % done; the worker was heard 0 s ago. It was running before the coordinator restarted, and its worker has not confirmed it yet.
> show workers
  w1 lost, seen 0s ago (not heard since the coordinator started; its attempts wait for it a while)
> sync w1 hold=1/4
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a busy
  reply 1: next=0.5s
> commit
> sync w1 hold=1/4 result=2/1
  reply 2: 2/1=duplicate next=0.5s
> sync w1 result=1/4
  persist 2
    result 1/4 from w1 cpu:0
    start 3/1 on w1#a cpu:0
> commit
  reply 3: 1/4=accepted assign 3/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreRecoveryTest, StaleAttemptsResultIsStillLateAfterARestart) {
  const char* transcript = R"(
> recover sweep=1 points=1..2 done=1/2
> sync w1 result=1/1
  persist 1
    audit worker_registered w1: on host, version 1
    end 1/1 late (attempt 2 was first)
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: 1/1=late assign 2/1 to cpu:0 for 10s next=2s
> sync w1 hold=2/1 result=1/2
  reply 2: 1/2=duplicate next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreRecoveryTest, AttemptThatIsNotListedIsSentAgain) {
  const char* transcript = R"(
> recover sweep=1 points=1..1 running=1/1@w1#a
> sync w1
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreRecoveryTest, GraceEndsAndTheAttemptIsLostWithoutCounting) {
  const char* transcript = R"(
> recover sweep=1 points=1..1 running=1/1@w1#a
> tick 29
> tick 1
  persist 1
    end 1/1 lost (not heard since the coordinator started)
    point 1 pending
    audit worker_lost w1: not heard since the coordinator started; 1 attempts lost
    worker w1#a lost (not heard any more)
> sync w2
  persist 2
    audit worker_registered w2: on host, version 1
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 1: assign 1/2 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

// Both were on disk when the last process was killed: a sweep that asks for point 2, and the cancelling of the sweep
// that asked before. And point 3 was added to that sweep, which had been cancelled when the core was to hear of it.
TEST(CoreRecoveryTest, WhoWantsAPointIsSettledAnew) {
  Recovered all;
  all.sweeps.push_back({.sweep = SweepId(1), .name = "s1", .state = SweepState::kCancelled});
  all.sweeps.push_back({.sweep = SweepId(2), .name = "s2", .state = SweepState::kRunning});
  const auto add = [&](int64_t id, PointState state, std::vector<SweepId> sweeps) {
    PointRow row;
    row.point = PointId(id);
    row.state = state;
    row.sweeps = std::move(sweeps);
    all.points.push_back(std::move(row));
  };
  add(1, PointState::kCancelled, {SweepId(1)});
  add(2, PointState::kCancelled, {SweepId(1), SweepId(2)});
  add(3, PointState::kPending, {SweepId(1)});
  add(4, PointState::kPending, {});
  Core core;
  const Effects effects = core.Apply(all, Instant(std::chrono::hours(1)));
  core.CheckInvariants();
  ASSERT_EQ(effects.size(), 1u);
  std::vector<std::string> changed;
  for (const Mutation& m : std::get<Persist>(effects[0]).mutations)
    changed.push_back(RenderMutation()(std::get<PointChanged>(m)));
  EXPECT_EQ(changed, (std::vector<std::string>{"point 2 pending", "point 3 cancelled"}));
  const std::vector<SweepCounts> sweeps = core.Sweeps(Instant(std::chrono::hours(1)));
  EXPECT_EQ(sweeps[0].cancelled, 2);
  EXPECT_EQ(sweeps[0].pending, 1) << "point 2, for the other sweep";
  EXPECT_EQ(sweeps[1].pending, 1);
  EXPECT_EQ(sweeps[1].state, SweepState::kRunning);
}

TEST(CoreRecoveryTest, NewStartOfTheWorkerLosesWithoutCounting) {
  const char* transcript = R"(
> recover sweep=1 points=1..1 running=1/1@w1#a
> sync w1 #b
  persist 1
    audit worker_restarted w1: a new start on host
    end 1/1 lost (its worker was started anew)
    point 1 pending
    start 1/2 on w1#b cpu:0
    worker w1#b busy
> commit
  reply 1: assign 1/2 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreRecoveryTest, SweepWithAllPointsSettledFinishes) {
  const char* transcript = R"(
> recover sweep=1 points=2..2 done=2/1
  persist 1
    sweep 1 finished
    audit sweep_finished s1
> show sweep 1
  Sweep s1 is finished. Of its points 1 are done, 0 running, 0 pending, 0 failed, 0 cancelled.
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreWorkersTest, DrainFinishesWhatIsHeld) {
  const char* transcript = R"(
> sweep 1 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> drain w1
  persist 3
    audit worker_drained w1: by an operator
    worker w1#a draining (drained by an operator)
> commit
  admin 2: OK affected=1
> sync w1 hold=1/1
  reply 3: drain next=2s
> sync w1 result=1/1
  persist 4
    result 1/1 from w1 cpu:0
> commit
  reply 4: 1/1=accepted drain next=2s
> show workers
  w1 draining, seen 0s ago (drained by an operator)
    cpu:0 idle, 1 slots, 0 running, 1 done
> drain w9
  admin 5: NOT_FOUND: there is no worker w9; `capsweep workers` lists those connected affected=0
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreWorkersTest, RemoveStopsAtTheNextReplyAndHandsBack) {
  const char* transcript = R"(
> sweep 1 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> remove w1
  persist 3
    audit worker_removed w1: by an operator
    worker w1#a draining (removed by an operator)
> commit
  admin 2: OK affected=1
> sync w1 hold=1/1
  reply 3: drain stop next=2s
> sync w1 leaving handback=1/1+
  persist 4
    checkpoint 1/1
    end 1/1 handed_back
    point 1 pending
    audit worker_left w1: gave up 0 attempts
    worker w1#a lost (left)
> commit
  reply 4: 1/1=accepted drain stop next=2s
> show workers
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
