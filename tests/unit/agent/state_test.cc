#include "worker/agent/state.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Assignment Assign(int64_t point, int32_t attempt, const std::string& device = "cpu:0") {
  Assignment assignment;
  assignment.id = Id(point, attempt);
  assignment.device = device;
  assignment.point = TestPoint(static_cast<uint64_t>(point));
  assignment.point_key = PointKey(assignment.point);
  return assignment;
}

std::vector<std::string> Names(const std::vector<Train>& train) {
  std::vector<std::string> names;
  for (const Train& t : train) names.push_back(t.attempt);
  return names;
}
std::vector<std::string> Names(const std::vector<ReportPtr>& reports) {
  std::vector<std::string> names;
  for (const ReportPtr& r : reports) names.push_back(ToText(r->id));
  return names;
}
std::vector<std::string> HeldBy(const SyncCall& call, size_t device) {
  std::vector<std::string> names;
  for (const HeldView& held : call.devices[device].held) names.push_back(ToText(held.id));
  return names;
}

// A state in conversation with a coordinator of database db1.
class StateTest : public ::testing::Test {
 protected:
  SyncCall Call() { return state_.BuildCall(0, false, false, 0); }
  Changes Reply(SyncReply reply) {
    const SyncCall call = Call();
    if (reply.database_id.empty()) reply.database_id = "db1";
    reply.sequence = call.sequence;
    return state_.ApplyReply(call, reply, true);
  }
  Changes Give(std::vector<Assignment> assignments) { return Reply({.assignments = std::move(assignments)}); }
  Changes Finish(const std::string& name, int64_t point, size_t device = 0) {
    return state_.OnTrainerMessage(device, Finished{name, TestResult(TestPoint(static_cast<uint64_t>(point)))});
  }
  Changes Acknowledge(const AttemptId& id, Verdict verdict = Verdict::kAccepted) {
    return Reply({.acknowledged = {{id, verdict, ""}}});
  }

  State state_{{"cpu:0", "cpu:1"}};
};

TEST_F(StateTest, FirstCallNamesNoDatabaseAndSequenceGrowsByOne) {
  const SyncCall first = Call();
  EXPECT_EQ(first.sequence, 1);
  EXPECT_EQ(first.database_id, "");
  ASSERT_EQ(first.devices.size(), 2u);
  EXPECT_EQ(first.devices[1].name, "cpu:1");
  EXPECT_FALSE(first.devices[0].ready);
  EXPECT_NE(first.devices[0].reason, "");
  EXPECT_EQ(Call().sequence, 2);
}

TEST_F(StateTest, ADrainIsSaidAgainSoThatItOutlivesTheCoordinator) {
  EXPECT_FALSE(Call().draining);
  Reply({.drain = true});
  EXPECT_TRUE(Call().draining);
  Reply({});  // of a coordinator that was started anew and knows of no drain
  EXPECT_TRUE(Call().draining);
  Reply({.database_id = "db2"});
  EXPECT_FALSE(Call().draining) << "it was the other coordinator's";
}

TEST_F(StateTest, AssignmentOfTheFirstReplyIsTrainedAndThenListedAsHeld) {
  EXPECT_THAT(Names(Give({Assign(7, 1), Assign(8, 2, "cpu:1")}).train), ElementsAre("7/1", "8/2"));
  const SyncCall call = Call();
  EXPECT_EQ(call.database_id, "db1");
  EXPECT_THAT(HeldBy(call, 0), ElementsAre("7/1"));
  EXPECT_THAT(HeldBy(call, 1), ElementsAre("8/2"));
}

TEST_F(StateTest, AssignmentSaidTwiceIsTrainedOnce) {
  Give({Assign(7, 1)});
  EXPECT_THAT(Give({Assign(7, 1)}).train, IsEmpty());
  Finish("7/1", 7);
  EXPECT_THAT(Give({Assign(7, 1)}).train, IsEmpty());  // its result is on the way
}

