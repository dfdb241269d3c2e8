// An adaptive sweep over real gRPC and a real database: rounds follow fits of what was measured, also across restarts.
#include "gmock/gmock.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using ::testing::HasSubstr;
using testing_support::Coordinator;
using testing_support::ScriptedWorker;
using testing_support::TempFolder;

// 36 cells of 2 repeats.
std::string AdaptiveText(const std::string& search) {
  return StrCat(
      "sweep: s\ntask: {vocab: 16, seq_len: [4, 8, 16]}\nmodel: {heads: [1, 2, 3], width: [8, 12, 16, 24]}\n"
      "data: {dataset_size: 400}\ntrain: {steps: 200}\nrepeats: 2\nmeasure: adaptive\n"
      "search: {target: {heads: 4, width: 24, seq_len: 16}, ",
      search, "}\n");
}
constexpr char kSearch[] = "budget_points: 34, start: 14, round: 4";

class AdaptiveServiceTest : public ::testing::Test {
 protected:
  static bool Finish(Coordinator& coordinator) {
    ScriptedWorker worker(coordinator.workers.get(), "finisher");
    return worker.WorkUntil([&] { return coordinator.Status("s").state() == "finished"; }, std::chrono::seconds(120));
  }
  static std::string Text(Coordinator& coordinator, const std::string& sql) {
    v1::TableResponse table;
    const grpc::Status status = coordinator.Query(sql, &table);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return table.rows_size() == 1 ? table.rows(0).values(0).text() : "";
  }
  // What was trained and what was found.
  static std::string Answer(Coordinator& coordinator) {
    return Text(coordinator, "SELECT group_concat(point_key) FROM (SELECT point_key FROM points ORDER BY 1)") +
           Text(coordinator,
                "SELECT printf('%s %d %d %.9g %.9g %.9g', reason, rounds, probes, predicted, low, high) "
                "FROM v_searches");
  }
  TempFolder folder_;
};

TEST_F(AdaptiveServiceTest, ADryRunCountsTheStartAndAWrongOneIsRefused) {
  Coordinator coordinator(folder_.Path("a.db"));
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator.Submit(AdaptiveText(kSearch), &response, /*dry_run=*/true).ok());
  EXPECT_TRUE(response.searches());
  EXPECT_EQ(response.points(), 14);
  const grpc::Status wrong = coordinator.Submit(AdaptiveText("budget_points: 13"));
  EXPECT_EQ(wrong.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(wrong.error_message(), HasSubstr("test.yaml:8: search.budget_points: 13 points leave nothing to choose"));
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM points"), 0);
}

TEST_F(AdaptiveServiceTest, RoundsFollowResultsUntilTheBudgetIsUsed) {
  Coordinator coordinator(folder_.Path("a.db"));
  ASSERT_TRUE(coordinator.Submit(AdaptiveText(kSearch)).ok());
  EXPECT_EQ(coordinator.Status("s").points(), 14);
  ASSERT_TRUE(Finish(coordinator));
  const v1::SweepStatus status = coordinator.Status("s");
  EXPECT_EQ(status.points(), 34);
  EXPECT_EQ(status.architectures(), 1);
  EXPECT_EQ(status.architectures_settled(), 1);
  EXPECT_EQ(coordinator.QueryInt("SELECT COUNT(*) FROM v_searches WHERE state = 'settled' AND reason = 'budget used' "
                                 "AND target = 'heads 4, width 24, seq_len 16' AND rounds = 6 AND probes = 34 AND "
                                 "seconds = 17 AND low < predicted AND predicted < high"),
            1);
  // More budget: what is measured stays the beginning of it.
  ASSERT_TRUE(coordinator
                  .Submit(AdaptiveText("budget_points: 42, start: 14, round: 4"), nullptr, /*dry_run=*/false,
                          /*extend=*/true)
                  .ok());
  ASSERT_TRUE(Finish(coordinator));
  EXPECT_EQ(coordinator.Status("s").points(), 42);
}

TEST_F(AdaptiveServiceTest, RestartedInTheMiddleItAsksForTheSamePoints) {
  Coordinator calm(folder_.Path("calm.db"));
  ASSERT_TRUE(calm.Submit(AdaptiveText(kSearch)).ok());
  ASSERT_TRUE(Finish(calm));
  int restarts = 0;
  for (bool finished = false; !finished && restarts < 100; ++restarts) {
    Coordinator rough(folder_.Path("rough.db"));
    ASSERT_TRUE(rough.Submit(AdaptiveText(kSearch)).ok());
    const int64_t done = rough.Status("s").done();
    ScriptedWorker worker(rough.workers.get(), StrCat("w", restarts), 1 + restarts % 5);
    ASSERT_TRUE(worker.WorkUntil(
        [&] {
          const v1::SweepStatus status = rough.Status("s");
          return status.state() == "finished" || status.done() >= done + 5;
        },
        std::chrono::seconds(120)));
    finished = rough.Status("s").state() == "finished";
    if (finished) {
      EXPECT_EQ(Answer(rough), Answer(calm));
      EXPECT_EQ(rough.QueryInt("SELECT COUNT(*) FROM results"), 34);
    }
  }
  EXPECT_GT(restarts, 3);
  EXPECT_LT(restarts, 100);
}

TEST_F(AdaptiveServiceTest, ADesignOfSoftminIsPredictedToo) {
  Coordinator coordinator(folder_.Path("a.db"));
  std::string text = AdaptiveText("budget_seconds: 12, start: 14, form: softmin");
  text.replace(text.find("target: {heads: 4, width: 24, seq_len: 16}"), 42, "design: {items: 60, seq_len: 16}");
  ASSERT_TRUE(coordinator.Submit(text).ok());
  ASSERT_TRUE(Finish(coordinator));
  // Half a second each: 24 points.
  EXPECT_EQ(coordinator.Status("s").points(), 24);
  EXPECT_THAT(Text(coordinator, "SELECT target FROM v_searches"),
              HasSubstr("the smallest model for 60 items of seq_len 16"));
}

}  // namespace
}  // namespace capsweep::service
