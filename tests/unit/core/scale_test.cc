// A million points: cost per completed point must not depend on the size of the sweep.
#include <chrono>
#include <cstdio>
#include <memory>

#include "coordinator/core/core.h"
#include "gtest/gtest.h"

namespace capsweep::core {
namespace {

using namespace std::chrono_literals;

// Stores a sweep of `points`, completes `complete` of them through sync, commit, result, and returns microseconds of
// this thread per completed point.
double MicrosPerPoint(int64_t points, int64_t complete) {
  Core core;
  Instant now(1h);
  SweepStored stored;
  stored.sweep = {.sweep = SweepId(1), .name = "big"};
  stored.points.resize(static_cast<size_t>(points));
  for (int64_t i = 0; i < points; ++i) {
    PointRow& row = stored.points[static_cast<size_t>(i)];
    row.point = PointId(i + 1);
    row.shape = static_cast<uint32_t>(i % 500);
    row.cost_seconds = static_cast<float>(0.001 + 0.00001 * static_cast<double>(i * 7919 % 1000));
    row.sweeps = {SweepId(1)};
  }
  core.Apply(stored, now);
  stored = {};
  core.Apply(StoreCommitted{1}, now);

  const auto result = std::make_shared<PointResult>();
  WorkerSync sync{.worker = WorkerId("w"), .incarnation = Incarnation("a")};
  sync.devices.push_back({.name = "cpu:0", .kind = "cpu"});
  int64_t accepted = 0;
  const std::clock_t start = std::clock();
  while (accepted < complete) {
    now += 50ms;
    ++sync.sequence;
    ++sync.token;
    Ticket ticket = 0;
    for (const Effect& effect : core.Apply(sync, now)) {
      ticket = std::get<Persist>(effect).ticket;
    }
    const Effects effects = core.Apply(StoreCommitted{ticket}, now);
    EXPECT_EQ(effects.size(), 1u);
    sync.results.clear();
    const SyncReply& reply = std::get<SyncReply>(effects.at(0));
    accepted += static_cast<int64_t>(reply.acknowledged.size());
    for (const Assignment& a : reply.assignments) {
      sync.results.push_back({a.id, "cpu:0", 0, result});
    }
  }
  EXPECT_EQ(core.Sweeps(now).at(0).done, accepted);
  return 1e6 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC / static_cast<double>(accepted);
}

TEST(CoreScaleTest, MillionPointSweepCostsNoMorePerPointThanASmallOne) {
  const double small = MicrosPerPoint(20'000, 20'000);
  const double large = MicrosPerPoint(1'000'000, 100'000);
  std::printf("microseconds per completed point: %.2f of 20,000; %.2f of 1,000,000\n", small, large);
  // Caches, trees of more levels and other programs on the machine are allowed for; growth with the sweep is not.
  EXPECT_LT(large, 20 * small + 20);
}

}  // namespace
}  // namespace capsweep::core