TEST_F(StateTest, ResultIsSentUntilItIsAcknowledged) {
  Give({Assign(7, 1)});
  EXPECT_THAT(Names(Finish("7/1", 7).reports), ElementsAre("7/1"));
  for (int lost_replies = 0; lost_replies < 3; ++lost_replies) {
    const SyncCall call = Call();
    EXPECT_THAT(Names(call.reports), ElementsAre("7/1"));
    EXPECT_THAT(HeldBy(call, 0), IsEmpty());
  }
  EXPECT_THAT(Names(Acknowledge(Id(7, 1)).settled), ElementsAre("7/1"));
  EXPECT_THAT(Call().reports, IsEmpty());
  EXPECT_THAT(Acknowledge(Id(7, 1)).settled, IsEmpty());
}

TEST_F(StateTest, EveryVerdictEndsTheReport) {
  for (Verdict verdict : {Verdict::kAccepted, Verdict::kDuplicate, Verdict::kLate, Verdict::kRejected}) {
    Give({Assign(7, 1)});
    Finish("7/1", 7);
    Acknowledge(Id(7, 1), verdict);
    EXPECT_THAT(Call().reports, IsEmpty());
  }
}

TEST_F(StateTest, ResultOfAnUnknownAttemptIsIgnored) {
  EXPECT_THAT(Finish("9/9", 9).reports, IsEmpty());
  Give({Assign(7, 1)});
  EXPECT_THAT(Finish("7/1", 7, /*device=*/1).reports, IsEmpty());  // not that device's
}

TEST_F(StateTest, ResultOfAnotherPointFailsTheAttempt) {
  Give({Assign(7, 1)});
  const Changes changes = Finish("7/1", 8);
  ASSERT_EQ(changes.reports.size(), 1u);
  EXPECT_EQ(changes.reports[0]->kind, ReportKind::kFailure);
  EXPECT_EQ(changes.reports[0]->cause, FailureCause::kInternal);
}

TEST_F(StateTest, DropCancelsAndTheCancelledResultIsForgotten) {
  Give({Assign(7, 1), Assign(8, 1)});
  const Changes changes = Reply({.drop = {Id(7, 1), Id(99, 1)}});
  ASSERT_EQ(changes.cancel.size(), 1u);
  EXPECT_EQ(changes.cancel[0].attempt, "7/1");
  EXPECT_THAT(Finish("7/1", 7).reports, IsEmpty());
  EXPECT_THAT(HeldBy(Call(), 0), ElementsAre("8/1"));
}

