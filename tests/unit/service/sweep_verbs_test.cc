// The users' verbs over real gRPC: what each answers, and how each refuses.
#include "gmock/gmock.h"
#include "tests/support/coordinator_harness.h"

namespace capsweep::service {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using testing_support::Coordinator;
using testing_support::ScriptedWorker;
using testing_support::SweepText;
using testing_support::TempFolder;

class SweepVerbsTest : public ::testing::Test {
 protected:
  grpc::Status Change(const std::string& sweep, v1::ChangeSweepRequest::Verb verb, v1::ChangeSweepResponse* response) {
    v1::ChangeSweepRequest request;
    request.set_sweep(sweep);
    request.set_verb(verb);
    grpc::ClientContext context;
    return coordinator_.sweeps->ChangeSweep(&context, request, response);
  }

  grpc::Status ChangeWorker(const std::string& worker, v1::ChangeWorkerRequest::Verb verb) {
    v1::ChangeWorkerRequest request;
    request.set_worker(worker);
    request.set_verb(verb);
    v1::ChangeWorkerResponse response;
    grpc::ClientContext context;
    return coordinator_.sweeps->ChangeWorker(&context, request, &response);
  }

  grpc::Status Results(const v1::ListResultsRequest& request, v1::TableResponse* response) {
    grpc::ClientContext context;
    return coordinator_.sweeps->ListResults(&context, request, response);
  }

  grpc::Status Explain(const std::string& subject, std::string* text) {
    v1::ExplainRequest request;
    request.set_subject(subject);
    v1::ExplainResponse response;
    grpc::ClientContext context;
    const grpc::Status status = coordinator_.sweeps->Explain(&context, request, &response);
    *text = response.text();
    return status;
  }

  void Finish(const std::string& sweep, int64_t points) {
    ScriptedWorker worker(coordinator_.workers.get(), "finisher");
    ASSERT_TRUE(worker.WorkUntil([&] { return coordinator_.Status(sweep).done() == points; }));
  }

  TempFolder folder_;
  Coordinator coordinator_{folder_.Path("a.db")};
};

// ---------------------------------------------------------------- submission

TEST_F(SweepVerbsTest, ADryRunCountsAndStoresNothing) {
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator_.Submit(SweepText("dry"), &response, /*dry_run=*/true).ok());
  EXPECT_EQ(response.points(), 12);
  EXPECT_EQ(response.new_points(), 12);
  EXPECT_EQ(response.shapes(), 4);
  EXPECT_GT(response.estimated_core_seconds(), 0);
  EXPECT_EQ(response.estimated_seconds(), 0) << "no device is connected";
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM sweeps"), 0);
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM points"), 0);
}

TEST_F(SweepVerbsTest, ASubmissionReportsWhatTheDryRunForetold) {
  v1::SubmitSweepResponse foretold, response;
  ASSERT_TRUE(coordinator_.Submit(SweepText("real"), &foretold, /*dry_run=*/true).ok());
  ASSERT_TRUE(coordinator_.Submit(SweepText("real"), &response).ok());
  EXPECT_EQ(response.points(), foretold.points());
  EXPECT_EQ(response.new_points(), foretold.new_points());
  EXPECT_EQ(response.shapes(), foretold.shapes());
  EXPECT_NEAR(response.estimated_core_seconds(), foretold.estimated_core_seconds(),
              1e-5 * foretold.estimated_core_seconds());
}

TEST_F(SweepVerbsTest, TheSameSweepAgainChangesNothingAndAnotherTextIsRefused) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("twice")).ok());
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator_.Submit(SweepText("twice"), &response).ok());
  EXPECT_EQ(response.points(), 12);
  EXPECT_EQ(response.new_points(), 0);
  EXPECT_EQ(response.shapes(), 4);
  EXPECT_EQ(coordinator_.Submit(SweepText("twice", 3)).error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(coordinator_.Status("twice").points(), 12);
}

