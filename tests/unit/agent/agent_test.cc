// The agent in this process, its trainers and the wire real, the coordinator scripted.
#include "worker/agent/agent.h"

#include <fstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"
#include "tests/unit/agent/fake_coordinator.h"
#include "worker/agent/spool.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;
using Record = FakeCoordinator::Record;

class AgentTest : public ::testing::Test {
 protected:
  ~AgentTest() override {
    if (thread_.joinable()) {
      EXPECT_EQ(StopAgent(), 0);
    }
  }

  AgentOptions Options(int devices) {
    AgentOptions options;
    options.coordinator = coordinator_.address();
    options.worker_id = "test-worker";
    for (int i = 0; i < devices; ++i) options.devices.push_back({StrCat("cpu:", i), "cpu"});
    options.trainer = CAPSWEEP_BIN_DIR "/fake_trainer";
    options.spool_folder = folder_.path() + "/spool";
    options.trainer_env["FAKE_TRAINER_LOG"] = folder_.path() + "/log";
    options.max_backoff = std::chrono::milliseconds(300);
    return options;
  }

  void StartAgent(AgentOptions options) {
    auto agent = Agent::Create(std::move(options));
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = std::move(*agent);
    thread_ = std::thread([this] { exit_code_ = agent_->Run(); });
  }
  int JoinAgent() {
    thread_.join();
    agent_.reset();
    return exit_code_;
  }
  int StopAgent() {
    agent_->RequestStop();
    return JoinAgent();
  }

  // Attempts that trainers started, as "point/attempt".
  std::vector<std::string> Started() const {
    std::ifstream log(folder_.path() + "/log");
    std::vector<std::string> attempts;
    for (std::string pid, attempt; log >> pid >> attempt;) attempts.push_back(attempt);
    return attempts;
  }
  bool AwaitStarted(size_t count) const {
    for (int i = 0; i < 2000 && Started().size() < count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return Started().size() >= count;
  }
  size_t Spooled() const {
    size_t count = 0;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path() + "/spool", none)) {
      count += entry.path().extension() == ".report" ? 1 : 0;
    }
    return count;
  }
  bool AwaitSpooled(size_t count) const {
    for (int i = 0; i < 2000 && Spooled() != count; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return Spooled() == count;
  }

  // All results, each valid for its point and the same however it came about.
  void ExpectResults(size_t count) {
    const Record seen = coordinator_.Seen();
    ASSERT_EQ(seen.results.size(), count);
    for (const auto& [point, result] : seen.results) {
      const absl::Status valid = ValidateResult(TestPoint(static_cast<uint64_t>(point)), result);
      EXPECT_TRUE(valid.ok()) << valid;
    }
  }

  TempFolder folder_;
  FakeCoordinator coordinator_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  int exit_code_ = -1;
};

TEST_F(AgentTest, EveryPointIsTrainedOnceAndDelivered) {
  coordinator_.AddPoints(60);
  StartAgent(Options(3));
  ASSERT_TRUE(coordinator_.AwaitResults(60));
  EXPECT_EQ(StopAgent(), 0);
  ExpectResults(60);
  EXPECT_EQ(Started().size(), 60u);
  EXPECT_EQ(coordinator_.Seen().failures.size(), 0u);
  EXPECT_TRUE(coordinator_.Seen().worker_left);
  EXPECT_EQ(Spooled(), 0u);
}

TEST_F(AgentTest, RegistrationSaysWhoItIs) {
  AgentOptions options = Options(2);
  options.labels = {{"rack", "7"}};
  options.allocation = std::chrono::hours(1);
  StartAgent(options);
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.calls > 0; }));
  const v1::SyncRequest request = coordinator_.Seen().last_request;
  EXPECT_EQ(request.worker_id(), "test-worker");
  EXPECT_THAT(request.incarnation(), ::testing::MatchesRegex("[0-9]{16}-[0-9a-f]{8}"));
  EXPECT_GE(request.sequence(), 1);
  EXPECT_NE(request.host(), "");
  EXPECT_EQ(request.pid(), getpid());
  EXPECT_EQ(request.labels().at("rack"), "7");
  ASSERT_EQ(request.devices_size(), 2);
  EXPECT_EQ(request.devices(1).name(), "cpu:1");
  EXPECT_TRUE(request.devices(1).ready());  // the first call waits for the trainers
  EXPECT_GT(request.remaining_seconds(), 3000);
  EXPECT_LE(request.remaining_seconds(), 3600);
}

TEST_F(AgentTest, LostRepliesMeanRepeatsNotLosses) {
  coordinator_.AddPoints(20);
  coordinator_.LoseReplies(6);
  StartAgent(Options(2));
  ASSERT_TRUE(coordinator_.AwaitResults(5));
  coordinator_.LoseReplies(3);
  ASSERT_TRUE(coordinator_.AwaitResults(20));
  EXPECT_EQ(StopAgent(), 0);
  ExpectResults(20);
  EXPECT_EQ(Started().size(), 20u);
  EXPECT_EQ(Spooled(), 0u);
}

