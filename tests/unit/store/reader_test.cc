// Views and user SQL: the numbers are right, and nothing but reading is possible.
#include "coordinator/store/reader.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ReaderTest : public ::testing::Test {
 protected:
  ReaderTest() {
    store_.Add(MakeSweep("s"), MakePoints(2, 3));
    EXPECT_TRUE(store_.Write({BusyWorker()}).ok());
    for (int seed = 1; seed <= 3; ++seed) {
      store_.Finish(MakePoint(1, static_cast<uint64_t>(seed)), 10 * seed);  // 10, 20, 30
    }
    store_.Finish(MakePoint(2, 1), 50);
    auto opened = Reader::Open(path_);
    EXPECT_TRUE(opened.ok()) << opened.status();
    reader_ = *std::move(opened);
  }

  absl::StatusCode CodeOf(const std::string& sql) { return reader_->Query(sql).status().code(); }
  double Number(const std::string& sql) {
    const auto table = reader_->Query(sql);
    EXPECT_TRUE(table.ok()) << table.status();
    const Cell& cell = table->rows.at(0).at(0);
    return std::holds_alternative<int64_t>(cell) ? static_cast<double>(std::get<int64_t>(cell))
                                                 : std::get<double>(cell);
  }

  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
  TestStore store_{path_};
  std::unique_ptr<Reader> reader_;
};

TEST_F(ReaderTest, ResultsHaveEveryFieldOfTheSweepFileAndEveryMeasure) {
  const auto table = reader_->Results("s");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->rows, SizeIs(4));
  PointSpec point;
  VisitFields(point, [&](std::string_view name, auto&) {
    const std::string column = name == "epochs"  ? "budget_epochs"
                               : name == "steps" ? "budget_steps"
                                                 : std::string(name);
    EXPECT_THAT(table->columns, Contains(column));
  });
  PointResult result;
  VisitResultFields(result,
                    [&](std::string_view name, auto&) { EXPECT_THAT(table->columns, Contains(std::string(name))); });
  for (const char* name : {"sweep", "seed", "point_id", "worker", "host", "device", "accepted_at", "pinned_backend"}) {
    EXPECT_THAT(table->columns, Contains(name));
  }
}

TEST_F(ReaderTest, ResultsAreFilteredPagedAndLimited) {
  EXPECT_THAT(reader_->Results("s", "heads = 2 OR seed IN (3)")->rows, SizeIs(2));
  EXPECT_THAT(reader_->Results("s", "", 1)->rows, SizeIs(3));
  QueryLimits two;
  two.max_rows = 2;
  const auto page = reader_->Results("s", "", 0, two);
  EXPECT_THAT(page->rows, SizeIs(2));
  EXPECT_TRUE(page->truncated);
  const auto missing = reader_->Results("t");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("the sweeps there are: s"));
}

TEST_F(ReaderTest, WhereCannotLeaveItsParentheses) {
  for (const char* where : {"1) OR (1", "1 = 1) UNION SELECT * FROM v_results WHERE (1", "1; DELETE FROM results",
                            "1 -- x", "1 /* x", "heads = ?", "heads = 'x", "heads = :a", "((1)", "1 ORDER BY heads",
                            "1 UNION SELECT 1", "heads, width", "", " ", "nonsense = 1"}) {
    const auto table = reader_->Results("s", std::string("") + where);
    if (std::string_view(where).empty()) {
      EXPECT_TRUE(table.ok());
      continue;
    }
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << where << ": " << table.status();
  }
  EXPECT_TRUE(reader_->Results("s", "backend = 'a;b--)(' OR \"heads\" = 1").ok());
}

TEST_F(ReaderTest, CellsGiveMeanSdAndCountAndNoSdForOneRepeat) {
  EXPECT_DOUBLE_EQ(Number("SELECT items_mem_mean FROM v_cells WHERE heads = 1"), 20);
  EXPECT_DOUBLE_EQ(Number("SELECT items_mem_sd FROM v_cells WHERE heads = 1"), 10);
  EXPECT_DOUBLE_EQ(Number("SELECT n FROM v_cells WHERE heads = 1"), 3);
  EXPECT_DOUBLE_EQ(Number("SELECT items_mem_sd IS NULL FROM v_cells WHERE heads = 2"), 1);
  EXPECT_THAT(reader_->Cells("s")->rows, SizeIs(2));
}

TEST_F(ReaderTest, CapacityIsTheLargestMeanOverLibrarySizes) {
  std::vector<PointSpec> larger = {MakePoint(1, 1, 200), MakePoint(1, 2, 200), MakePoint(1, 1, 400)};
  store_.Add(MakeSweep("larger"), larger);
  store_.Add(MakeSweep("s", "more"), larger, true);
  store_.Finish(larger[0], 40);
  store_.Finish(larger[1], 60);
  store_.Finish(larger[2], 30);
  EXPECT_DOUBLE_EQ(Number("SELECT capacity FROM v_capacity WHERE sweep = 's' AND heads = 1"), 49.5);
  EXPECT_DOUBLE_EQ(Number("SELECT dataset_size FROM v_capacity WHERE sweep = 's' AND heads = 1"), 200);
  EXPECT_DOUBLE_EQ(Number("SELECT n FROM v_capacity WHERE sweep = 's' AND heads = 1"), 2);
  EXPECT_DOUBLE_EQ(Number("SELECT cells FROM v_capacity WHERE sweep = 's' AND heads = 1"), 3);
}

