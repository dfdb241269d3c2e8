// The real store over a disk that loses what was not synced, runs full, fails or is slow.
#include <gmock/gmock.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "tests/fault/power_loss_vfs.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using fault::PowerLossDisk;
using Operation = PowerLossDisk::Operation;

constexpr int kPoints = 60;

int ScaledBySeeds(int rounds) {
  const char* seeds = std::getenv("CAPSWEEP_FAULT_SEEDS");
  return seeds == nullptr ? rounds : std::max(1, rounds * std::atoi(seeds) / 20);
}

// What the store said, in order to hold it to its word.
struct Word {
  std::mutex mutex;
  std::condition_variable changed;
  core::Ticket committed = 0;
  int fatal = 0, unwritable = 0, writable = 0;

  Options MakeOptions() {
    Options options;
    options.retry_interval = std::chrono::milliseconds(2);
    options.committed = [this](core::Ticket ticket) { Note([&] { committed = ticket; }); };
    options.fatal = [this](const absl::Status&) { Note([&] { ++fatal; }); };
    options.unwritable = [this](const absl::Status&) { Note([&] { ++unwritable; }); };
    options.writable = [this] { Note([&] { ++writable; }); };
    return options;
  }
  void Note(const std::function<void()>& change) {
    std::lock_guard lock(mutex);
    change();
    changed.notify_all();
  }
  core::Ticket Committed() {
    std::lock_guard lock(mutex);
    return committed;
  }
};

class DiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);  // what the store complains of is what is asked for here
    disk_.Reset();
  }
  void TearDown() override { disk_.Reset(); }

  // Ticket i stores the result of point i; every third is waited for, so that groups differ in size.
  static void Work(Store& store, int first = 1) {
    for (int64_t id = first; id <= kPoints; ++id) {
      store.Enqueue({static_cast<core::Ticket>(id), {Started(id, 1), Accepted(id, 1, ResultOf(id))}});
      if (id % 3 == 0) store.Flush().IgnoreError();
    }
    store.Flush().IgnoreError();
  }
  static PointSpec PointOf(int64_t id) { return MakePoint(1, static_cast<uint64_t>(id)); }
  static std::shared_ptr<PointResult> ResultOf(int64_t id) { return MakeResult(PointOf(id), id % 90); }

  // An empty folder on a sound disk, then Prepare.
  void StartAnew() {
    std::filesystem::remove_all(folder_.path());
    std::filesystem::create_directories(folder_.path());
    disk_.Reset();
    Prepare();
  }

  void Prepare() {
    TestStore store(path_);
    store.Add(MakeSweep("s"), MakePoints(1, kPoints));
  }

  // Results, states and attempts after whatever happened: `acknowledged` tickets are there, nothing twice, and the
  // store opens, goes on and ends where an undisturbed one does.
  static void ExpectKept(const std::string& path, core::Ticket acknowledged) {
    {
      TestStore store(path);
      EXPECT_EQ(Ask(path, "PRAGMA integrity_check"), "ok");
      const int64_t done = std::stoll(Ask(path, "SELECT COUNT(*) FROM results"));
      EXPECT_GE(done, acknowledged) << "acknowledged and gone";
      // Groups are whole and in order.
      EXPECT_EQ(Ask(path, "SELECT coalesce(MAX(point_id), 0) FROM results"), std::to_string(done));
      EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM points WHERE state = 'done'"), std::to_string(done));
      EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'"), std::to_string(done));
      Work(*store.operator->(), static_cast<int>(done) + 1);
    }
    for (int64_t id = 1; id <= kPoints; ++id) {
      EXPECT_EQ(Ask(path, "SELECT items_mem FROM results WHERE point_id = " + std::to_string(id)),
                std::to_string(id % 90));
    }
    EXPECT_EQ(Ask(path, "SELECT COUNT(*) FROM results"), std::to_string(kPoints));
    EXPECT_EQ(Ask(path, "PRAGMA foreign_key_check"), "");
  }

  PowerLossDisk& disk_ = PowerLossDisk::Get();
  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
};

