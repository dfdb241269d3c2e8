// kill -9 and full disks: nothing acknowledged is lost, and the store goes on by itself.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <random>
#include <thread>

#include "tests/support/child.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::HasSubstr;

constexpr int kPoints = 3000;

// In the child: starts and accepts point after point, one batch each, and writes every committed ticket to the pipe.
[[noreturn]] void WriteUntilKilled(const std::string& path, int pipe) {
  Options options;
  options.committed = [pipe](core::Ticket ticket) {
    if (::write(pipe, &ticket, sizeof ticket) != sizeof ticket) {
      EndChild(2);
    }
  };
  auto store = Store::Open(path, options);
  if (!store.ok()) {
    EndChild(3);
  }
  const auto loaded = (*store)->Load();
  core::Ticket ticket = 0;
  for (const core::PointRow& point : loaded->recovered.points) {
    if (point.state == core::PointState::kDone) {
      continue;
    }
    const int32_t attempt = point.last_attempt + 1;
    const int64_t id = point.point.value();
    (*store)->Enqueue({++ticket, {Started(id, attempt)}});
    (*store)->Enqueue(
        {++ticket, {Accepted(id, attempt, MakeResult(MakePoint(1, static_cast<uint64_t>(id)), id % 100))}});
    if (ticket % 16 == 0) {
      (void)(*store)->Flush();
    }
  }
  (*store)->Flush().IgnoreError();
  ::pause();
  EndChild(0);
}

// The last ticket the child saw committed before it was killed.
core::Ticket RunAndKill(const std::string& path, std::chrono::microseconds after) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    WriteUntilKilled(path, ends[1]);
  }
  ::close(ends[1]);
  std::thread killer([&] {
    std::this_thread::sleep_for(after);
    ::kill(child, SIGKILL);
  });
  core::Ticket last = 0, ticket = 0;
  while (::read(ends[0], &ticket, sizeof ticket) == sizeof ticket) {
    last = ticket;
  }
  killer.join();
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return last;
}

TEST(CrashTest, KilledAtAnyMomentEveryAcknowledgedResultIsThereAndNoneTwice) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  {
    TestStore store(path);
    store.Add(MakeSweep("s"), MakePoints(1, kPoints));
  }
  std::mt19937 random(7);
  int64_t done_before = 0;
  for (int round = 0; round < 12; ++round) {
    const core::Ticket last = RunAndKill(path, std::chrono::microseconds(30'000 + random() % 150'000));
    const int64_t done = std::stoll(Ask(path, "SELECT COUNT(*) FROM results"));
    // Every second ticket is a result.
    EXPECT_GE(done, done_before + static_cast<int64_t>(last / 2)) << "round " << round;
    EXPECT_EQ(Ask(path, "PRAGMA integrity_check"), "ok");
    EXPECT_EQ(Ask(path,
                  "SELECT COUNT(*) FROM points p LEFT JOIN results r USING (point_id) "
                  "WHERE (p.state = 'done') <> (r.point_id IS NOT NULL)"),
              "0");
    EXPECT_EQ(Ask(path,
                  "SELECT COUNT(*) FROM attempts a JOIN results r USING (point_id, attempt) "
                  "WHERE a.outcome IS NOT 'accepted'"),
              "0");
    done_before = done;
  }
  EXPECT_GT(done_before, 0);
}

TEST(CrashTest, ReaderWorksOnTheFilesOfAKilledCoordinator) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  {
    TestStore store(path);
    store.Add(MakeSweep("s"), MakePoints(1, 200));
  }
  RunAndKill(path, std::chrono::milliseconds(300));
  ASSERT_TRUE(std::filesystem::exists(path + "-wal"));
  std::filesystem::remove(path + "-shm");
  const auto reader = Reader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto progress = (*reader)->Progress("s");
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->at(0).points, 200);
  EXPECT_EQ(progress->at(0).done, std::stoll(Ask(path, "SELECT COUNT(*) FROM results")));
}

// Files of this process cannot grow beyond `bytes` while it lives: what a full disk does to a write.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limited = old_;
    limited.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() { Free(); }
  void Free() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

struct Health {
  std::mutex mutex;
  std::condition_variable changed;
  int unwritable = 0, writable = 0, fatal = 0;
  core::Ticket committed = 0;
  std::string reason;

