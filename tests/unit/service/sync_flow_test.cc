// The Sync exchange over real gRPC with a real database: what is promised when messages are lost, repeated or late, and
// when the coordinator starts anew.
#include <future>
#include <latch>
#include <set>

#include "gmock/gmock.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using ::testing::HasSubstr;
using testing_support::Coordinator;
using testing_support::FastOptions;
using testing_support::ScriptedWorker;
using testing_support::SweepText;
using testing_support::TempFolder;

constexpr auto kAccepted = v1::Acknowledgement::ACCEPTED;

TEST(SyncFlowTest, ASweepIsGivenOutMeasuredAcknowledgedAndStored) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  v1::SubmitSweepResponse submitted;
  ASSERT_TRUE(coordinator.Submit(SweepText("flow"), &submitted).ok());
  EXPECT_EQ(submitted.points(), 12);
  EXPECT_EQ(submitted.new_points(), 12);

  ScriptedWorker worker(coordinator.workers.get(), "w1");
  std::map<std::string, int64_t> expected;  // items_mem by key
  ASSERT_TRUE(worker.WorkUntil([&] {
    for (const auto& [id, result] : worker.finished) {
      expected[result.result().point_key()] = result.result().items_mem();
    }
    return coordinator.Status("flow").done() == 12;
  }));
  EXPECT_EQ(coordinator.Status("flow").state(), "finished");
  EXPECT_EQ(worker.verdicts.size(), 12u);
  for (const v1::Acknowledgement& ack : worker.verdicts) {
    EXPECT_EQ(ack.verdict(), kAccepted) << ack.reason();
  }
  v1::TableResponse table;
  ASSERT_TRUE(coordinator.Query("SELECT point_key, items_mem FROM v_results WHERE sweep = 'flow'", &table).ok());
  ASSERT_EQ(table.rows_size(), 12);
  for (const v1::Row& row : table.rows()) {
    EXPECT_EQ(row.values(1).integer(), expected.at(row.values(0).text()));
  }
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'"), 12);
}

TEST(SyncFlowTest, AnAssignmentWhoseReplyWasLostIsGivenAgain) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("lost", 1, 1)).ok());
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  v1::SyncResponse lost;
  ASSERT_TRUE(worker.Send(worker.Request(), &lost).ok());
  ASSERT_GT(lost.assignments_size(), 0);
  v1::SyncResponse again;
  ASSERT_TRUE(worker.Sync(&again).ok());
  std::set<std::pair<int64_t, int32_t>> first, second;
  for (const auto& a : lost.assignments()) first.insert(ScriptedWorker::Key(a.id()));
  for (const auto& a : again.assignments()) second.insert(ScriptedWorker::Key(a.id()));
  EXPECT_EQ(first, second) << "the same attempts, not new ones";
  EXPECT_EQ(again.assignments(0).point_key().size(), 32u);
}

TEST(SyncFlowTest, AResultSentAgainIsADuplicateAndTheFirstStays) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("twice", 1, 1)).ok());
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_FALSE(worker.held.empty());
  worker.FinishAll();
  const auto sent = worker.finished;
  ASSERT_TRUE(worker.Sync().ok());
  worker.finished = sent;
  v1::SyncResponse response;
  ASSERT_TRUE(worker.Sync(&response).ok());
  ASSERT_EQ(response.acknowledged_size(), static_cast<int>(sent.size()));
  EXPECT_EQ(response.acknowledged(0).verdict(), v1::Acknowledgement::DUPLICATE);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM results"), static_cast<int64_t>(sent.size()));
}