TEST_F(StateTest, BadAssignmentsAreFailuresNotCrashes) {
  Assignment rule = Assign(1, 1);
  rule.point.heads = 0;
  Assignment key = Assign(2, 1);
  key.point_key = "0123";
  Assignment unreadable = Assign(3, 1);
  unreadable.point_status = absl::InvalidArgumentError("family 'zz'");
  const Changes changes = Give({rule, key, unreadable, Assign(4, 1, "cuda:7")});
  EXPECT_THAT(changes.train, IsEmpty());
  ASSERT_EQ(changes.reports.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(changes.reports[static_cast<size_t>(i)]->cause, FailureCause::kBadPoint);
  EXPECT_THAT(changes.reports[1]->message, HasSubstr("same version"));
  EXPECT_EQ(changes.reports[3]->cause, FailureCause::kInternal);
  EXPECT_THAT(changes.reports[3]->message, HasSubstr("cuda:7"));
}

TEST_F(StateTest, HelloSendsEverythingTheDeviceHolds) {
  Give({Assign(7, 1), Assign(8, 1), Assign(9, 1, "cpu:1")});
  Hello hello;
  hello.device_kind = "cpu";
  hello.slots = 4;
  EXPECT_THAT(Names(state_.OnTrainerMessage(0, hello).train), ElementsAre("7/1", "8/1"));
  EXPECT_TRUE(Call().devices[0].ready);
  EXPECT_EQ(Call().devices[0].slots, 4);
}

TEST_F(StateTest, DeadTrainerBlamesStartedAttemptsOnly) {
  Give({Assign(1, 1), Assign(2, 1), Assign(3, 1), Assign(4, 1, "cpu:1")});
  state_.OnTrainerMessage(0, Hello{});
  state_.OnTrainerMessage(0, Started{"1/1"});
  state_.OnTrainerMessage(0, Started{"2/1"});
  state_.OnTrainerMessage(1, Started{"4/1"});
  const Changes changes = state_.OnTrainerLost(0, FailureCause::kTrainerDied, "signal 11", true, false);
  ASSERT_THAT(Names(changes.reports), ElementsAre("1/1", "2/1"));
  for (const ReportPtr& report : changes.reports) {
    EXPECT_EQ(report->cause, FailureCause::kTrainerDied);
    EXPECT_EQ(report->message, "signal 11");
    EXPECT_EQ(report->pack_size, 2);
  }
  const SyncCall call = Call();
  EXPECT_FALSE(call.devices[0].ready);
  EXPECT_THAT(HeldBy(call, 0), ElementsAre("3/1"));
  EXPECT_THAT(HeldBy(call, 1), ElementsAre("4/1"));
  EXPECT_THAT(Names(state_.OnTrainerMessage(0, Hello{}).train), ElementsAre("3/1"));
}

TEST_F(StateTest, PointThatKillsTheTrainerBeforeItStartsIsFoundOut) {
  Give({Assign(1, 1), Assign(2, 1)});
  EXPECT_THAT(state_.OnTrainerLost(0, FailureCause::kTrainerDied, "m", true, false).reports, IsEmpty());
  const Changes second = state_.OnTrainerLost(0, FailureCause::kTrainerDied, "m", true, false);
  ASSERT_THAT(Names(second.reports), ElementsAre("1/1"));
  EXPECT_EQ(second.reports[0]->pack_size, 1);
}

TEST_F(StateTest, TrainerThatCannotStartBlamesNobodyAndHandsBack) {
  Give({Assign(1, 1), Assign(2, 1)});
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(state_.OnTrainerLost(0, FailureCause::kTrainerDied, "m", false, false).reports, IsEmpty());
  }
  const Changes changes = state_.OnTrainerLost(0, FailureCause::kTrainerDied, "no such file", false, true);
  ASSERT_THAT(Names(changes.reports), ElementsAre("1/1", "2/1"));
  EXPECT_EQ(changes.reports[0]->kind, ReportKind::kHandBack);
  EXPECT_EQ(Call().devices[0].reason, "no such file");
}

TEST_F(StateTest, ChangeOfDatabaseDropsWorkAndParksReports) {
  Give({Assign(1, 1), Assign(2, 1)});
  Finish("1/1", 1);
  // The new coordinator uses the same numbers for other points: neither its verdict nor its work may be taken for ours.
  const Changes changes = Reply(
      {.database_id = "db2", .assignments = {Assign(5, 1)}, .acknowledged = {{Id(1, 1), Verdict::kAccepted, ""}}});
  EXPECT_TRUE(changes.new_database);
  EXPECT_THAT(Names(changes.parked), ElementsAre("1/1"));
  EXPECT_EQ(changes.parked[0]->database_id, "db1");
  EXPECT_THAT(changes.settled, IsEmpty());
  EXPECT_THAT(changes.train, IsEmpty());
  ASSERT_EQ(changes.cancel.size(), 1u);
  EXPECT_EQ(changes.cancel[0].attempt, "2/1");
  const SyncCall call = Call();
  EXPECT_EQ(call.database_id, "db2");
  EXPECT_THAT(call.reports, IsEmpty());
  EXPECT_TRUE(state_.Idle());
}

TEST_F(StateTest, AttemptsOfTwoDatabasesNeverShareAName) {
  Give({Assign(2, 1)});
  Reply({.database_id = "db2"});
  const Changes changes = Reply({.database_id = "db2", .assignments = {Assign(2, 1)}});
  ASSERT_EQ(changes.train.size(), 1u);
  EXPECT_NE(changes.train[0].attempt, "2/1");
  EXPECT_THAT(Finish("2/1", 2).reports, IsEmpty());  // of the cancelled one
  const Changes done = Finish(changes.train[0].attempt, 2);
  ASSERT_EQ(done.reports.size(), 1u);
  EXPECT_EQ(done.reports[0]->database_id, "db2");
}