  Options MakeOptions() {
    Options options;
    options.retry_interval = std::chrono::milliseconds(20);
    options.committed = [this](core::Ticket ticket) { Note([&] { committed = ticket; }); };
    options.writable = [this] { Note([&] { ++writable; }); };
    options.fatal = [this](const absl::Status&) { Note([&] { ++fatal; }); };
    options.unwritable = [this](const absl::Status& status) {
      Note([&] {
        ++unwritable;
        reason = std::string(status.message());
      });
    };
    return options;
  }
  void Note(const std::function<void()>& change) {
    std::lock_guard lock(mutex);
    change();
    changed.notify_all();
  }
  bool Await(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), condition);
  }
};

TEST(DiskFullTest, BatchesWaitSubmissionsFailAndEverythingGoesOnWhenSpaceReturns) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  Health health;
  TestStore store(path, health.MakeOptions());
  store.Add(MakeSweep("s"), MakePoints(1, 400));
  ASSERT_TRUE(store.Write({core::Audit{"before", "", ""}}).ok());
  core::Ticket ticket = 1;
  {
    FullDisk full(std::filesystem::file_size(path + "-wal") + 100'000);
    for (int64_t id = 1; id <= 400; ++id) {
      store->Enqueue(
          {++ticket, {Started(id, 1), Accepted(id, 1, MakeResult(MakePoint(1, static_cast<uint64_t>(id)), 5))}});
    }
    ASSERT_TRUE(health.Await([&] { return health.unwritable == 1; }));
    EXPECT_LT(health.committed, ticket);
    EXPECT_THAT(health.reason, HasSubstr(path));
    EXPECT_EQ(store->AddSweep(MakeSweep("t"), 0, false, StreamOf(MakePoints(2, 2))).status().code(),
              absl::StatusCode::kResourceExhausted);
    EXPECT_FALSE(store->AddFit("", "{}", "{}").ok());
    EXPECT_FALSE(store->Flush().ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ASSERT_TRUE(health.Await([&] { return health.committed == ticket; }));
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_EQ(health.unwritable, 1);
  EXPECT_EQ(health.writable, 1);
  EXPECT_EQ(health.fatal, 0);
  EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM results"), "400");
  EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM sweeps"), "1");
  EXPECT_EQ(Ask(path, "PRAGMA integrity_check"), "ok");
}

TEST(DiskFullTest, SweepThatDoesNotFitIsRefusedWholeAndWritingGoesOn) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  Health health;
  TestStore store(path, health.MakeOptions());
  {
    FullDisk full(1'000'000);
    const auto refused = store->AddSweep(MakeSweep("s"), 0, false, StreamOf(MakePoints(8, 4000)));
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("sweep s was not stored"));
    EXPECT_TRUE(store.Write({core::Audit{"small", "", ""}}).ok());
  }
  EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM points"), "0");
  EXPECT_EQ(store.Add(MakeSweep("s"), MakePoints(2, 2)).new_points, 4);
}

TEST(DiskFullTest, SweepThatDoesNotFitIsRemovedThoughOthersWroteMeanwhile) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  Health health;
  Options options = health.MakeOptions();
  options.long_job_turn = Duration::zero();
  TestStore store(path, options);
  core::Ticket ticket = 100;
  {
    FullDisk full(1'000'000);
    const auto refused =
        store->AddSweep(MakeSweep("s"), 0, false, [&](const Store::PointVisitor& visit) -> absl::Status {
          int64_t count = 0;
          for (const PointSpec& point : MakePoints(8, 4000)) {
            if (++count % 256 == 0) {
              store->Enqueue({++ticket, {core::Audit{"small", "", ""}}});
            }
            if (absl::Status status = visit(point); !status.ok()) {
              return status;
            }
          }
          return absl::OkStatus();
        });
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
    ASSERT_TRUE(health.Await([&] { return health.committed == ticket; }))
        << "batches wait for a sweep that was refused";
  }
  EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM points"), "0");
  EXPECT_EQ(store.Add(MakeSweep("s"), MakePoints(2, 2)).new_points, 4);
}

TEST(DiskFullTest, NewDatabaseThatDoesNotFitLeavesNothingBehind) {
  TempFolder folder;
  const std::string path = folder.File("a.db");
  FullDisk full(8192);
  EXPECT_EQ(Store::Open(path, {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace capsweep::store