TEST_F(AgentTest, CoordinatorThatIsAwayForAWhileLosesNothing) {
  coordinator_.AddPoints(12);
  coordinator_.SetDepth(4);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "50";
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(1));
  coordinator_.Stop();
  ASSERT_TRUE(AwaitStarted(4));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  EXPECT_GE(Spooled(), 2u);  // what was done meanwhile is on disk
  coordinator_.Start();
  ASSERT_TRUE(coordinator_.AwaitResults(12));
  ASSERT_TRUE(AwaitSpooled(0));
  ExpectResults(12);
  EXPECT_EQ(Started().size(), 12u);  // nothing was trained twice
}

TEST_F(AgentTest, AgentThatStopsWhileTheCoordinatorIsAwayDeliversAtItsNextStart) {
  coordinator_.AddPoints(2);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "100";
  options.leave_limit = std::chrono::milliseconds(200);
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(1));
  coordinator_.Stop();
  ASSERT_TRUE(AwaitSpooled(2));
  EXPECT_EQ(StopAgent(), 0);
  EXPECT_EQ(Spooled(), 2u);
  coordinator_.Start();
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(2));
  ASSERT_TRUE(AwaitSpooled(0));
  EXPECT_EQ(Started().size(), 2u);
}

TEST_F(AgentTest, ReportsOfAnotherDatabaseWaitUntilItIsBack) {
  coordinator_.AddPoints(2);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "100";
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(1));
  coordinator_.Stop();
  ASSERT_TRUE(AwaitSpooled(2));
  coordinator_.BecomeDatabase("db2");
  coordinator_.AddPoints(3);
  coordinator_.Start();
  ASSERT_TRUE(coordinator_.AwaitResults(3));
  EXPECT_EQ(coordinator_.Seen().deliveries, 3);  // none of them db1's
  EXPECT_EQ(Spooled(), 2u);
  coordinator_.BecomeDatabase("db1");
  coordinator_.AddPoints(2);
  ASSERT_TRUE(coordinator_.AwaitResults(2));
  ASSERT_TRUE(AwaitSpooled(0));
  ExpectResults(2);
}

TEST_F(AgentTest, CorruptSpoolFileIsSetAsideAndTheAgentWorks) {
  std::filesystem::create_directories(folder_.path() + "/spool");
  std::ofstream(folder_.path() + "/spool/db1-1-1.report") << "capsweep-report 1 nonsense";
  coordinator_.AddPoints(3);
  StartAgent(Options(1));
  ASSERT_TRUE(coordinator_.AwaitResults(3));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() + "/spool/corrupt/db1-1-1.report"));
}

TEST_F(AgentTest, ReportThatEveryCallIsRefusedForDoesNotBlockTheOthers) {
  coordinator_.AddPoints(6);
  coordinator_.RefuseReportsOf(2);
  StartAgent(Options(1));
  EXPECT_TRUE(coordinator_.Await([](const Record& r) { return r.results.size() >= 5; }));
  for (int i = 0; i < 500 && !std::filesystem::exists(folder_.path() + "/spool/refused"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(std::filesystem::exists(folder_.path() + "/spool/refused"));
  EXPECT_FALSE(coordinator_.Seen().results.contains(2));
  coordinator_.Drop(2);
}

TEST_F(AgentTest, DroppedAttemptIsCancelledAndTheNextOneRuns) {
  coordinator_.AddPoints(2);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "700";
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(1));
  coordinator_.Drop(1);
  ASSERT_TRUE(coordinator_.AwaitResults(1));
  EXPECT_TRUE(coordinator_.Seen().results.contains(2));
  EXPECT_EQ(coordinator_.Seen().deliveries, 1);
}

TEST_F(AgentTest, CoordinatorCanStopTheWorker) {
  coordinator_.AddPoints(4);
  AgentOptions options = Options(2);
  options.trainer_env["FAKE_TRAINER_MS"] = "60000";
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(2));
  coordinator_.StopWorkers();
  EXPECT_EQ(JoinAgent(), 0);
  EXPECT_EQ(coordinator_.Seen().handed_back, 4);
}

TEST_F(AgentTest, DeadTrainerIsBlamedOnWhatRanAndTheRestGoesOn) {
  coordinator_.AddPoints(6);
  coordinator_.SetDepth(4);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_DIE_ON"] = "2/1 ";  // the first attempt of point 2; its next one lives
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(6));
  const Record seen = coordinator_.Seen();
  ASSERT_EQ(seen.failures.size(), 1u);
  EXPECT_EQ(seen.failures[0].point, 2);
  EXPECT_EQ(seen.failures[0].cause, "trainer_died");
  EXPECT_EQ(seen.failures[0].pack_size, 1);
  EXPECT_THAT(seen.failures[0].message, HasSubstr("signal 9"));
  EXPECT_THAT(seen.failures[0].message, HasSubstr("dying as the environment asks"));
}