TEST_F(ReaderTest, ProgressCountsStatesWithoutACoordinator) {
  ASSERT_TRUE(store_.Write({Started(5, 1)}).ok());
  store_.Close();
  const auto progress = reader_->Progress("s");
  ASSERT_TRUE(progress.ok()) << progress.status();
  const SweepProgress& p = progress->at(0);
  EXPECT_EQ(p.points, 6);
  EXPECT_EQ(p.done, 4);
  EXPECT_EQ(p.running, 1);
  EXPECT_EQ(p.pending, 1);
  EXPECT_GT(p.rate_per_second, 0);
  EXPECT_GT(p.eta_seconds, 0);
  EXPECT_EQ(reader_->Progress("t").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ReaderTest, WorkersShowDevicesWithWhatTheyDid) {
  EXPECT_DOUBLE_EQ(Number("SELECT points_done FROM v_workers"), 4);
  EXPECT_DOUBLE_EQ(Number("SELECT json_extract(devices_json, '$[0].points_done') FROM v_workers"), 4);
  EXPECT_THAT(reader_->Workers()->rows, SizeIs(1));
}

TEST_F(ReaderTest, StatementsThatWriteOrReachOutAreDenied) {
  for (const char* sql : {"INSERT INTO events VALUES (1, 1, '', '', '')",
                          "UPDATE points SET state = 'done'",
                          "DELETE FROM results",
                          "DROP TABLE results",
                          "CREATE TABLE t (a)",
                          "CREATE TEMP TABLE t (a)",
                          "ATTACH '/tmp/x.db' AS x",
                          "DETACH main",
                          "PRAGMA journal_mode = DELETE",
                          "PRAGMA user_version = 5",
                          "PRAGMA query_only = OFF",
                          "PRAGMA writable_schema = ON",
                          "VACUUM",
                          "VACUUM INTO '/tmp/x.db'",
                          "REINDEX",
                          "ANALYZE",
                          "BEGIN",
                          "COMMIT",
                          "SAVEPOINT a",
                          "SELECT load_extension('x')",
                          "ALTER TABLE points ADD COLUMN a",
                          "WITH a AS (SELECT 1) INSERT INTO events SELECT 1, 1, '', '', ''"}) {
    EXPECT_EQ(CodeOf(sql), absl::StatusCode::kPermissionDenied) << sql;
  }
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM results"), "4");
}

TEST_F(ReaderTest, BadSqlIsInvalidAndOnlyOneStatementRuns) {
  for (const char* sql : {"", "  -- nothing\n", "SELEC 1", "SELECT nothing FROM nowhere", "SELECT 1; SELECT 2",
                          "SELECT 1; DELETE FROM results"}) {
    EXPECT_EQ(CodeOf(sql), absl::StatusCode::kInvalidArgument) << sql;
  }
  EXPECT_EQ(CodeOf(std::string("SELECT 1\0; x", 11)), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(reader_->Query("SELECT 1; -- done\n /* yes */ ;").ok());
  EXPECT_TRUE(reader_->Query("EXPLAIN QUERY PLAN SELECT * FROM v_results").ok());
  EXPECT_TRUE(reader_->Query("PRAGMA table_info(points)").ok());
}

TEST_F(ReaderTest, EndlessRecursionIsStoppedByEachLimit) {
  const std::string endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) ";
  QueryLimits limits;
  limits.max_time = std::chrono::milliseconds(100);
  EXPECT_EQ(reader_->Query(endless + "SELECT COUNT(*) FROM n", limits).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  limits = {};
  limits.max_rows = 10;
  const auto rows = reader_->Query(endless + "SELECT i FROM n", limits);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(rows->rows, SizeIs(10));
  EXPECT_TRUE(rows->truncated);
  limits = {};
  limits.max_bytes = 100'000;
  const auto bytes = reader_->Query(endless + "SELECT zeroblob(1000) FROM n", limits);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LT(bytes->rows.size(), 100u);
  EXPECT_TRUE(bytes->truncated);
  EXPECT_TRUE(reader_->Query("SELECT 1").ok());
}

TEST_F(ReaderTest, ValuesKeepTheirTypes) {
  const auto table = reader_->Query("SELECT 1, 2.5, 'a', NULL, x'00ff'");
  ASSERT_TRUE(table.ok()) << table.status();
  const auto& row = table->rows.at(0);
  EXPECT_EQ(row[0], Cell(int64_t{1}));
  EXPECT_EQ(row[1], Cell(2.5));
  EXPECT_EQ(row[2], Cell(std::string("a")));
  EXPECT_EQ(row[3], Cell(std::monostate()));
  EXPECT_EQ(row[4], Cell(std::string("00ff")));
}

TEST_F(ReaderTest, EveryQueryOfTheDocumentationRuns) {
  std::ifstream file(std::string(CAPSWEEP_SOURCE_DIR) + "/docs/examples/queries.sql");
  ASSERT_TRUE(file.is_open());
  std::string query;
  int count = 0;
  while (std::getline(file, query, ';')) {
    if (query.find("SELECT") == std::string::npos) {
      continue;
    }
    const auto table = reader_->Query(query);
    EXPECT_TRUE(table.ok()) << query << "\n" << table.status();
    ++count;
  }
  EXPECT_EQ(count, 5);
}

TEST_F(ReaderTest, ReaderSeesWhatTheStoreCommitsBesideIt) {
  store_.Finish(MakePoint(2, 2), 60);
  EXPECT_DOUBLE_EQ(Number("SELECT COUNT(*) FROM v_results"), 5);
}

}  // namespace
}  // namespace capsweep::store
