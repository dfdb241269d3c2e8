// Failed attempts, quarantine, and a store that cannot be written.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CoreFailuresTest, RetriesAsOftenAsTheSweepAllows) {
  const char* transcript = R"(
> sweep 1 attempts=2 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 fail=1/1:internal
  persist 3
    end 1/1 failed internal (boom)
    point 1 pending failures=1 lost=0
    start 1/2 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted assign 1/2 to cpu:0 for 10s next=2s
> sync w1 fail=1/1:internal hold=1/2
  reply 3: 1/1=duplicate next=2s
> sync w1 fail=1/2:died
  persist 4
    end 1/2 failed trainer_died (boom)
    point 1 failed failures=2 lost=0 (trainer_died: boom)
    audit point_failed point 1: trainer_died: boom
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
> commit
  reply 4: 1/2=accepted next=2s
> show point 1
  Point 1 is failed. It failed 2 times and lost its worker 0 times; `capsweep retry` makes it pending again.
> retry 1
  persist 5
    sweep 1 running
    audit sweep_reopened s1
    point 1 pending
    audit sweep_retried s1: 1 failed points are pending again
> commit
  admin 5: OK affected=1
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreFailuresTest, CertainOnesFailAtOnce) {
  const char* transcript = R"(
> sweep 1 : 1..3
  persist 1
    audit sweep_stored s1: 3 points, 3 to do
> sync w1 devices=3
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:1
    start 3/1 on w1#a cpu:2
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s assign 2/1 to cpu:1 for 10s assign 3/1 to cpu:2 for 10s next=2s
> sync w1 devices=3 fail=1/1:nan fail=2/1:bad fail=3/1:unsupported
  persist 3
    end 1/1 failed nan_loss (boom)
    point 1 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 1: nan_loss: boom
    end 2/1 failed bad_point (boom)
    point 2 failed failures=1 lost=0 (bad_point: boom)
    audit point_failed point 2: bad_point: boom
    end 3/1 failed unsupported (boom)
    point 3 failed failures=1 lost=0 (unsupported: boom)
    audit point_failed point 3: unsupported: boom
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
> commit
  reply 2: 1/1=accepted 2/1=accepted 3/1=accepted next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreFailuresTest, PackOnlyMarksItsMembersToRunAlone) {
  const char* transcript = R"(
> sweep 1 cost=9 : 1..4
  persist 1
    audit sweep_stored s1: 4 points, 4 to do
> sync w1 slots=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 9s assign 2/1 to cpu:0 for 9s next=0.5s
> sync w1 slots=2 fail=1/1:died:2 fail=2/1:died:2
  persist 3
    end 1/1 failed trainer_died (boom)
    point 1 pending
    end 2/1 failed trainer_died (boom)
    point 2 pending
    start 3/1 on w1#a cpu:0
    start 4/1 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted 2/1=accepted assign 3/1 to cpu:0 for 9s assign 4/1 to cpu:0 for 9s next=0.5s
> sync w1 slots=2 hold=3/1 result=4/1
  persist 4
    result 4/1 from w1 cpu:0
> commit
  reply 3: 4/1=accepted next=0.5s
> show point 1
  Point 1 is pending. It waits for a free slot: 1 devices hold 1 attempts, and 2 points are pending in running sweeps. A pack died with it on board, so it only runs by itself, after the points that can share.
> sync w1 slots=2 result=3/1
  persist 5
    result 3/1 from w1 cpu:0
    start 1/2 on w1#a cpu:0
> commit
  reply 4: 3/1=accepted assign 1/2 to cpu:0 for 9s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreFailuresTest, OutOfMemoryHalvesThePackOfThatShapeAndKind) {
  const char* transcript = R"(
> sweep 1 cost=9 : 1..8
  persist 1
    audit sweep_stored s1: 8 points, 8 to do
> sync w1 slots=4
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    start 3/1 on w1#a cpu:0
    start 4/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 9s assign 2/1 to cpu:0 for 9s assign 3/1 to cpu:0 for 9s assign 4/1 to cpu:0 for 9s next=0.5s
> sync w1 slots=4 fail=1/1:oom:4 fail=2/1:oom:4 fail=3/1:oom:4 fail=4/1:oom:4
  persist 3
    end 1/1 failed out_of_memory (boom)
    point 1 pending
    end 2/1 failed out_of_memory (boom)
    point 2 pending
    end 3/1 failed out_of_memory (boom)
    point 3 pending
    end 4/1 failed out_of_memory (boom)
    point 4 pending
    start 1/2 on w1#a cpu:0
    start 2/2 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted 2/1=accepted 3/1=accepted 4/1=accepted assign 1/2 to cpu:0 for 9s assign 2/2 to cpu:0 for 9s next=0.5s
> sync w1 slots=4 hold=1/2,2/2 fail=1/2:oom:1
  persist 4
    end 1/2 failed out_of_memory (boom)
    point 1 pending failures=1 lost=0
    start 1/3 on w1#a cpu:0
> commit
  reply 3: 1/2=accepted assign 1/3 to cpu:0 for 9s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreFailuresTest, TooManyFailedPointsStopTheSweep) {
  const char* transcript = R"(
> sweep 1 max_failures=2 : 1..4
  persist 1
    audit sweep_stored s1: 4 points, 4 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=1/1:nan
  persist 3
    end 1/1 failed nan_loss (boom)
    point 1 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 1: nan_loss: boom
    start 2/1 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted assign 2/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=2/1:nan
  persist 4
    end 2/1 failed nan_loss (boom)
    point 2 failed failures=1 lost=0 (nan_loss: boom)
    audit point_failed point 2: nan_loss: boom
    sweep 1 stopped
    audit sweep_stopped s1: 2 points failed (limits.max_failures is 2); the last one, point 2: nan_loss: boom
    worker w1#a idle
> commit
  reply 3: 2/1=accepted next=2s
> show sweep 1
  Sweep s1 is stopped: 2 points failed (limits.max_failures is 2); the last one, point 2: nan_loss: boom. Of its points 0 are done, 0 running, 2 pending, 2 failed, 0 cancelled. `capsweep retry` makes its failed points pending and goes on; `capsweep resume` goes on without them.
> resume 1
  persist 5
    sweep 1 running
    audit sweep_resumed s1
> commit
  admin 4: OK affected=2
> retry 1
  persist 6
    point 1 pending
    point 2 pending
    audit sweep_retried s1: 2 failed points are pending again
> commit
  admin 5: OK affected=2
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreFailuresTest, PackBlameIsSharedOnlyWhileThereIsASmallerPackToTry) {
  const char* transcript = R"(
> sweep 1 cost=9 attempts=2 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sync w1 slots=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 9s assign 2/1 to cpu:0 for 9s next=2s
> sync w1 slots=2 fail=1/1:oom:2 fail=2/1:died:2
  persist 3
    end 1/1 failed out_of_memory (boom)
    point 1 pending
    end 2/1 failed trainer_died (boom)
    point 2 pending
    start 1/2 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted 2/1=accepted assign 1/2 to cpu:0 for 9s next=0.5s
> sync w1 slots=2 fail=1/2:oom:2
  persist 4
    end 1/2 failed out_of_memory (boom)
    point 1 pending failures=1 lost=0
    start 1/3 on w1#a cpu:0
> commit
  reply 3: 1/2=accepted assign 1/3 to cpu:0 for 9s next=0.5s
> sync w1 slots=2 fail=1/3:oom:2
  persist 5
    end 1/3 failed out_of_memory (boom)
    point 1 failed failures=2 lost=0 (out_of_memory: boom)
    audit point_failed point 1: out_of_memory: boom
    start 2/2 on w1#a cpu:0
> commit
  reply 4: 1/3=accepted assign 2/2 to cpu:0 for 9s next=2s
> sync w1 slots=2 fail=2/2:died:2
  persist 6
    end 2/2 failed trainer_died (boom)
    point 2 pending failures=1 lost=0
    start 2/3 on w1#a cpu:0
> commit
  reply 5: 2/2=accepted assign 2/3 to cpu:0 for 9s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreQuarantineTest, OnePointFailingOverAndOverIsNotTheDevicesFault) {
  const char* transcript = R"(
> sweep 1 : 1..8
  persist 1
    audit sweep_stored s1: 8 points, 8 to do
> sync w1 slots=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s assign 2/1 to cpu:0 for 10s next=0.5s
> sync w1 slots=2 hold=2/1 fail=1/1:died
  persist 3
    end 1/1 failed trainer_died (boom)
    point 1 pending failures=1 lost=0
    start 1/2 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted assign 1/2 to cpu:0 for 10s next=0.5s
> sync w1 slots=2 hold=1/2 fail=2/1:died
  persist 4
    end 2/1 failed trainer_died (boom)
    point 2 pending failures=1 lost=0
    start 2/2 on w1#a cpu:0
> commit
  reply 3: 2/1=accepted assign 2/2 to cpu:0 for 10s next=0.5s
> sync w1 slots=2 hold=1/2 fail=2/2:hung
  persist 5
    end 2/2 failed trainer_hung (boom)
    point 2 pending failures=2 lost=0
    start 2/3 on w1#a cpu:0
> commit
  reply 4: 2/2=accepted assign 2/3 to cpu:0 for 10s next=0.5s
> sync w1 slots=2 hold=1/2 fail=2/3:died
  persist 6
    end 2/3 failed trainer_died (boom)
    point 2 failed failures=3 lost=0 (trainer_died: boom)
    audit point_failed point 2: trainer_died: boom
    start 3/1 on w1#a cpu:0
> commit
  reply 5: 2/3=accepted assign 3/1 to cpu:0 for 10s next=0.5s
> show workers
  w1 busy, seen 0s ago
    cpu:0 busy, 2 slots, 2 running, 0 done
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreQuarantineTest, DeviceWhereDifferentPointsFailInARowGetsNoMoreWork) {
  const char* transcript = R"(
> sweep 1 attempts=1 : 1..8
  persist 1
    audit sweep_stored s1: 8 points, 8 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=1/1:died
  persist 3
    end 1/1 failed trainer_died (boom)
    point 1 failed failures=1 lost=0 (trainer_died: boom)
    audit point_failed point 1: trainer_died: boom
    start 2/1 on w1#a cpu:0
> commit
  reply 2: 1/1=accepted assign 2/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=2/1:died
  persist 4
    end 2/1 failed trainer_died (boom)
    point 2 failed failures=1 lost=0 (trainer_died: boom)
    audit point_failed point 2: trainer_died: boom
    start 3/1 on w1#a cpu:0
> commit
  reply 3: 2/1=accepted assign 3/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=3/1:died
  persist 5
    end 3/1 failed trainer_died (boom)
    point 3 failed failures=1 lost=0 (trainer_died: boom)
    audit point_failed point 3: trainer_died: boom
    start 4/1 on w1#a cpu:0
> commit
  reply 4: 3/1=accepted assign 4/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=4/1:died
  persist 6
    end 4/1 failed trainer_died (boom)
    point 4 failed failures=1 lost=0 (trainer_died: boom)
    audit point_failed point 4: trainer_died: boom
    start 5/1 on w1#a cpu:0
> commit
  reply 5: 4/1=accepted assign 5/1 to cpu:0 for 10s next=0.5s
> sync w1 fail=5/1:died
  persist 7
    end 5/1 failed trainer_died (boom)
    audit device_quarantined w1 cpu:0: 5 different points failed here in a row; the last: trainer_died: boom
    point 5 failed failures=1 lost=0 (trainer_died: boom)
    audit point_failed point 5: trainer_died: boom
    worker w1#a quarantined (5 different points failed here in a row; the last: trainer_died: boom)
> commit
  reply 6: 5/1=accepted next=2s (quarantined, restart the worker when it is mended: cpu:0: 5 different points failed here in a row; the last: trainer_died: boom)
> show workers
  w1 quarantined, seen 0s ago (quarantined, restart the worker when it is mended: cpu:0: 5 different points failed here in a row; the last: trainer_died: boom)
    cpu:0 quarantined, 1 slots, 0 running, 0 done (5 different points failed here in a row; the last: trainer_died: boom)
> show sweep 1
  Sweep s1 is running. Of its points 0 are done, 0 running, 3 pending, 5 failed, 0 cancelled. No device can take work: of 1 connected workers 0 are draining, and 1 devices have failed or are quarantined; `capsweep workers` says why.
> sync w1 #b
  persist 8
    audit worker_restarted w1: a new start on host
    start 6/1 on w1#b cpu:0
    worker w1#b busy
> commit
  reply 7: assign 6/1 to cpu:0 for 10s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreStoreTroubleTest, NoNewWorkWhileTheDatabaseCannotBeWritten) {
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
> unwritable disk-full
> sync w1 result=1/1
  persist 3
    result 1/1 from w1 cpu:0
    worker w1#a idle
> sync w2 wait=10
  persist 4
    audit worker_registered w2: on host, version 1
    worker w2#a idle
  reply 3: next=2s (the coordinator cannot write its database (disk-full); no new work until it can)
> pause 1
  admin 4: UNAVAILABLE: the database cannot be written (disk-full); nothing was changed, try again when it can affected=0
> drain w1
  admin 5: UNAVAILABLE: the database cannot be written (disk-full); nothing was changed, try again when it can affected=0
> show point 2
  Point 2 is pending. The database cannot be written (disk-full), so no work is given out.
> writable
> commit
  reply 2: 1/1=accepted next=2s (the coordinator cannot write its database (disk-full); no new work until it can)
> sync w2
  persist 5
    start 2/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 6: assign 2/1 to cpu:0 for 10s next=0.5s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
