#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cli/app.h"
#include "cli/local_worker.h"
#include "cli/source.h"
#include "common/text.h"
#include "coordinator/store/store.h"
#include "tests/support/call_cli.h"

namespace capsweep::cli {
namespace {

using ::testing::HasSubstr;

// A folder of its own as the current one, with the variables that choose a database unset.
class ArgumentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = StrCat(::testing::TempDir(), "/cli_arguments_", getpid(), "_",
                     ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(folder_);
    unsetenv("CAPSWEEP_DB");
    unsetenv("CAPSWEEP_COORDINATOR");
  }
  void TearDown() override {
    unsetenv("CAPSWEEP_DB");
    unsetenv("CAPSWEEP_COORDINATOR");
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }

  static void MakeDatabase(const std::string& path) {
    const auto store = store::Store::Open(path, {});
    ASSERT_TRUE(store.ok()) << store.status().message();
  }

  std::string folder_;
  std::filesystem::path before_;
};

TEST_F(ArgumentsTest, EveryVerbExplainsItselfWithAnExample) {
  for (const char* verb :
       {"run",   "submit", "extend", "retry",   "pause", "resume", "cancel",  "status", "workers", "explain", "results",
        "query", "fit",    "design", "suggest", "plot",  "report", "analyze", "backup", "doctor",  "version"}) {
    const Answer answer = Call({verb, "--help"});
    EXPECT_EQ(answer.code, 0) << verb;
    EXPECT_THAT(answer.out, HasSubstr("Example:")) << verb;
    EXPECT_EQ(answer.err, "") << verb;
  }
  EXPECT_THAT(Call({"workers", "drain", "--help"}).out, HasSubstr("Example:"));
  EXPECT_THAT(Call({"--help"}).out, HasSubstr("Exit codes:"));
}

TEST_F(ArgumentsTest, WrongUsageIsTwoAndOneSentence) {
  const std::vector<std::vector<std::string>> wrong = {{},
                                                       {"no-such-verb"},
                                                       {"run"},
                                                       {"results"},
                                                       {"status", "a", "b"},
                                                       {"query"},
                                                       {"results", "s", "--format", "xml"},
                                                       {"fit", "--starts", "3", "s"},
                                                       {"workers", "drain"},
                                                       {"run", "x", "--dbb", "y"}};
  for (const auto& arguments : wrong) {
    const Answer answer = Call(arguments);
    EXPECT_EQ(answer.code, 2) << StrJoin(arguments, " ");
    EXPECT_THAT(answer.err, HasSubstr("--help")) << StrJoin(arguments, " ");
    EXPECT_EQ(std::count(answer.err.begin(), answer.err.end(), '\n'), 1) << answer.err;
    EXPECT_EQ(answer.out, "");
  }
}

TEST_F(ArgumentsTest, VersionNamesTheProgram) {
  EXPECT_THAT(Call({"version"}).out, ::testing::StartsWith("capsweep "));
  EXPECT_THAT(Call({"--version"}).out, ::testing::StartsWith("capsweep "));
}

TEST_F(ArgumentsTest, ReadingWithoutDatabaseOrCoordinatorSaysWhatToPass) {
  const Answer answer = Call({"status"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("--db FILE"));
  EXPECT_THAT(answer.err, HasSubstr("--coordinator HOST:PORT"));
}

TEST_F(ArgumentsTest, DatabaseAndCoordinatorTogetherAreRefused) {
  EXPECT_EQ(Call({"status", "--db", "a.db", "--coordinator", "127.0.0.1:1"}).code, 2);
  setenv("CAPSWEEP_DB", "a.db", 1);
  setenv("CAPSWEEP_COORDINATOR", "127.0.0.1:1", 1);
  EXPECT_EQ(Call({"status"}).code, 2);
}

TEST_F(ArgumentsTest, TheOnlyDatabaseOfTheFolderIsUsedAndTwoAreAskedAbout) {
  MakeDatabase("one.db");
  std::ofstream("notes.db") << "not a database at all\n";
  EXPECT_EQ(Call({"status"}).code, 0);
  MakeDatabase("two.db");
  const Answer answer = Call({"status"});
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("one.db, two.db"));
  setenv("CAPSWEEP_DB", "two.db", 1);
  EXPECT_EQ(Call({"status"}).code, 0);
}

TEST_F(ArgumentsTest, BadDatabasesAreTwoAndNamed) {
  std::ofstream("text.db") << "just text, long enough to be looked at as a header of a database file, says the test\n";
  for (const char* path : {"text.db", "missing.db"}) {
    const Answer answer = Call({"status", "--db", path});
    EXPECT_EQ(answer.code, 2) << answer.err;
    EXPECT_THAT(answer.err, HasSubstr(path));
  }
  EXPECT_FALSE(std::filesystem::exists("missing.db"));
}

TEST_F(ArgumentsTest, NoCoordinatorIsThreeQuicklyAndNamesTheAddress) {
  const auto start = std::chrono::steady_clock::now();
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"status", "--coordinator", "127.0.0.1:9"},
                                             {"pause", "s", "--coordinator", "127.0.0.1:9"},
                                             {"explain", "s", "--coordinator", "127.0.0.1:9"},
                                             {"workers", "drain", "w", "--coordinator", "127.0.0.1:9"}}) {
    const Answer answer = Call(arguments);
    EXPECT_EQ(answer.code, 3) << answer.err;
    EXPECT_THAT(answer.err, HasSubstr("127.0.0.1:9"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(12));
}

TEST_F(ArgumentsTest, AddressesThatAreNoneAreTwo) {
  for (const char* address : {"nowhere", "127.0.0.1:", ":7171", "127.0.0.1:99999", "a b:1"}) {
    EXPECT_EQ(Call({"status", "--coordinator", address}).code, 2) << address;
  }
}

TEST_F(ArgumentsTest, UnknownSweepIsTwoAndNamed) {
  MakeDatabase("one.db");
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"status", "nope"},
                                             {"results", "nope"},
                                             {"results", "nope", "--cells"},
                                             {"fit", "nope"},
                                             {"plot", "nope", "--out", "a.svg"},
                                             {"report", "nope", "--out", "a.html"},
                                             {"analyze", "nope", "--of", "bits"},
                                             {"design", "nope", "--target", "5", "--seq-len", "8"},
                                             {"suggest", "nope", "--target", "design:items=5,seq_len=8"}}) {
    const Answer answer = Call(arguments);
    EXPECT_EQ(answer.code, 2) << StrJoin(arguments, " ") << ": " << answer.err;
    EXPECT_THAT(answer.err, HasSubstr("nope"));
  }
}

