// kill -9 at every named place (common/fail_point.h) of coordinator, agents and trainers, at hits drawn from a seed. In
// each world every place kills once; what dies is started again and nothing else is done. Then every count equals that
// of an undisturbed run, and every acknowledgement is kept.
//
// CAPSWEEP_FAULT_SEEDS: how many worlds (6 unless told otherwise, 2 under a sanitizer; `./dev faults` asks
// for 100).
#include <algorithm>
#include <random>

#include "common/fail_point.h"
#include "tests/fault/cluster.h"

namespace capsweep::fault {
namespace {

constexpr size_t kPlaces = kFailPointNames.size();
constexpr int kRepeats = 10;
constexpr int kPoints = 4 * 2 * kRepeats;
constexpr int kAtOnce = 4;

// Places that a small sweep does not pass: recovery_test.cc and long_submission_test.cc kill there.
bool KilledElsewhere(std::string_view name) {
  return name.starts_with("migrate.backup") || name.starts_with("backup.") || name == "job.gave_way";
}

int Seeds() {
  const char* given = std::getenv("CAPSWEEP_FAULT_SEEDS");
#ifdef CAPSWEEP_SANITIZED
  return given == nullptr ? 2 : std::atoi(given);
#else
  return given == nullptr ? 6 : std::atoi(given);
#endif
}

ClusterOptions Options(const std::string& counts, const std::string& orders) {
  ClusterOptions options;
  options.sweep = SweepText(kRepeats);
  options.points = kPoints;
  options.workers = 1;
  options.devices = 2;
  options.lease_seconds = 1;
  options.trainer_ms = 20;
  options.environment = {{"CAPSWEEP_FAIL_COUNTS", counts}, {"CAPSWEEP_FAIL", orders}};
  return options;
}

class KillPointsTest : public ::testing::Test {
 protected:
  // How often each place is passed when nothing dies.
  std::array<uint32_t, kPlaces> CountHits() {
    Cluster quiet(folder_.Path("quiet"), Options(folder_.Path("quiet.counts"), ""));
    RunSweep(quiet);
    EXPECT_EQ(quiet.deaths(), 0);
    expected_ = Read(quiet.Database(), kMeasures);
    return ReadFailPointCounts(folder_.Path("quiet.counts"));
  }

  // The sweep from submission to the end, with one gentle restart of the agent on the way.
  static void RunSweep(Cluster& cluster) {
    cluster.SubmitUntilTaken();
    EXPECT_TRUE(cluster.WaitForDone(2, seconds(120))) << cluster.Folder();  // the agent is at work
    Bookkeeper bookkeeper(cluster.NewChannel(), "bookkeeper");
    cluster.ChangeUntilTaken(/*pause=*/true);
    cluster.ChangeUntilTaken(/*pause=*/false);
    EXPECT_TRUE(cluster.WaitForDone(kPoints / 4, seconds(120))) << cluster.Folder();
    cluster.RestartWorkerGently(0);
    EXPECT_TRUE(cluster.FinishWithin(seconds(120)))
        << "done: " << cluster.Done().value_or(-1) << " " << cluster.Folder();
    const std::set<std::string> accepted = bookkeeper.Stop();
    cluster.Stop();
    const auto stored =
        Read(cluster.Database(), "SELECT point_id || ' ' || attempt FROM results WHERE worker = 'bookkeeper'");
    const std::set<std::string> kept(stored.begin(), stored.end());
    for (const std::string& id : accepted) EXPECT_TRUE(kept.contains(id)) << "acknowledged and gone: " << id;
  }

  void RunWorld(int seed, const std::array<uint32_t, kPlaces>& hits) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    std::string orders;
    for (size_t i = 0; i < kPlaces; ++i) {
      if (hits[i] == 0) continue;
      // The first hits matter most, and after deaths there may be fewer.
      const uint64_t span = std::max<uint64_t>(1, std::min<uint64_t>(hits[i] * 3 / 4, random() % 2 == 0 ? 4 : 1000));
      StrAppend(&orders, orders.empty() ? "" : ",", kFailPointNames[i], "@", 1 + random() % span, "=kill");
    }
    const std::string counts = folder_.Path(StrCat(seed, ".counts"));
    Cluster cluster(folder_.Path(StrCat("world-", seed)), Options(counts, orders));
    RunSweep(cluster);
    cluster.ExpectResults(expected_);
    deaths_ += cluster.deaths();
    EXPECT_GT(cluster.deaths(), 10) << "the places did not kill";
  }

  FaultFolder folder_;
  std::vector<std::string> expected_;
  std::atomic<int> deaths_{0};
};

TEST_F(KillPointsTest, KilledOnceAtEveryPlaceNothingIsLostOrDoubled) {
  const auto hits = CountHits();
  for (size_t i = 0; i < kPlaces; ++i) {
    EXPECT_TRUE(hits[i] > 0 || KilledElsewhere(kFailPointNames[i])) << kFailPointNames[i] << " is never passed";
  }
  ASSERT_EQ(expected_.size(), static_cast<size_t>(kPoints));
  std::atomic<int> next{1};
  const int seeds = Seeds();
  std::vector<std::thread> threads;
  for (int i = 0; i < kAtOnce; ++i) {
    threads.emplace_back([&] {
      for (int seed; (seed = next++) <= seeds;) RunWorld(seed, hits);
    });
  }
  for (std::thread& thread : threads) thread.join();
  RecordProperty("deaths", deaths_);
}

}  // namespace
}  // namespace capsweep::fault
