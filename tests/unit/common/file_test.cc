#include "common/file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/hash.h"
#include "common/status.h"
#include "common/text.h"
#include "tests/support/child.h"

namespace capsweep {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "file_test_" + RandomHexId();
    ASSERT_TRUE(MakeFolders(folder_ + "/a/b").ok());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNoTemporary) {
  const std::string path = folder_ + "/a/file";
  ASSERT_TRUE(WriteFileAtomic(path, "one").ok());
  ASSERT_TRUE(WriteFileAtomic(path, "two").ok());
  EXPECT_EQ(*ReadFile(path), "two");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/a")) files += entry.is_regular_file();
  EXPECT_EQ(files, 1);
}

TEST_F(FileTest, ReadRefusesFoldersAndLargeFiles) {
  EXPECT_EQ(ReadFile(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(folder_ + "/none").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/big", std::string(100, 'x')).ok());
  EXPECT_EQ(ReadFile(folder_ + "/big", 99).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileTest, MakeFoldersOverAFileIsRefused) {
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/file", "x").ok());
  EXPECT_FALSE(MakeFolders(folder_ + "/file/sub").ok());
}

TEST_F(FileTest, SecondLockNamesTheHolderAndDeathReleases) {
  const std::string path = folder_ + "/lock";
  int ready[2], go[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(go), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = FileLock::TryAcquire(path);
    (void)!write(ready[1], lock.ok() ? "y" : "n", 1);
    char c;
    (void)!read(go[0], &c, 1);
    EndChild(0);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  ASSERT_EQ(c, 'y');
  const auto second = FileLock::TryAcquire(path);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(second.status().message()).find(StrCat("process ", child)), std::string::npos);
  ASSERT_EQ(kill(child, SIGKILL), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(FileLock::TryAcquire(path).ok());
  for (int fd : {ready[0], ready[1], go[0], go[1]}) close(fd);
}

TEST(HashTest, Sha256KnownAnswer) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_NE(RandomHexId(), RandomHexId());
  EXPECT_EQ(RandomHexId().size(), 32u);
}

TEST(StatusTest, ExitCodesFollowTheDocumentedTable) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeFor(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeFor(absl::ResourceExhaustedError("")), 1);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("")), 3);
  EXPECT_EQ(Annotate(absl::NotFoundError("b"), "a"), absl::NotFoundError("a: b"));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "a").ok());
}

}  // namespace
}  // namespace capsweep