TEST_F(SweepVerbsTest, ExtendingAddsOnlyWhatIsMissing) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("more", 2, 2)).ok());
  Finish("more", 8);
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator_.Submit(SweepText("more", 2, 3), &response, false, /*extend=*/true).ok());
  EXPECT_EQ(response.points(), 12);
  EXPECT_EQ(response.new_points(), 4);
  EXPECT_EQ(response.done_points(), 8);
  EXPECT_EQ(coordinator_.Status("more").pending(), 4);
  EXPECT_EQ(coordinator_.Submit(SweepText("none"), nullptr, false, true).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(coordinator_.Submit(SweepText("none"), nullptr, true, true).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(SweepVerbsTest, PointsSharedByTwoSweepsAreTrainedOnce) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("one", 2)).ok());
  Finish("one", 12);
  v1::SubmitSweepResponse response;
  ASSERT_TRUE(coordinator_.Submit(SweepText("two", 3), &response).ok());
  EXPECT_EQ(response.points(), 18);
  EXPECT_EQ(response.known_points(), 12);
  EXPECT_EQ(response.done_points(), 12);
  EXPECT_EQ(coordinator_.Status("two").done(), 12);
  Finish("two", 18);
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM attempts"), 18);
}

TEST_F(SweepVerbsTest, ABadSweepFileIsRefusedWithLineAndFieldAndNothingIsStored) {
  const grpc::Status status = coordinator_.Submit(
      "sweep: bad\ntask: {mode: label, vocab: 16, seq_len: 8}\n"
      "model: {heads: 0}\ndata: {dataset_size: 50}\ntrain: {steps: 10}\n");
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("test.yaml:3"));
  EXPECT_THAT(status.error_message(), HasSubstr("heads"));
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM sweeps"), 0);
  v1::SubmitSweepRequest request;
  request.set_text(SweepText("p"));
  request.set_priority(1'000'000);
  v1::SubmitSweepResponse response;
  grpc::ClientContext context;
  const grpc::Status priority = coordinator_.sweeps->SubmitSweep(&context, request, &response);
  EXPECT_EQ(priority.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(priority.error_message(), HasSubstr("priority"));
}

TEST_F(SweepVerbsTest, ConcurrentSubmissionsOfSharedPointsAgreeWithTheDatabase) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] { EXPECT_TRUE(coordinator_.Submit(SweepText(StrCat("s", i), 2, 2 + i % 3)).ok()); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(coordinator_.Status(StrCat("s", i)).points(), 4 * (2 + i % 3));
  }
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM points"), 16);
  Finish("s2", 16);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(coordinator_.Status(StrCat("s", i)).state(), "finished");
  }
}

// ---------------------------------------------------------------- changes

TEST_F(SweepVerbsTest, APausedSweepGivesNothingOutUntilItIsResumed) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("p")).ok());
  v1::ChangeSweepResponse response;
  ASSERT_TRUE(Change("p", v1::ChangeSweepRequest::PAUSE, &response).ok());
  EXPECT_EQ(response.state(), "paused");
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM sweeps WHERE state = 'paused'"), 1) << "on disk when answered";
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_TRUE(worker.held.empty());
  ASSERT_TRUE(Change("p", v1::ChangeSweepRequest::RESUME, &response).ok());
  EXPECT_EQ(response.state(), "running");
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_FALSE(worker.held.empty());
}

TEST_F(SweepVerbsTest, ACancelledSweepTakesItsWorkBack) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("c")).ok());
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_FALSE(worker.held.empty());
  v1::ChangeSweepResponse response;
  ASSERT_TRUE(Change("c", v1::ChangeSweepRequest::CANCEL, &response).ok());
  EXPECT_EQ(response.state(), "cancelled");
  EXPECT_EQ(response.points_affected(), 12);
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_TRUE(worker.held.empty());
}