TEST_F(AgentTest, HungTrainerIsKilledAndReplaced) {
  coordinator_.AddPoints(4);
  AgentOptions options = Options(1);
  options.hang = std::chrono::milliseconds(400);
  options.trainer_env["FAKE_TRAINER_HANG_ON"] = "3/1 ";
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(4));
  const Record seen = coordinator_.Seen();
  ASSERT_EQ(seen.failures.size(), 1u);
  EXPECT_EQ(seen.failures[0].point, 3);
  EXPECT_EQ(seen.failures[0].cause, "trainer_hung");
}

TEST_F(AgentTest, FailureOfAPointIsDeliveredWithItsCause) {
  coordinator_.AddPoints(3);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_FAIL_ON"] = "2/1 ";
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(3));
  ASSERT_EQ(coordinator_.Seen().failures.size(), 1u);
  EXPECT_EQ(coordinator_.Seen().failures[0].cause, "nan_loss");
}

TEST_F(AgentTest, TrainerThatCannotStartMakesTheDeviceNotReadyWithTheReason) {
  coordinator_.AddPoints(1);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_NO_HELLO"] = "1";
  StartAgent(options);
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.calls > 0; }));
  const v1::SyncRequest request = coordinator_.Seen().last_request;
  EXPECT_FALSE(request.devices(0).ready());
  EXPECT_THAT(request.devices(0).reason(), HasSubstr("exit code 3"));
}

TEST_F(AgentTest, HandedBackWorkIsResumedFromItsCheckpoint) {
  coordinator_.AddPoints(2);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "60000";
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(1));
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.last_request.devices(0).held_size() == 2; }));
  EXPECT_EQ(StopAgent(), 0);
  EXPECT_EQ(coordinator_.Seen().handed_back, 2);
  options.trainer_env["FAKE_TRAINER_MS"] = "1";
  StartAgent(options);
  ASSERT_TRUE(coordinator_.AwaitResults(2));
  EXPECT_GT(coordinator_.Seen().results[1].resumed_from_step, 0);
  EXPECT_EQ(coordinator_.Seen().results[2].resumed_from_step, 0);  // was queued
}

TEST_F(AgentTest, NewWorkReachesAnIdleWorkerAtOnceAndResultsDoNotWaitForTheHeldCall) {
  StartAgent(Options(1));
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.last_request.max_wait_seconds() > 0; }));
  const int calls = coordinator_.Seen().calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_LE(coordinator_.Seen().calls, calls + 1);  // one call is held open, not many made
  const Instant added = std::chrono::steady_clock::now();
  coordinator_.AddPoints(1);
  ASSERT_TRUE(coordinator_.AwaitResults(1));
  EXPECT_LT(ToSeconds(std::chrono::steady_clock::now() - added), 2.0);
}

TEST_F(AgentTest, UnreachableCoordinatorIsGivenUpWhenAskedFor) {
  coordinator_.Stop();
  AgentOptions options = Options(1);
  options.give_up = std::chrono::milliseconds(300);
  StartAgent(options);
  EXPECT_EQ(JoinAgent(), 3);
}

TEST_F(AgentTest, AllocationThatEndsIsHandedBackInTime) {
  coordinator_.AddPoints(1);
  AgentOptions options = Options(1);
  options.trainer_env["FAKE_TRAINER_MS"] = "60000";
  options.grace = std::chrono::milliseconds(500);
  options.leave_limit = std::chrono::milliseconds(500);
  options.allocation = std::chrono::seconds(2);
  StartAgent(options);
  EXPECT_EQ(JoinAgent(), 0);
  EXPECT_EQ(coordinator_.Seen().handed_back, 1);
}

TEST_F(AgentTest, TrainerThatIgnoresStopIsKilledAfterTheGraceTime) {
  coordinator_.AddPoints(1);
  AgentOptions options = Options(1);
  options.grace = std::chrono::milliseconds(300);
  options.trainer_env["FAKE_TRAINER_HANG_ON"] = "1/1 ";
  StartAgent(options);
  ASSERT_TRUE(AwaitStarted(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(StopAgent(), 0);
  EXPECT_EQ(coordinator_.Seen().handed_back, 1);
}

TEST(BackoffTest, DelayIsJitteredGrowsAndIsBounded) {
  const Duration first = std::chrono::milliseconds(100), max = std::chrono::seconds(10);
  EXPECT_EQ(BackoffDelay(first, max, 0, 0.0), first);
  EXPECT_EQ(BackoffDelay(first, max, 3, 0.0), 8 * first);
  EXPECT_EQ(BackoffDelay(first, max, 3, 0.5), 4 * first);
  EXPECT_EQ(BackoffDelay(first, max, 1000, 0.0), max);
  EXPECT_GT(BackoffDelay(first, max, 5, 0.999999999), Duration::zero());
}

}  // namespace
}  // namespace capsweep::agent
