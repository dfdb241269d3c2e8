#include "worker/agent/spool.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::unique_ptr<Spool> Open(const std::string& folder) {
  auto spool = Spool::Open(folder, Duration::zero());
  EXPECT_TRUE(spool.ok()) << spool.status();
  return spool.ok() ? std::move(*spool) : nullptr;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (entry.is_regular_file() && entry.path().extension() == ".report") names.push_back(entry.path().string());
  }
  return names;
}

std::vector<std::string> Loaded(Spool& spool, const std::string& database) {
  std::vector<std::string> ids;
  for (const Report& report : spool.Load(database)) ids.push_back(ToText(report.id));
  return ids;
}

TEST(SpoolTest, ReportsSurviveRestartAndAreKeptApartByDatabase) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->Add(ResultReport(1, 1, "db1")).ok());
    ASSERT_TRUE(spool->Add(ResultReport(2, 3, "db1")).ok());
    ASSERT_TRUE(spool->Add(ResultReport(1, 1, "db2")).ok());
  }
  auto spool = Open(folder.path());
  EXPECT_THAT(spool->Databases(), UnorderedElementsAre("db1", "db2"));
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("1/1", "2/3"));
  EXPECT_THAT(Loaded(*spool, "db2"), UnorderedElementsAre("1/1"));
  EXPECT_THAT(Loaded(*spool, "db3"), ::testing::IsEmpty());
}

TEST(SpoolTest, RemovedReportIsGoneAfterRestart) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->Add(ResultReport(1, 1)).ok());
    ASSERT_TRUE(spool->Add(ResultReport(2, 1)).ok());
    spool->Remove("db1", Id(1, 1));
    spool->Remove("db1", Id(99, 1));
  }
  auto spool = Open(folder.path());
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("2/1"));
}

TEST(SpoolTest, CorruptFilesAreMovedAsideAndTheRestIsKept) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    for (int64_t point : {1, 2, 3}) ASSERT_TRUE(spool->Add(ResultReport(point, 1)).ok());
  }
  std::vector<std::string> files = FilesIn(folder.path());
  ASSERT_EQ(files.size(), 3u);
  std::sort(files.begin(), files.end());
  std::filesystem::resize_file(files[0], 40);                                // a cut file
  std::fstream(files[1], std::ios::in | std::ios::out).seekp(200).put('#');  // a flipped byte
  std::ofstream(folder.path() + "/x.report") << "";                          // an empty one
  auto spool = Open(folder.path());
  EXPECT_EQ(Loaded(*spool, "db1").size(), 1u);
  EXPECT_EQ(FilesIn(folder.path() + "/corrupt").size(), 3u);
}

TEST(SpoolTest, StartsRiseEvenWhereTheClockIsSetBackOrTheMemoryIsDamaged) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    EXPECT_EQ(spool->NextStart(5000), 5000);
    EXPECT_EQ(spool->NextStart(5000), 5001);
  }
  auto again = Open(folder.path());
  EXPECT_EQ(again->NextStart(100), 5002);
  EXPECT_EQ(again->NextStart(9000), 9000);
  std::ofstream(folder.path() + "/last-start") << "?";
  EXPECT_EQ(again->NextStart(7), 7);
}

TEST(SpoolTest, TemporaryFilesOfACrashAreCleanedUp) {
  TempFolder folder;
  std::ofstream(folder.path() + "/db1-1-1.report.99.abc.tmp") << "half";
  auto spool = Open(folder.path());
  EXPECT_EQ(spool->size(), 0u);
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/db1-1-1.report.99.abc.tmp"));
}