TEST_F(SweepVerbsTest, ChangesOfWhatIsNotThereNameWhatIs) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("there")).ok());
  v1::ChangeSweepResponse response;
  const grpc::Status status = Change("absent", v1::ChangeSweepRequest::PAUSE, &response);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("there are: there"));
  EXPECT_EQ(Change("there", v1::ChangeSweepRequest::VERB_UNSPECIFIED, &response).error_code(),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Change("", v1::ChangeSweepRequest::PAUSE, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ChangeWorker("nobody", v1::ChangeWorkerRequest::DRAIN).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(ChangeWorker("a b", v1::ChangeWorkerRequest::DRAIN).error_code(), StatusCode::INVALID_ARGUMENT);
  v1::ListSweepsRequest list;
  list.set_sweep("absent");
  v1::ListSweepsResponse sweeps;
  grpc::ClientContext context;
  EXPECT_EQ(coordinator_.sweeps->ListSweeps(&context, list, &sweeps).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(SweepVerbsTest, ADrainedWorkerIsToldSoAndListed) {
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_TRUE(ChangeWorker("w1", v1::ChangeWorkerRequest::DRAIN).ok());
  v1::SyncResponse response;
  ASSERT_TRUE(worker.Sync(&response).ok());
  EXPECT_TRUE(response.drain());
  v1::ListWorkersResponse workers;
  grpc::ClientContext context;
  ASSERT_TRUE(coordinator_.sweeps->ListWorkers(&context, {}, &workers).ok());
  ASSERT_EQ(workers.workers_size(), 1);
  EXPECT_EQ(workers.workers(0).worker(), "w1");
  EXPECT_EQ(workers.workers(0).state(), "draining");
  EXPECT_EQ(workers.workers(0).devices(0).device(), "cpu:0");
  EXPECT_EQ(workers.workers(0).devices(0).slots(), 4);
}

// ---------------------------------------------------------------- reads

TEST_F(SweepVerbsTest, ResultsComeInPagesThatTogetherAreEveryRowOnce) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("pages")).ok());
  Finish("pages", 12);
  v1::ListResultsRequest request;
  request.set_sweep("pages");
  request.set_page_size(5);
  std::vector<int64_t> points;
  int pages = 0;
  do {
    v1::TableResponse page;
    ASSERT_TRUE(Results(request, &page).ok());
    EXPECT_LE(page.rows_size(), 5);
    const auto column = std::find(page.columns().begin(), page.columns().end(), "point_id") - page.columns().begin();
    for (const v1::Row& row : page.rows()) {
      points.push_back(row.values(static_cast<int>(column)).integer());
    }
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty() && pages < 10);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(points.size(), 12u);
  EXPECT_TRUE(std::is_sorted(points.begin(), points.end()));
  EXPECT_EQ(std::adjacent_find(points.begin(), points.end()), points.end());

  request.set_page_token("");
  request.set_page_size(0);
  request.set_where("heads = 2 AND seq_len = 8");
  v1::TableResponse some;
  ASSERT_TRUE(Results(request, &some).ok());
  EXPECT_EQ(some.rows_size(), 3);
  EXPECT_EQ(some.next_page_token(), "");
}

