// A sweep that searches, over real gRPC and a real database: planned as results come, also across restarts.
#include "gmock/gmock.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using testing_support::Coordinator;
using testing_support::ScriptedWorker;
using testing_support::TempFolder;

std::string MlsText(const std::string& name, const std::string& search = "{restarts: 2}") {
  return StrCat(
      "sweep: ", name,
      "\ntask: {vocab: 16, seq_len: 8}\nmodel: {heads: [1, 2], width: 8}\ntrain: {steps: 200}\nmeasure: mls\n",
      "search: ", search, "\n");
}

class SearchServiceTest : public ::testing::Test {
 protected:
  bool Finish(Coordinator& coordinator, const std::string& sweep) {
    ScriptedWorker worker(coordinator.workers.get(), "finisher");
    return worker.WorkUntil([&] { return coordinator.Status(sweep).state() == "finished"; });
  }
  TempFolder folder_;
};

TEST_F(SearchServiceTest, ADryRunCountsTheFirstRunsAndSaysThatMoreFollow) {
  Coordinator coordinator(folder_.Path("a.db"));
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator.Submit(MlsText("dry"), &response, /*dry_run=*/true).ok());
  EXPECT_TRUE(response.searches());
  EXPECT_EQ(response.points(), 6) << "of each architecture two libraries of MAC and one of MLS";
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM points"), 0);
}

TEST_F(SearchServiceTest, ProbesFollowResultsUntilEveryArchitectureIsSettled) {
  Coordinator coordinator(folder_.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(MlsText("s")).ok());
  ASSERT_TRUE(Finish(coordinator, "s"));
  const v1::SweepStatus status = coordinator.Status("s");
  EXPECT_EQ(status.architectures(), 2);
  EXPECT_EQ(status.architectures_settled(), 2);
  EXPECT_GT(status.points(), 6);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM searches WHERE state <> 'searching' AND mls IS NOT NULL"), 2);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM v_capacity WHERE mls IS NOT NULL AND mac IS NOT NULL"), 2);
  // Submitted again it stays finished; extended by another tolerance it goes on and ends again.
  ASSERT_TRUE(coordinator.Submit(MlsText("s")).ok());
  EXPECT_EQ(coordinator.Status("s").state(), "finished");
  EXPECT_EQ(coordinator.Submit(MlsText("s", "{restarts: 4}")).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  ASSERT_TRUE(coordinator.Submit(MlsText("s", "{restarts: 4}"), nullptr, false, /*extend=*/true).ok());
  ASSERT_TRUE(Finish(coordinator, "s"));
  EXPECT_GT(coordinator.Status("s").points(), status.points());
}

TEST_F(SearchServiceTest, RestartedInTheMiddleItEndsWithTheSameAndAsksNothingTwice) {
  const std::string found = "SELECT 1000 * sum(mls) + sum(mac * (cell + 1)) FROM searches";
  const auto answer = [&](Coordinator& coordinator) {
    v1::TableResponse table;
    EXPECT_TRUE(coordinator.Query(found, &table).ok());
    return table.rows(0).values(0).real();
  };
  Coordinator calm(folder_.Path("calm.db"));
  ASSERT_TRUE(calm.Submit(MlsText("s")).ok());
  ASSERT_TRUE(Finish(calm, "s"));
  int restarts = 0;
  for (bool finished = false; !finished && restarts < 200; ++restarts) {
    Coordinator rough(folder_.Path("rough.db"));
    ASSERT_TRUE(rough.Submit(MlsText("s")).ok());
    const int64_t done = rough.Status("s").done();
    ScriptedWorker worker(rough.workers.get(), StrCat("w", restarts), 1 + restarts % 5);
    ASSERT_TRUE(worker.WorkUntil([&] {
      const v1::SweepStatus status = rough.Status("s");
      return status.state() == "finished" || status.done() >= done + 3;
    }));
    finished = rough.Status("s").state() == "finished";
    if (finished) {
      EXPECT_EQ(answer(rough), answer(calm));
      EXPECT_EQ(rough.QueryInt("SELECT COUNT(*) - COUNT(DISTINCT point_key) FROM points"), 0);
      EXPECT_EQ(rough.QueryInt("SELECT COUNT(*) FROM points p WHERE NOT EXISTS "
                               "(SELECT 1 FROM results r WHERE r.point_id = p.point_id)"),
                0);
    }
  }
  EXPECT_GT(restarts, 2);
  EXPECT_LT(restarts, 200);
}

TEST_F(SearchServiceTest, APausedSearchAsksForNothingAndACancelledOneIsOver) {
  Coordinator coordinator(folder_.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(MlsText("s")).ok());
  ASSERT_TRUE(coordinator.engine->ChangeSweep("s", core::SweepVerb::kPause).ok());
  const int64_t points = coordinator.Status("s").points();
  ScriptedWorker worker(coordinator.workers.get(), "w", 8);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(worker.Sync().ok());
    worker.FinishAll();
  }
  EXPECT_EQ(coordinator.Status("s").points(), points);
  EXPECT_EQ(coordinator.Status("s").state(), "paused");
  ASSERT_TRUE(coordinator.engine->ChangeSweep("s", core::SweepVerb::kResume).ok());
  ASSERT_TRUE(worker.WorkUntil([&] { return coordinator.Status("s").done() > 3; }));
  ASSERT_TRUE(coordinator.engine->ChangeSweep("s", core::SweepVerb::kCancel).ok());
  const int64_t cancelled = coordinator.Status("s").points();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(coordinator.Status("s").points(), cancelled);
  EXPECT_EQ(coordinator.Status("s").state(), "cancelled");
}

}  // namespace
}  // namespace capsweep::service
