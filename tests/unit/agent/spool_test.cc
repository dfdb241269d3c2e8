#include "worker/agent/spool.h"

#include <sys/stat.h>

#include <fstream>
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

}  // namespace
}  // namespace capsweep::agent