TEST_F(SweepVerbsTest, BadResultRequestsAreRefused) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("r")).ok());
  v1::TableResponse response;
  v1::ListResultsRequest request;
  EXPECT_EQ(Results(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  request.set_sweep("absent");
  EXPECT_EQ(Results(request, &response).error_code(), StatusCode::NOT_FOUND);
  request.set_sweep("r");
  request.set_page_token("12x");
  EXPECT_EQ(Results(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  request.set_page_token("");
  request.set_page_size(-1);
  EXPECT_EQ(Results(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  request.set_page_size(0);
  request.set_where("no_such_column = 1");
  EXPECT_EQ(Results(request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(SweepVerbsTest, QueriesThatWouldWriteAttachOrNeverEndAreRefusedAndTheCoordinatorGoesOn) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("q")).ok());
  v1::TableResponse response;
  for (const char* sql : {"INSERT INTO sweeps (name) VALUES ('x')", "DELETE FROM points", "DROP TABLE points",
                          "ATTACH 'other.db' AS other", "PRAGMA journal_mode = DELETE", "PRAGMA user_version = 99",
                          "UPDATE points SET state = 'done'", "VACUUM", "CREATE TABLE t (x)"}) {
    EXPECT_EQ(coordinator_.Query(sql, &response).error_code(), StatusCode::FAILED_PRECONDITION) << sql;
  }
  EXPECT_EQ(coordinator_.Query("SELEKT 1", &response).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(coordinator_.Query("SELECT 1; SELECT 2", &response).error_code(), StatusCode::OK);
  EXPECT_NE(coordinator_.Query("", &response).error_code(), StatusCode::OK);

  v1::QueryRequest endless;
  endless.set_sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n");
  endless.set_max_seconds(0.3);
  grpc::ClientContext context;
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(coordinator_.sweeps->Query(&context, endless, &response).error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(5));
  EXPECT_EQ(coordinator_.QueryInt("SELECT COUNT(*) FROM points"), 12);
}

TEST_F(SweepVerbsTest, AQueryIsCutAtItsRowsAndAtTheReplysSizeAndSaysSo) {
  v1::QueryRequest request;
  request.set_sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000) SELECT x FROM n");
  request.set_max_rows(7);
  v1::TableResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(coordinator_.sweeps->Query(&context, request, &response).ok());
  EXPECT_EQ(response.rows_size(), 7);
  EXPECT_TRUE(response.truncated());

  v1::TableResponse large;
  ASSERT_TRUE(coordinator_
                  .Query("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 500000) "
                         "SELECT x, x * 0.5, 'some text' FROM n",
                         &large)
                  .ok());
  EXPECT_TRUE(large.truncated());
  EXPECT_GT(large.rows_size(), 1000);
  EXPECT_LE(large.ByteSizeLong(), size_t{4} << 20);
}

TEST_F(SweepVerbsTest, ASlowQueryDoesNotDelayWorkers) {
  auto slow = std::thread([&] {
    v1::QueryRequest request;
    request.set_sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n");
    request.set_max_seconds(2);
    v1::TableResponse response;
    grpc::ClientContext context;
    coordinator_.sweeps->Query(&context, request, &response);
  });
  ScriptedWorker worker(coordinator_.workers.get(), "w1");
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(worker.Sync().ok());
  }
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(1800));
  slow.join();
}

TEST_F(SweepVerbsTest, ExplainAnswersForSweepsAndPointsAndNothingElse) {
  ASSERT_TRUE(coordinator_.Submit(SweepText("why", 1, 1)).ok());
  std::string text;
  ASSERT_TRUE(Explain("why", &text).ok());
  EXPECT_FALSE(text.empty());
  v1::TableResponse keys;
  ASSERT_TRUE(coordinator_.Query("SELECT point_key FROM points LIMIT 1", &keys).ok());
  ASSERT_TRUE(Explain(keys.rows(0).values(0).text(), &text).ok());
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(Explain("no such thing", &text).error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Explain("", &text).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(SweepVerbsTest, AFitIsStoredAndReadBack) {
  v1::StoreFitRequest request;
  request.set_sweep("fitted");
  request.set_fit_json(R"({"groups": []})");
  request.set_settings_json("{}");
  v1::StoreFitResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(coordinator_.sweeps->StoreFit(&context, request, &response).ok());
  }
  v1::TableResponse table;
  ASSERT_TRUE(coordinator_.Query(StrCat("SELECT fit_json FROM fits WHERE fit_id = ", response.fit_id()), &table).ok());
  ASSERT_EQ(table.rows_size(), 1);
  EXPECT_EQ(table.rows(0).values(0).text(), request.fit_json());
  request.clear_fit_json();
  grpc::ClientContext context;
  EXPECT_EQ(coordinator_.sweeps->StoreFit(&context, request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(SweepVerbsTest, ServerInfoNamesTheDatabase) {
  v1::GetServerInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(coordinator_.sweeps->GetServerInfo(&context, {}, &info).ok());
  EXPECT_THAT(info.version(), HasSubstr("0."));
  EXPECT_EQ(info.database_id(), coordinator_.engine->database_id());
  EXPECT_THAT(info.database_path(), HasSubstr("a.db"));
  EXPECT_EQ(info.pid(), getpid());
  EXPECT_TRUE(info.store_writable());
  EXPECT_GE(info.uptime_seconds(), 0);
}

}  // namespace
}  // namespace capsweep::service