TEST_F(DiskTest, PowerLostAtAnyOperationAcknowledgedResultsAreThere) {
  std::mt19937_64 random(11);
  int images = 0;
  for (int round = 0; round < ScaledBySeeds(5); ++round) {
    StartAnew();
    Word word;
    std::vector<core::Ticket> acknowledged;
    {
      TestStore store(path_, word.MakeOptions());
      disk_.before = [&](int64_t, Operation) {
        if (random() % 40 != 0) return;
        acknowledged.push_back(word.Committed());
        disk_.SaveAfterPowerLoss(folder_.path(), folder_.File("lost-" + std::to_string(acknowledged.size() - 1)),
                                 random);
      };
      Work(*store.operator->());
    }  // closing folds the log into the file: the most delicate moment
    disk_.Reset();
    for (size_t i = 0; i < acknowledged.size(); ++i) {
      ExpectKept(folder_.File("lost-" + std::to_string(i) + "/a.db"), acknowledged[i]);
      ++images;
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(images, 10);
}

TEST_F(DiskTest, PowerLostWhileADatabaseIsMadeItOpensOrIsMadeAnew) {
  std::mt19937_64 random(5);
  std::vector<std::string> images;
  disk_.before = [&](int64_t, Operation) {
    images.push_back(folder_.File("lost-" + std::to_string(images.size())));
    disk_.SaveAfterPowerLoss(folder_.path(), images.back(), random);
  };
  Prepare();
  disk_.Reset();
  ASSERT_GT(images.size(), 20u);
  for (const std::string& image : images) {
    TestStore store(image + "/a.db");
    store.Add(MakeSweep("s"), MakePoints(1, kPoints));
    EXPECT_EQ(Ask(image + "/a.db", "SELECT COUNT(*) FROM points"), std::to_string(kPoints)) << image;
    EXPECT_EQ(Ask(image + "/a.db", "PRAGMA integrity_check"), "ok") << image;
  }
}

// A fault that lasts from its first to its last operation.
TEST_F(DiskTest, FullForAWhileAtAnyWriteNothingIsLostAndItGoesOnByItself) {
  std::mt19937_64 random(3);
  int hurt = 0;
  for (int round = 0; round < ScaledBySeeds(20); ++round) {
    StartAnew();
    Word word;
    TestStore store(path_, word.MakeOptions());
    const int64_t from = disk_.operations() + 1 + static_cast<int64_t>(random() % 150);
    const int64_t until = from + 1 + static_cast<int64_t>(random() % 12);
    const int code = std::array{SQLITE_FULL, SQLITE_IOERR_WRITE}[random() % 2];
    disk_.fault = [=](int64_t number, Operation operation, const std::string&) {
      return operation == Operation::kWrite && number >= from && number < until ? code : SQLITE_OK;
    };
    Work(*store.operator->());
    {
      std::unique_lock lock(word.mutex);
      ASSERT_TRUE(word.changed.wait_for(lock, std::chrono::seconds(60), [&] { return word.committed == kPoints; }))
          << "round " << round << " committed " << word.committed;
      EXPECT_EQ(word.fatal, 0);
      EXPECT_EQ(word.unwritable, word.writable);
      hurt += word.unwritable;
    }
    store.Close();
    disk_.Reset();
    ExpectKept(path_, kPoints);
    if (HasFailure()) return;
  }
  EXPECT_GT(hurt, 5) << "the fault hardly ever struck";
}

TEST_F(DiskTest, AFailedSyncEndsTheCoordinatorAndWhatWasAcknowledgedStays) {
  std::mt19937_64 random(4);
  int struck = 0;
  for (int round = 0; round < ScaledBySeeds(20); ++round) {
    StartAnew();
    Word word;
    int syncs = static_cast<int>(random() % 20);
    {
      TestStore store(path_, word.MakeOptions());
      disk_.fault = [&](int64_t, Operation operation, const std::string&) {
        return operation == Operation::kSync && syncs-- <= 0 ? SQLITE_IOERR_FSYNC : SQLITE_OK;
      };
      Work(*store.operator->());
    }
    EXPECT_EQ(word.fatal, 1) << "it must not go on after a failed sync";
    EXPECT_LT(word.Committed(), kPoints);
    struck += word.fatal;
    // As after the power loss that made the sync fail.
    const std::string image = folder_.File("lost");
    disk_.SaveAfterPowerLoss(folder_.path(), image, random);
    disk_.Reset();
    ExpectKept(image + "/a.db", word.Committed());
    if (HasFailure()) return;
  }
  EXPECT_EQ(struck, ScaledBySeeds(20));
}

TEST_F(DiskTest, AFailedReadLosesNothing) {
  std::mt19937_64 random(6);
  for (int round = 0; round < ScaledBySeeds(20); ++round) {
    StartAnew();
    Word word;
    std::atomic<int> reads{static_cast<int>(random() % 60)};
    {
      disk_.fault = [&](int64_t, Operation operation, const std::string&) {
        return operation == Operation::kRead && reads-- == 0 ? SQLITE_IOERR_READ : SQLITE_OK;
      };
      auto store = Store::Open(path_, word.MakeOptions());
      if (store.ok()) {
        Work(**store);
        store->reset();
        EXPECT_TRUE(word.fatal == 1 || word.committed == kPoints) << "neither done nor ended";
      } else {
        EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr(path_));
      }
    }
    disk_.Reset();
    ExpectKept(path_, word.Committed());
    if (HasFailure()) return;
  }
}

TEST_F(DiskTest, ASlowSyncMakesGroupsLargerAndLosesNothing) {
  Prepare();
  Word word;
  std::atomic<int> syncs{0};
  TestStore store(path_, word.MakeOptions());
  disk_.before = [&](int64_t, Operation operation) {
    if (operation != Operation::kSync) return;
    ++syncs;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  };
  for (int64_t id = 1; id <= kPoints; ++id) {
    store->Enqueue({static_cast<core::Ticket>(id), {Started(id, 1), Accepted(id, 1, ResultOf(id))}});
  }
  EXPECT_TRUE(store->Flush().ok());
  EXPECT_LT(syncs, kPoints / 2) << "one sync for each batch";
  EXPECT_EQ(word.fatal, 0);
  store.Close();
  disk_.Reset();
  ExpectKept(path_, kPoints);
}

}  // namespace
}  // namespace capsweep::store