TEST(SpoolTest, SecondAgentOnTheSameFolderIsRefusedWithTheWayOut) {
  TempFolder folder;
  auto first = Open(folder.path());
  auto second = Spool::Open(folder.path(), std::chrono::milliseconds(60));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(folder.path()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--spool"));
  first.reset();
  EXPECT_TRUE(Spool::Open(folder.path(), Duration::zero()).ok());
}

TEST(SpoolTest, DatabaseIdFromTheNetworkCannotLeaveTheFolder) {
  TempFolder folder;
  auto spool = Open(folder.path() + "/inner");
  ASSERT_TRUE(spool->Add(ResultReport(1, 1, "../../evil")).ok());
  EXPECT_EQ(FilesIn(folder.path() + "/inner").size(), 1u);
  EXPECT_THAT(Loaded(*spool, "../../evil"), UnorderedElementsAre("1/1"));
}

TEST(SpoolTest, RefusedReportIsSetAsideForPeople) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->Add(ResultReport(1, 1)).ok());
    spool->SetAside(ResultReport(1, 1));
    spool->SetAside(ResultReport(2, 1));  // was never on disk
    EXPECT_EQ(spool->size(), 0u);
  }
  EXPECT_EQ(FilesIn(folder.path() + "/refused").size(), 2u);
  EXPECT_EQ(Open(folder.path())->size(), 0u);
}

TEST(SpoolTest, FailedWriteIsAnErrorAndLeavesNothing) {
  TempFolder folder;
  auto spool = Open(folder.path() + "/inner");
  std::filesystem::rename(folder.path() + "/inner", folder.path() + "/away");
  EXPECT_FALSE(spool->Add(ResultReport(1, 1)).ok());
  EXPECT_EQ(spool->size(), 0u);
  std::filesystem::rename(folder.path() + "/away", folder.path() + "/inner");
  EXPECT_TRUE(spool->Add(ResultReport(1, 1)).ok());
  EXPECT_EQ(spool->size(), 1u);
}

std::vector<std::shared_ptr<const Report>> Group(int64_t first, int64_t last) {
  std::vector<std::shared_ptr<const Report>> reports;
  for (int64_t point = first; point <= last; ++point) {
    reports.push_back(std::make_shared<const Report>(ResultReport(point, 1)));
  }
  return reports;
}

TEST(SpoolGroupTest, ReportsThatComeTogetherShareAFileUntilTheLastIsAcknowledged) {
  TempFolder folder;
  {
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->AddGroup(Group(1, 3)).ok());
    EXPECT_EQ(FilesIn(folder.path()).size(), 1u);
    EXPECT_EQ(spool->size(), 3u);
    spool->Remove("db1", Id(2, 1));
    EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("1/1", "3/1"));
  }
  auto spool = Open(folder.path());
  // What was acknowledged may come back after a restart while others of its file are owed.
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("1/1", "2/1", "3/1"));
  for (int64_t point : {3, 1, 2}) spool->Remove("db1", Id(point, 1));
  EXPECT_TRUE(FilesIn(folder.path()).empty());
}

TEST(SpoolGroupTest, ReportAddedAgainLeavesTheOthersOfItsFileAlone) {
  TempFolder folder;
  auto spool = Open(folder.path());
  ASSERT_TRUE(spool->AddGroup(Group(1, 3)).ok());
  ASSERT_TRUE(spool->Add(ResultReport(1, 1)).ok());
  EXPECT_EQ(FilesIn(folder.path()).size(), 2u);
  spool->Remove("db1", Id(1, 1));
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("2/1", "3/1"));
  spool->SetAside(ResultReport(2, 1));
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("3/1"));
  ASSERT_TRUE(spool->AddGroup(Group(3, 4)).ok());
  EXPECT_EQ(FilesIn(folder.path()).size(), 1u);
  EXPECT_THAT(Loaded(*Open(folder.path() + "/refused"), "db1"), UnorderedElementsAre("2/1"));
}