TEST(SyncFlowTest, AResultAfterTheLeaseIsAcceptedWhileThePointIsOpenAndLateAfterwards) {
  const TempFolder folder;
  core::Options options = FastOptions();
  options.lease = std::chrono::milliseconds(300);
  Coordinator coordinator(folder.Path("a.db"), options);
  ASSERT_TRUE(coordinator.Submit(SweepText("late", 1, 1)).ok());  // two points
  ScriptedWorker slow(coordinator.workers.get(), "slow");
  ASSERT_TRUE(slow.Sync().ok());
  ASSERT_FALSE(slow.held.empty());
  slow.FinishAll();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));  // its lease runs out
  ScriptedWorker fast(coordinator.workers.get(), "fast");
  ASSERT_TRUE(fast.WorkUntil([&] { return coordinator.Status("late").done() == 2; }));
  ASSERT_TRUE(slow.Sync().ok());
  ASSERT_FALSE(slow.verdicts.empty());
  for (const v1::Acknowledgement& ack : slow.verdicts) {
    EXPECT_EQ(ack.verdict(), v1::Acknowledgement::LATE);
  }
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM results WHERE worker = 'fast'"), 2);
}

TEST(SyncFlowTest, AWrongResultIsRejectedAndItsPointIsMeasuredByAnotherAttempt) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("wrong", 1, 1)).ok());
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  worker.FinishAll();
  auto& spoiled = worker.finished.begin()->second;
  spoiled.mutable_result()->set_items_mem(1'000'000);
  const auto key = ScriptedWorker::Key(spoiled.id());
  ASSERT_TRUE(worker.Sync().ok());
  bool rejected = false;
  for (const v1::Acknowledgement& ack : worker.verdicts) {
    if (ScriptedWorker::Key(ack.id()) == key) {
      EXPECT_EQ(ack.verdict(), v1::Acknowledgement::REJECTED);
      EXPECT_THAT(ack.reason(), HasSubstr("items_mem"));
      rejected = true;
    }
  }
  EXPECT_TRUE(rejected);
  ASSERT_TRUE(worker.WorkUntil([&] { return coordinator.Status("wrong").done() == 2; }));
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM attempts WHERE outcome = 'failed'"), 1);
}

TEST(SyncFlowTest, AResultOfAnUnknownPointOrAnotherPointsKeyIsRejected) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("keys", 1, 1)).ok());
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_EQ(worker.held.size(), 2u);
  worker.FinishAll();
  auto first = worker.finished.begin();
  auto second = std::next(first);
  std::swap(*first->second.mutable_result(), *second->second.mutable_result());
  v1::DeliveredResult stranger = first->second;
  stranger.mutable_id()->set_point_id(987654);
  worker.finished[{987654, 1}] = stranger;
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_EQ(worker.verdicts.size(), 3u);
  for (const v1::Acknowledgement& ack : worker.verdicts) {
    EXPECT_EQ(ack.verdict(), v1::Acknowledgement::REJECTED);
  }
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM results"), 0);
}

TEST(SyncFlowTest, AttemptsOfAnotherDatabaseAreDroppedAndTheirReportsAreNotTaken) {
  const TempFolder folder;
  Coordinator other(folder.Path("other.db"));
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(other.Submit(SweepText("same", 1, 3)).ok());
  ASSERT_TRUE(coordinator.Submit(SweepText("same", 1, 3)).ok());
  ScriptedWorker worker(other.workers.get(), "w1", 1);
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_GE(worker.held.size(), 2u);
  const auto kept = worker.held;
  worker.FinishAll();
  worker.held[kept.begin()->first] = kept.begin()->second;
  v1::SyncResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(coordinator.workers->Sync(&context, worker.Request(), &response).ok());
  EXPECT_EQ(response.database_id(), coordinator.engine->database_id());
  EXPECT_EQ(response.drop_size(), 1);
  EXPECT_EQ(response.acknowledged_size(), 0);
  EXPECT_EQ(response.assignments_size(), 0);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM results"), 0);
}

