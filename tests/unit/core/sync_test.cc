// The one worker call: order of replies, verdicts, desired state, sequences, open calls.
// The language of the transcripts is explained in transcript.h.
#include "gtest/gtest.h"
#include "tests/unit/core/transcript.h"

namespace capsweep::core {
namespace {

TEST(CorePersistThenReplyTest, ReplyWaitsForItsBatch) {
  const char* transcript = R"(
> sweep 1 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> commit
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
    start 2/1 on w1#a cpu:0
> sync w1 result=1/1
> commit
  reply 2: 1/1=accepted assign 2/1 to cpu:0 for 10s next=2s
  reply 3: 1/1=duplicate assign 2/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CorePersistThenReplyTest, DuplicateOfAResultStillBeingCommittedIsAnsweredAfterThatCommit) {
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
> tick 1
> sync w1 result=1/1
> commit
  reply 2: 1/1=accepted next=2s
  reply 3: 1/1=duplicate next=2s
> sync w1 result=1/1
  reply 4: 1/1=duplicate next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CorePersistThenReplyTest, ReplyThatDependsOnNothingGoesAtOnce) {
  const char* transcript = R"(
> sweep 1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> sync w2
  persist 3
    audit worker_registered w2: on host, version 1
    worker w2#a idle
  reply 2: next=2s
> sync w2
  reply 3: next=2s
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreReportsTest, LateRejectedAndStaleReportsGetTheirVerdicts) {
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
> tick 31
  persist 3
    end 1/1 lost (not heard for 31 s)
    point 1 pending failures=0 lost=1
    audit worker_lost w1: not heard for 31 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> sync w2
  persist 4
    audit worker_registered w2: on host, version 1
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 2: assign 1/2 to cpu:0 for 10s next=0.5s
> sync w2 hold=1/2 result=9/1 result=2/1 badkey=1/2
  reply 3: 9/1=rejected (there is no point 9 in this database) 2/1=rejected (attempt 1 of point 2 was never given out; the latest is 0) 1/2=rejected (the result's point_key is not that of point 1) next=0.5s
> sync w2 result=1/2
  persist 5
    result 1/2 from w2 cpu:0
    start 2/1 on w2#a cpu:0
> commit
  reply 4: 1/2=accepted assign 2/1 to cpu:0 for 10s next=2s
> sync w1 hold=1/1 result=1/1
  persist 6
    audit worker_back w1: heard again after its lease ran out
    end 1/1 late (attempt 2 was first)
    worker w1#a idle
> commit
  reply 5: 1/1=late next=2s
> show point 1
  Point 1 is done. Attempt 2 delivered its result.
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreReportsTest, StaleAttemptsResultWinsWhileThePointIsOpen) {
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
> tick 31
  persist 3
    end 1/1 lost (not heard for 31 s)
    point 1 pending failures=0 lost=1
    audit worker_lost w1: not heard for 31 s; 1 attempts lost
    worker w1#a lost (not heard any more)
> sync w2
  persist 4
    audit worker_registered w2: on host, version 1
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 2: assign 1/2 to cpu:0 for 10s next=2s
> sync w1 result=1/1
  persist 5
    audit worker_back w1: heard again after its lease ran out
    end 1/2 dropped (attempt 1 was first)
    result 1/1 from w1 cpu:0
    sweep 1 finished
    audit sweep_finished s1
    worker w1#a idle
> commit
  reply 3: 1/1=accepted next=2s
> sync w2 hold=1/2
  persist 6
    worker w2#a idle
> sync w2 result=1/2
  persist 7
    end 1/2 late (attempt 1 was first)
> commit
  reply 4: drop 1/2 next=2s
  reply 5: 1/2=late next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreReportsTest, AnotherWorkersLiveAttemptIsRejected) {
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
> sync w2 result=1/1 fail=1/1:died handback=1/1
  persist 3
    audit worker_registered w2: on host, version 1
    worker w2#a idle
> commit
  reply 2: 1/1=rejected (attempt 1 of point 1 belongs to worker w1) 1/1=rejected (attempt 1 of point 1 belongs to worker w1) 1/1=rejected (attempt 1 of point 1 belongs to worker w1) next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreReportsTest, HandBackSavesItsCheckpointAndNeverCounts) {
  const char* transcript = R"(
> sweep 1 attempts=1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 draining handback=1/1+
  persist 3
    checkpoint 1/1
    end 1/1 handed_back
    point 1 pending
    worker w1#a draining
> commit
  reply 2: 1/1=accepted drain next=2s
> sync w1 draining handback=1/1+
  reply 3: 1/1=duplicate drain next=2s
> sync w2
  persist 4
    audit worker_registered w2: on host, version 1
    start 1/2 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 4: assign 1/2 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSequencesTest, OldCallIsRefusedWithoutEffects) {
  const char* transcript = R"(
> sweep 1 : 1..1
  persist 1
    audit sweep_stored s1: 1 points, 1 to do
> sync w1 seq=5
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 seq=5 result=1/1
  reply 2: FAILED_PRECONDITION: call 5 of worker w1 is not newer than call 5
> sync w1 seq=4 leaving
  reply 3: FAILED_PRECONDITION: call 4 of worker w1 is not newer than call 5
> sync w1 seq=6 hold=1/1
  reply 4: next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreSequencesTest, NewStartDeliversTheOldOnesResultsAndLosesTheRest) {
  const char* transcript = R"(
> sweep 1 : 1..2
  persist 1
    audit sweep_stored s1: 2 points, 2 to do
> sync w1 devices=2
  persist 2
    audit worker_registered w1: on host, version 1
    start 1/1 on w1#a cpu:0
    start 2/1 on w1#a cpu:1
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s assign 2/1 to cpu:1 for 10s next=2s
> sync w1 #b devices=2 result=1/1
  persist 3
    audit worker_restarted w1: a new start on host
    result 1/1 from w1 cpu:0
    end 2/1 lost (its worker was started anew)
    point 2 pending failures=0 lost=1
    start 2/2 on w1#b cpu:0
    worker w1#b busy
> commit
  reply 2: 1/1=accepted assign 2/2 to cpu:0 for 10s next=2s
> sync w1 #a hold=2/1
  reply 3: ALREADY_EXISTS: worker w1 was replaced by a newer start; give each agent its own name
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreDesiredStateTest, LostReplyIsSentAgainAndUnknownAttemptsAreDropped) {
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
> sync w1
  reply 2: assign 1/1 to cpu:0 for 10s next=2s
> sync w1 hold=1/1,1/9,7/1
  reply 3: drop 1/9 drop 7/1 next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreDesiredStateTest, AttemptNotListedForAWholeLeaseIsGivenOutAnew) {
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
> tick 20
> sync w1
  reply 2: assign 1/1 to cpu:0 for 10s next=2s
> tick 20
> sync w1
  persist 3
    end 1/1 lost (its worker did not take it)
    point 1 pending failures=0 lost=1
    start 1/2 on w1#a cpu:0
> commit
  reply 3: assign 1/2 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreHeldOpenTest, IdleCallIsAnsweredWhenWorkArrives) {
  const char* transcript = R"(
> sync w1 wait=10
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> commit
> tick 3
> sweep 1 : 1..1
  persist 2
    audit sweep_stored s1: 1 points, 1 to do
    start 1/1 on w1#a cpu:0
    worker w1#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreHeldOpenTest, IdleCallEndsWithNothing) {
  const char* transcript = R"(
> sync w1 wait=10
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> tick 9
> tick 1
  reply 1: next=0s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreHeldOpenTest, NewerCallAnswersTheOlder) {
  const char* transcript = R"(
> sync w1 wait=10
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> sync w1 wait=10
  reply 1: next=0s
> abandon 2
> sweep 1 : 1..1
  persist 2
    audit sweep_stored s1: 1 points, 1 to do
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreHeldOpenTest, DrainIsToldAtOnce) {
  const char* transcript = R"(
> sync w1 wait=10
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> commit
> drain w1
  persist 2
    audit worker_drained w1: by an operator
    worker w1#a draining (drained by an operator)
  reply 1: drain next=2s
> commit
  admin 2: OK affected=0
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

TEST(CoreHeldOpenTest, FewPointsGoToTheCallsThatWaitLongest) {
  const char* transcript = R"(
> sync w1 wait=10
  persist 1
    audit worker_registered w1: on host, version 1
    worker w1#a idle
> tick 1
> sync w2 wait=10
  persist 2
    audit worker_registered w2: on host, version 1
    worker w2#a idle
> tick 1
> sync w3 wait=10
  persist 3
    audit worker_registered w3: on host, version 1
    worker w3#a idle
> commit
> sweep 1 : 1..2
  persist 4
    audit sweep_stored s1: 2 points, 2 to do
    start 1/1 on w1#a cpu:0
    worker w1#a busy
    start 2/1 on w2#a cpu:0
    worker w2#a busy
> commit
  reply 1: assign 1/1 to cpu:0 for 10s next=0.5s
  reply 2: assign 2/1 to cpu:0 for 10s next=2s
)";
  EXPECT_EQ(Transcript().Play(transcript), transcript);
}

}  // namespace
}  // namespace capsweep::core
