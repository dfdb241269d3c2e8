// What Store::Open and Reader::Open refuse, with which sentence, and that refusals change nothing.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "coordinator/store/inspect.h"
#include "coordinator/store/schema.h"
#include "tests/support/child.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::HasSubstr;

class OpenTest : public ::testing::Test {
 protected:
  void WriteText(const std::string& text) { std::ofstream(path_) << text; }
  std::string Bytes() const {
    std::ostringstream out;
    out << std::ifstream(path_, std::ios::binary).rdbuf();
    return out.str();
  }
  int Entries() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      ++count;
    }
    return count;
  }
  void RunSql(const std::string& sql) {
    auto db = Database::Open(path_, Database::Access::kWrite);
    ASSERT_TRUE(db.ok());
    const absl::Status status = db->Execute(sql);
    ASSERT_TRUE(status.ok()) << status;
  }
  // Both doors refuse with the same words and leave the folder as it is.
  void ExpectRefused(absl::StatusCode code, const std::string& words) {
    const std::string before = Bytes();
    const int entries = Entries();
    const auto store = Store::Open(path_, {});
    EXPECT_EQ(store.status().code(), code) << store.status();
    EXPECT_THAT(std::string(store.status().message()), HasSubstr(words));
    const auto reader = Reader::Open(path_);
    EXPECT_EQ(reader.status().code(), code) << reader.status();
    EXPECT_THAT(std::string(reader.status().message()), HasSubstr(words));
    EXPECT_EQ(Bytes(), before);
    EXPECT_EQ(Entries(), entries);
  }

  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
};

TEST_F(OpenTest, TextFileIsRefusedAndUntouched) {
  WriteText("sweep: quickstart\ntask: {mode: label}\n");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "is not a database");
}

TEST_F(OpenTest, DatabaseOfAnotherProgramIsRefusedAndUntouched) {
  RunSql("CREATE TABLE albums (id INTEGER)");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not one of capsweep's");
}

TEST_F(OpenTest, DatabaseOfANewerVersionIsRefusedAndUntouched) {
  TestStore(path_).Close();
  std::filesystem::remove(path_ + ".lock");
  RunSql("PRAGMA user_version = 99");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "newer capsweep (schema version 99");
}

TEST_F(OpenTest, FolderInPlaceOfAFileIsRefused) {
  std::filesystem::create_directory(path_);
  EXPECT_THAT(std::string(Store::Open(path_, {}).status().message()), HasSubstr("is a folder"));
  EXPECT_THAT(std::string(Reader::Open(path_).status().message()), HasSubstr("is a folder"));
}

TEST_F(OpenTest, MissingFolderIsRefusedAndNotCreated) {
  const auto store = Store::Open(folder_.File("no/such/a.db"), {});
  EXPECT_EQ(store.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("there is no folder"));
  EXPECT_EQ(Entries(), 0);
}

TEST_F(OpenTest, MissingFileIsNotCreatedByReaderOrWithoutCreate) {
  EXPECT_EQ(Reader::Open(path_).status().code(), absl::StatusCode::kNotFound);
  Options options;
  options.create = false;
  EXPECT_EQ(Store::Open(path_, options).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Entries(), 0);
}

TEST_F(OpenTest, ReadOnlyFileIsRefusedForWritingEvenForRootButCanBeRead) {
  TestStore(path_).Close();
  std::filesystem::permissions(path_, std::filesystem::perms(0444));
  const auto store = Store::Open(path_, {});
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("read-only"));
  EXPECT_TRUE(Reader::Open(path_).ok());
}

TEST_F(OpenTest, ReadOnlyFolderIsRefusedForWriting) {
  std::filesystem::permissions(folder_.path(), std::filesystem::perms(0555));
  const auto store = Store::Open(path_, {});
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("folder"));
  EXPECT_EQ(Entries(), 0);
}