TEST(SyncFlowTest, AnOlderCallIsRefused) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  const v1::SyncRequest old = worker.Request();
  ASSERT_TRUE(worker.Sync().ok());
  v1::SyncResponse response;
  EXPECT_EQ(worker.Send(old, &response).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(SyncFlowTest, AHeldCallIsReleasedByASubmission) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  v1::SyncResponse response;
  const auto started = std::chrono::steady_clock::now();
  auto call = std::async(std::launch::async, [&] { return worker.Sync(&response, 5); });
  EXPECT_EQ(call.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout) << "it must be held open";
  ASSERT_TRUE(coordinator.Submit(SweepText("wake", 1, 1)).ok());
  ASSERT_TRUE(call.get().ok());
  EXPECT_GT(response.assignments_size(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(3));
}

TEST(SyncFlowTest, ACancelledCallIsForgottenAndTheNextOneIsServed) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  grpc::ClientContext context;
  v1::SyncRequest request = worker.Request();
  request.set_max_wait_seconds(20);
  auto call = std::async(std::launch::async, [&] {
    v1::SyncResponse response;
    return coordinator.workers->Sync(&context, request, &response);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  context.TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(coordinator.Submit(SweepText("after", 1, 1)).ok());
  ASSERT_TRUE(worker.WorkUntil([&] { return coordinator.Status("after").done() == 2; }));
}

TEST(SyncFlowTest, ShutdownReleasesHeldCallsAtOnce) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  auto call = std::async(std::launch::async, [&] { return worker.Sync(nullptr, 20); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const auto started = std::chrono::steady_clock::now();
  coordinator.server->Shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(2));
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::UNAVAILABLE);
}

// ---------------------------------------------------------------- restarts

TEST(RestartTest, ResultsStayAndRunningAttemptsAreTakenUpAgain) {
  const TempFolder folder;
  const std::string database = folder.Path("a.db");
  std::map<ScriptedWorker::AttemptKey, v1::DeliveredResult> finished;
  std::map<ScriptedWorker::AttemptKey, v1::Assignment> held;
  auto coordinator = std::make_unique<Coordinator>(database);
  ASSERT_TRUE(coordinator->Submit(SweepText("again", 2, 3)).ok());
  ScriptedWorker before(coordinator->workers.get(), "w1");
  ASSERT_TRUE(before.Sync().ok());
  ASSERT_GE(before.held.size(), 2u);
  const auto all = before.held;
  before.FinishAll();
  before.finished = {*before.finished.begin()};
  before.held = {std::next(all.begin()), all.end()};
  ASSERT_TRUE(before.Sync().ok());
  ASSERT_EQ(before.verdicts.size(), 1u);
  const auto running = before.held;
  coordinator.reset();

  coordinator = std::make_unique<Coordinator>(database);
  EXPECT_EQ(coordinator->Status("again").done(), 1);
  EXPECT_EQ(coordinator->Status("again").points(), 12);
  // The same agent goes on where it was: what it holds is still its own.
  grpc::ClientContext context;
  v1::SyncResponse response;
  ASSERT_TRUE(coordinator->workers->Sync(&context, before.Request(), &response).ok());
  EXPECT_EQ(response.drop_size(), 0);
  ScriptedWorker after(coordinator->workers.get(), "w2");
  ASSERT_TRUE(after.Sync().ok());
  for (const auto& [id, assignment] : after.held) {
    for (const auto& [held_id, held_assignment] : running) {
      EXPECT_NE(id.first, held_id.first) << "a point that w1 holds was given to w2 as well";
    }
  }
}

TEST(RestartTest, AResultSpooledWhileTheCoordinatorWasAwayIsAccepted) {
  const TempFolder folder;
  const std::string database = folder.Path("a.db");
  auto coordinator = std::make_unique<Coordinator>(database);
  ASSERT_TRUE(coordinator->Submit(SweepText("spool", 1, 1)).ok());
  ScriptedWorker worker(coordinator->workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  worker.FinishAll();
  const size_t sent = worker.finished.size();
  const v1::SyncRequest request = worker.Request();
  coordinator.reset();
  coordinator = std::make_unique<Coordinator>(database);
  grpc::ClientContext context;
  v1::SyncResponse response;
  ASSERT_TRUE(coordinator->workers->Sync(&context, request, &response).ok());
  ASSERT_EQ(response.acknowledged_size(), static_cast<int>(sent));
  for (const v1::Acknowledgement& ack : response.acknowledged()) {
    EXPECT_EQ(ack.verdict(), kAccepted) << ack.reason();
  }
}

TEST(RestartTest, TwoCoordinatorsOnOneFileAreRefused) {
  const TempFolder folder;
  Coordinator first(folder.Path("a.db"));
  EngineOptions options;
  options.database = folder.Path("a.db");
  const auto second = Engine::Open(std::move(options));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another coordinator"));
  EXPECT_EQ(first.QueryInt("SELECT 1"), 1);
}

// ---------------------------------------------------------------- many

TEST(ManyWorkersTest, AThousandOpenCallsAreHeldAndAnsweredWithEachPointOnce) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"), core::Options());
  constexpr int kWorkers = 1000;
  struct Call {
    grpc::ClientContext context;
    v1::SyncRequest request;
    v1::SyncResponse response;
    grpc::Status status;
  };
  std::vector<std::unique_ptr<Call>> calls;
  std::latch open(kWorkers);
  for (int i = 0; i < kWorkers; ++i) {
    ScriptedWorker worker(coordinator.workers.get(), StrCat("w", i), 1);
    calls.push_back(std::make_unique<Call>());
    Call* call = calls.back().get();
    call->request = worker.Request();
    call->request.set_max_wait_seconds(2);
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    coordinator.workers->async()->Sync(&call->context, &call->request, &call->response, [&, call](grpc::Status status) {
      call->status = std::move(status);
      open.count_down();
    });
  }
  ASSERT_TRUE(coordinator.Submit(SweepText("crowd", 2, 100)).ok());  // 400 points
  open.wait();                                                       // every call has a deadline
  std::set<int64_t> points;
  int64_t given = 0;
  for (const auto& call : calls) {
    ASSERT_TRUE(call->status.ok()) << call->status.error_message();
    for (const v1::Assignment& assignment : call->response.assignments()) {
      points.insert(assignment.id().point_id());
      ++given;
    }
  }
  EXPECT_GT(given, 0);
  EXPECT_EQ(given, static_cast<int64_t>(points.size())) << "a point was given out twice";
  EXPECT_EQ(static_cast<int>(coordinator.engine->Workers().size()), kWorkers);
}

TEST(ManyWorkersTest, SixteenBusyWorkersFinishASweepWithOneResultPerPoint) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("busy", 3, 200)).ok());  // 1200 points
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      ScriptedWorker worker(coordinator.workers.get(), StrCat("w", i));
      worker.WorkUntil([&] { return coordinator.Status("busy").done() == 1200; }, std::chrono::seconds(60));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM results"), 1200);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'"), 1200);
}