TEST_F(StateTest, ReportsThatDoNotFitAreListedAsHeld) {
  Reply({});
  std::vector<Report> reports;
  for (int64_t point = 1; point <= 5; ++point) reports.push_back(ResultReport(point, 1, "db1", 15000));  // ~1 MB each
  state_.Restore(std::move(reports));
  const SyncCall call = Call();
  EXPECT_THAT(Names(call.reports), ElementsAre("1/1", "2/1"));
  EXPECT_THAT(HeldBy(call, 0), ElementsAre("3/1", "4/1", "5/1"));
  EXPECT_TRUE(state_.HasUnsent(call));
}

TEST_F(StateTest, RefusedCallIsHalvedUntilTheBadReportIsAlone) {
  Reply({});
  std::vector<Report> reports;
  for (int64_t point = 1; point <= 4; ++point) reports.push_back(ResultReport(point, 1));
  state_.Restore(std::move(reports));
  // The coordinator refuses any call with attempt 1/1 in it.
  int refused = 0;
  ReportPtr given_up;
  for (int calls = 0; calls < 20 && !state_.Unacknowledged().empty(); ++calls) {
    const SyncCall call = Call();
    const bool bad =
        std::any_of(call.reports.begin(), call.reports.end(), [](const ReportPtr& r) { return r->id == Id(1, 1); });
    if (bad) {
      ++refused;
      state_.OnRefused(call);
      continue;
    }
    SyncReply reply{.database_id = "db1", .sequence = call.sequence};
    for (const ReportPtr& report : call.reports) reply.acknowledged.push_back({report->id, Verdict::kAccepted, ""});
    state_.ApplyReply(call, reply, true);
    if (ReportPtr report = state_.TakeRefused()) given_up = report;
  }
  EXPECT_EQ(refused, 3);  // 4, 2 and 1 reports
  ASSERT_NE(given_up, nullptr);
  EXPECT_EQ(given_up->id, Id(1, 1));
  EXPECT_THAT(state_.Unacknowledged(), IsEmpty());
}

TEST_F(StateTest, HandBackCarriesTheCheckpointAndFreesTheDevice) {
  Give({Assign(1, 1), Assign(2, 1)});
  auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint{"torch", "bytes"});
  const Changes changes = state_.HandBack("1/1", checkpoint);
  ASSERT_THAT(Names(changes.reports), ElementsAre("1/1"));
  EXPECT_EQ(changes.reports[0]->kind, ReportKind::kHandBack);
  EXPECT_EQ(changes.reports[0]->checkpoint, checkpoint);
  EXPECT_THAT(state_.HandBack("1/1", nullptr).reports, IsEmpty());
  EXPECT_THAT(Names(state_.HandBackAll(0).reports), ElementsAre("2/1"));
  EXPECT_TRUE(state_.Idle());
}

TEST_F(StateTest, LeavingAgentTakesNoWork) {
  const SyncCall call = Call();
  const Changes changes =
      state_.ApplyReply(call, {.database_id = "db1", .sequence = call.sequence, .assignments = {Assign(1, 1)}}, false);
  EXPECT_THAT(changes.train, IsEmpty());
  EXPECT_TRUE(state_.Idle());
}

TEST_F(StateTest, ProgressIsReported) {
  Give({Assign(1, 1)});
  state_.OnTrainerMessage(0, Started{"1/1"});
  state_.OnTrainerMessage(0, Progress{"1/1", 0.25});
  const SyncCall call = Call();
  EXPECT_EQ(call.devices[0].held[0].progress, 0.25);
  EXPECT_TRUE(call.devices[0].held[0].running);
}

}  // namespace
}  // namespace capsweep::agent