TEST_F(ArgumentsTest, QueriesThatWriteOrAreNoSqlAreTwo) {
  MakeDatabase("one.db");
  for (const char* sql :
       {"INSERT INTO events (at_ms, kind, subject, message) VALUES (1, 'a', 'b', 'c')", "ATTACH 'other.db' AS other",
        "PRAGMA journal_mode = DELETE", "SELEC 1", "SELECT 1; SELECT 2"}) {
    const Answer answer = Call({"query", sql});
    EXPECT_EQ(answer.code, 2) << sql << ": " << answer.err;
    EXPECT_EQ(answer.out, "");
  }
  EXPECT_FALSE(std::filesystem::exists("other.db"));
}

TEST_F(ArgumentsTest, EndlessQueryStopsAtItsLimits) {
  MakeDatabase("one.db");
  const std::string endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT ";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(Call({"query", endless + "max(i) FROM n", "--timeout", "0.3"}).code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  const Answer cut = Call({"query", endless + "i FROM n", "--max-rows", "10", "--format", "csv"});
  EXPECT_EQ(cut.code, 0) << cut.err;
  EXPECT_EQ(std::count(cut.out.begin(), cut.out.end(), '\n'), 11);
  EXPECT_THAT(cut.err, HasSubstr("--max-rows"));
}

TEST_F(ArgumentsTest, BadFitAndPlotOptionsAreTwo) {
  MakeDatabase("one.db");
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"fit"},
                                             {"fit", "s", "--csv", "a.csv"},
                                             {"fit", "s", "--holdout", "colour=3"},
                                             {"fit", "s", "--holdout", "heads=x"},
                                             {"fit", "--csv", "missing.csv"},
                                             {"plot", "s", "--out", "a.pdf"},
                                             {"design", "--target", "5", "--seq-len", "8"},
                                             {"design", "s", "--target", "-5", "--seq-len", "8"},
                                             {"suggest", "s", "--target", "heads=5"},
                                             {"suggest", "s"},
                                             {"design", "--fit", "1", "--target", "5", "--seq-len", "8"},
                                             {"design", "s", "--target", "5", "--seq-len", "8", "--head-dim", "x"}}) {
    const Answer answer = Call(arguments);
    EXPECT_EQ(answer.code, 2) << StrJoin(arguments, " ") << ": " << answer.err;
  }
}

TEST_F(ArgumentsTest, RunWithABadFileOrOptionCreatesNothing) {
  std::ofstream("good.yaml") << "sweep: good\n"
                                "task: {mode: label, vocab: 16, seq_len: 4}\n"
                                "model: {family: xt, heads: 1, width: 8}\n"
                                "data: {dataset_size: 20}\n"
                                "train: {steps: 10}\n";
  std::ofstream("bad.yaml") << "sweep: bad\nmodel: {heads: 0}\n";
  for (const auto& arguments : std::vector<std::vector<std::string>>{{"run", "bad.yaml"},
                                                                     {"run", "missing.yaml"},
                                                                     {"run", "good.yaml", "--devices", "cpu:0"},
                                                                     {"run", "good.yaml", "--devices", "tpu"},
                                                                     {"run", "good.yaml", "--plot", "a.pdf"}}) {
    const Answer answer = Call(arguments);
    EXPECT_EQ(answer.code, 2) << StrJoin(arguments, " ") << ": " << answer.err;
  }
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(".")) {
    ++files;
  }
  EXPECT_EQ(files, 2U);
}

TEST(DevicesTest, WordsOfTheWorkerAreAcceptedAndOthersRefused) {
  for (const char* good : {"auto", "all", "cpu", "cpu:1", "cpu:64", "cuda:0", "cuda:0,1,7"}) {
    EXPECT_TRUE(ValidateDevices(good).ok()) << good;
  }
  for (const char* bad : {"", "cpu:", "cpu:0", "cpu:-1", "cpu:x", "cuda:", "cuda:0,", "cuda:,1", "gpu", "cpu:1;rm"}) {
    EXPECT_EQ(ValidateDevices(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SqlTest, LiteralsCannotEndEarly) {
  EXPECT_EQ(SqlLiteral("a'; DROP TABLE x; --"), "'a''; DROP TABLE x; --'");
}

}  // namespace
}  // namespace capsweep::cli