TEST_F(OpenTest, ReadOnlyFolderCanBeReadByAUserWhoCannotWriteIt) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(1, 1)});
  store.Close();
  std::filesystem::permissions(path_, std::filesystem::perms(0444));
  std::filesystem::permissions(folder_.path(), std::filesystem::perms(0555));
  const uid_t self = ::geteuid();  // root may write everywhere and has to become somebody else; others are that already
  ASSERT_TRUE(self != 0 || ::seteuid(65534) == 0);
  const auto reader = Reader::Open(path_);
  absl::StatusOr<std::vector<SweepProgress>> progress;
  if (reader.ok()) {
    progress = (*reader)->Progress();
  }
  ASSERT_EQ(::seteuid(self), 0);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->at(0).points, 1);
}

TEST_F(OpenTest, SecondCoordinatorIsRefusedWithThePidOfTheFirst) {
  TestStore first(path_);
  std::filesystem::create_symlink(path_, folder_.File("other-name.db"));
  for (const std::string& name : {path_, folder_.File("other-name.db")}) {
    const auto second = Store::Open(name, {});
    EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use by another coordinator"));
    EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(::getpid())));
  }
  EXPECT_TRUE(first.Write({core::Audit{"still", "works", ""}}).ok());
  first.Close();
  EXPECT_TRUE(Store::Open(path_, {}).ok());
}

TEST_F(OpenTest, DamagedSchemaIsRefusedAsDamaged) {
  TestStore(path_).Close();
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(200, '\xff');
  }
  const auto store = Store::Open(path_, {});
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("damaged"));
}

TEST_F(OpenTest, TruncatedDatabaseIsRefused) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), MakePoints(8, 50));
  store.Close();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_EQ(Store::Open(path_, {}).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(OpenTest, EmptyFileBecomesADatabaseAndKeepsItsIdentity) {
  WriteText("");
  std::string id;
  {
    TestStore store(path_);
    id = store->database_id();
    EXPECT_EQ(id.size(), 32u);
  }
  TestStore store(path_);
  EXPECT_EQ(store->database_id(), id);
  EXPECT_EQ(Ask(path_, "SELECT generation FROM store_info"), "2");
  EXPECT_EQ(Ask(path_, "PRAGMA journal_mode"), "wal");
}

// Whether another process finds SQLite's shared lock on the file (bytes 0x40000002 to 0x400001ff, "The SQLite File
// Format", lock-byte page): without it that process could take itself for the last user and remove the log.
bool OthersSeeALock(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct flock ask = {};
    ask.l_type = F_WRLCK;
    ask.l_whence = SEEK_SET;
    ask.l_start = 0x40000002;
    ask.l_len = 510;
    EndChild(fd >= 0 && ::fcntl(fd, F_GETLK, &ask) == 0 && ask.l_type != F_UNLCK ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(OpenTest, ReadersOfTheSameProcessLeaveTheStoreItsLocks) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(1, 1)});
  ASSERT_TRUE(OthersSeeALock(path_));
  {
    const auto reader = Reader::Open(path_);
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_TRUE(OthersSeeALock(path_));
  }
  EXPECT_TRUE(OthersSeeALock(path_));
  const auto link = folder_.File("link.db");
  std::filesystem::create_hard_link(path_, link);
  EXPECT_TRUE(InspectFile(link).ok());
  EXPECT_TRUE(OthersSeeALock(path_));
  store.Close();
  EXPECT_FALSE(OthersSeeALock(path_));
}

TEST_F(OpenTest, NamesWithUriCharactersAreJustNames) {
  const std::string odd = folder_.File("a?mode=ro#x%20.db");
  { TestStore store(odd); }
  EXPECT_TRUE(std::filesystem::exists(odd));
  EXPECT_TRUE(Reader::Open(odd).ok());
}

TEST_F(OpenTest, KillWhileTheFileIsMadeLeavesAFileTheNextOpenUses) {
  for (int delay_us : {0, 300, 1000, 3000, 6000, 10'000, 15'000, 20'000, 30'000, 50'000}) {
    const std::string path = folder_.File(std::to_string(delay_us) + ".db");
    const pid_t child = ::fork();
    if (child == 0) {
      const auto store = Store::Open(path, {});
      ::pause();
      EndChild(0);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    TestStore store(path);
    store.Add(MakeSweep("s"), {MakePoint(1, 1)});
    store.Close();
    EXPECT_EQ(Ask(path, "PRAGMA integrity_check"), "ok") << delay_us;
    EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM store_info"), "1") << delay_us;
  }
}

}  // namespace
}  // namespace capsweep::store