TEST(SpoolGroupTest, DamagedReportDoesNotTakeItsNeighboursWithIt) {
  for (const bool while_it_runs : {false, true}) {
    TempFolder folder;
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->AddGroup(Group(1, 3)).ok());
    const std::string file = FilesIn(folder.path()).at(0);
    const std::string text = *ReadFile(file);
    std::fstream(file, std::ios::in | std::ios::out)
        .seekp(static_cast<std::streamoff>(text.find("\ncapsweep-report ", 100) + 200))
        .put('#');
    if (!while_it_runs) {
      spool.reset();
      spool = Open(folder.path());
      EXPECT_EQ(spool->size(), 2u);
    }
    EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("1/1", "3/1"));
    EXPECT_EQ(spool->size(), 2u);
    EXPECT_EQ(FilesIn(folder.path() + "/corrupt").size(), 1u);
    spool.reset();
    EXPECT_THAT(Loaded(*Open(folder.path()), "db1"), UnorderedElementsAre("1/1", "3/1"));
  }
}

// How long a file of this process may grow. A write beyond it ends half way: with an error, or by the signal.
void LimitFiles(rlim_t bytes, bool kill) {
  const rlimit limit{bytes, RLIM_INFINITY};
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, kill ? SIG_DFL : SIG_IGN);
}

// Runs `work` in a child process, which exits with 0 if it returns true; its status as waitpid has it.
int InChild(const std::function<bool()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(SpoolGroupTest, KilledBetweenWriteAndSyncKeepsAllThatWasDurableAndNoHalf) {
  TempFolder folder;
  const int status = InChild([&] {
    auto spool = Open(folder.path());
    if (!spool->AddGroup(Group(1, 3)).ok()) return false;
    LimitFiles(3000, true);
    (void)spool->AddGroup(Group(4, 50));
    return false;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ) << status;
  auto spool = Open(folder.path());
  EXPECT_THAT(Loaded(*spool, "db1"), UnorderedElementsAre("1/1", "2/1", "3/1"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_NE(entry.path().extension(), ".tmp");
  }
}

TEST(SpoolGroupTest, NoSpaceKeepsNoneOfTheGroupAndTheNextTryTakesAll) {
  TempFolder folder;
  const int status = InChild([&] {
    auto spool = Open(folder.path());
    LimitFiles(3000, false);
    if (spool->AddGroup(Group(1, 50)).ok() || spool->size() != 0 || !FilesIn(folder.path()).empty()) return false;
    LimitFiles(RLIM_INFINITY, false);
    return spool->AddGroup(Group(1, 50)).ok() && spool->size() == 50;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Loaded(*Open(folder.path()), "db1").size(), 50u);
}

// Places fail as the environment said when the process began, so this test runs itself once more.
TEST(SpoolGroupTest, FailedSyncKeepsNoneOfTheGroupAndTheNextTryTakesAll) {
  const char* const mark = getenv("SPOOL_TEST_RAN");
  if (mark == nullptr) {
    const TempFolder marks;
    const std::string ran = marks.path() + "/ran";
    const int status = InChild([&] {
      setenv("CAPSWEEP_FAIL", "file.written@1=error", 1);
      setenv("SPOOL_TEST_RAN", ran.c_str(), 1);
      unsetenv("GTEST_SHARD_INDEX");
      unsetenv("GTEST_TOTAL_SHARDS");  // else another shard might have it, and this one would run nothing
      return execl("/proc/self/exe", "agent_test", "--gtest_filter=SpoolGroupTest.FailedSync*", nullptr) == 0;
    });
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(std::filesystem::exists(ran)) << "the test did not run";
    return;
  }
  TempFolder folder;
  auto spool = Open(folder.path());
  EXPECT_FALSE(spool->AddGroup(Group(1, 5)).ok());
  EXPECT_EQ(spool->size(), 0u);
  EXPECT_TRUE(FilesIn(folder.path()).empty());
  EXPECT_TRUE(spool->AddGroup(Group(1, 5)).ok());
  EXPECT_EQ(Loaded(*spool, "db1").size(), 5u);
  std::ofstream(mark) << "to its end";
}

}  // namespace
}  // namespace capsweep::agent