TEST(SyncFlowTest, OlderWorkersAreServedNewerOnesAreToldToStop) {
  const TempFolder folder;
  Coordinator coordinator(folder.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(SweepText("versions", 1, 1)).ok());
  ScriptedWorker worker(coordinator.workers.get(), "w1");
  v1::SyncRequest newer = worker.Request();
  newer.set_protocol(kSyncProtocol + 1);
  newer.set_version("9.0");
  v1::SyncResponse response;
  ASSERT_TRUE(worker.Send(newer, &response).ok());
  EXPECT_TRUE(response.stop());
  EXPECT_EQ(response.sequence(), newer.sequence());
  EXPECT_EQ(response.assignments_size(), 0);
  EXPECT_THAT(response.notice(), HasSubstr("worker 9.0 speaks protocol 2, this coordinator "));
  ASSERT_TRUE(coordinator.engine->Flush().ok());
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM workers"), 0) << "nothing of the call is taken";
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM events WHERE kind = 'refused' AND message LIKE '%protocol 2%'"),
            1);
  // Fields of a later build that keeps to the protocol are skipped.
  v1::SyncRequest later = worker.Request();
  later.set_protocol(kSyncProtocol);
  later.GetReflection()->MutableUnknownFields(&later)->AddLengthDelimited(1000, "what this build does not know");
  ASSERT_TRUE(worker.Send(later, &response).ok());
  EXPECT_FALSE(response.stop());
  EXPECT_GT(response.assignments_size(), 0);
  v1::SyncRequest older = worker.Request();
  older.clear_protocol();
  ASSERT_TRUE(worker.Send(older, &response).ok());
  EXPECT_FALSE(response.stop());
}

}  // namespace
}  // namespace capsweep::service
