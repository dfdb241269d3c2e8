// Batches, the law of results, and reading everything back.
#include "coordinator/store/store.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class StoreTest : public ::testing::Test {
 protected:
  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
};

TEST_F(StoreTest, AcceptedResultIsReadBackWithEveryFieldAndCurve) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(2, 7)});
  const auto result = MakeResult(MakePoint(2, 7), 42);
  ASSERT_TRUE(store.Write({BusyWorker(), Started(1, 1), Accepted(1, 1, result)}).ok());
  EXPECT_EQ(Ask(path_, "SELECT items_mem||'/'||bits_mem||'/'||backend||'/'||host||'/'||attempt FROM results"),
            "42/168.0/torch/host-a/1");
  EXPECT_EQ(Ask(path_, "SELECT state FROM points"), "done");
  EXPECT_EQ(Ask(path_, "SELECT outcome FROM attempts"), "accepted");
  EXPECT_EQ(Ask(path_, "SELECT group_concat(step||':'||items_mem||':'||nll_bits) FROM curves"), "10:21:1.5,50:42:0.5");
}

TEST_F(StoreTest, ResultsNameTheHostThatTheirWorkerHadThen) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), MakePoints(1, 4));
  const auto accept = [&](int64_t point) {
    const auto result = MakeResult(MakePoint(1, static_cast<uint64_t>(point)), 5);
    EXPECT_TRUE(store.Write({Started(point, 1), Accepted(point, 1, result)}).ok());
  };
  accept(1);  // of a worker that is not stored
  ASSERT_TRUE(store.Write({BusyWorker()}).ok());
  accept(2);
  core::WorkerChanged moved = BusyWorker();
  moved.host = "host-b";
  const auto result = MakeResult(MakePoint(1, 3), 5);
  ASSERT_TRUE(store.Write({moved, Started(3, 1), Accepted(3, 1, result)}).ok());
  accept(4);
  EXPECT_EQ(Ask(path_, "SELECT group_concat(host) FROM (SELECT host FROM results ORDER BY point_id)"),
            ",host-a,host-b,host-b");
}

TEST_F(StoreTest, SecondResultOfAPointIsKeptAsLateAndChangesNothing) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(1, 1)});
  ASSERT_TRUE(store.Write({Started(1, 1), Started(1, 2), Accepted(1, 1, MakeResult(MakePoint(1, 1), 10))}).ok());
  ASSERT_TRUE(store.Write({Accepted(1, 2, MakeResult(MakePoint(1, 1), 99))}).ok());
  EXPECT_EQ(Ask(path_, "SELECT items_mem||'/'||attempt FROM results"), "10/1");
  EXPECT_EQ(Ask(path_, "SELECT outcome FROM attempts WHERE attempt = 2"), "late");
  EXPECT_THAT(Ask(path_, "SELECT late_result FROM attempts WHERE attempt = 2"), HasSubstr("\"items_mem\":99"));
  EXPECT_EQ(Ask(path_, "SELECT MAX(items_mem) FROM curves"), "10");
}

TEST_F(StoreTest, LoadKnowsWhichAttemptOfADonePointWasAccepted) {
  {
    TestStore store(path_);
    store.Add(MakeSweep("s"), {MakePoint(1, 1)});
    ASSERT_TRUE(store.Write({Started(1, 1), Started(1, 2), Accepted(1, 2, MakeResult(MakePoint(1, 1), 10))}).ok());
    ASSERT_TRUE(store.Write({Accepted(1, 1, MakeResult(MakePoint(1, 1), 99))}).ok());
  }
  TestStore store(path_);
  const auto loaded = store->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->recovered.points.at(0).accepted_attempt, 2);
}

TEST_F(StoreTest, DonePointIsNotReopenedByALaterChange) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(1, 1)});
  store.Finish(MakePoint(1, 1), 5);
  ASSERT_TRUE(store.Write({core::PointChanged{PointId(1), core::PointState::kPending, 3, 0, "again"}}).ok());
  EXPECT_EQ(Ask(path_, "SELECT state FROM points"), "done");
}

TEST_F(StoreTest, FailedAndLostAttemptsKeepCauseAndFreeThePoint) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), {MakePoint(1, 1)});
  ASSERT_TRUE(store.Write({Started(1, 1)}).ok());
  EXPECT_EQ(Ask(path_, "SELECT state FROM points"), "running");
  ASSERT_TRUE(store
                  .Write({core::AttemptEnded{Ref(1, 1), core::AttemptOutcome::kFailed, "nan_loss", "at step 3"},
                          core::PointChanged{PointId(1), core::PointState::kPending, 1, 0, "nan"}})
                  .ok());
  EXPECT_EQ(Ask(path_, "SELECT outcome||'/'||cause||'/'||message FROM attempts"), "failed/nan_loss/at step 3");
  EXPECT_EQ(Ask(path_, "SELECT state||'/'||failures||'/'||reason FROM points"), "pending/1/nan");
}

TEST_F(StoreTest, CheckpointIsReplacedByTheNextAndDroppedWithTheResult) {
  TestStore store(path_);
  const PointSpec point = MakePoint(1, 1);
  store.Add(MakeSweep("s"), {point});
  const std::string bytes("a\0b", 3);
  ASSERT_TRUE(store
                  .Write({Started(1, 1),
                          core::CheckpointSaved{Ref(1, 1), std::make_shared<Checkpoint>(Checkpoint{"torch", "old"})},
                          core::CheckpointSaved{Ref(1, 1), std::make_shared<Checkpoint>(Checkpoint{"cpu", bytes})}})
                  .ok());
  const auto details = store->Details({PointId(1)});
  ASSERT_TRUE(details.ok()) << details.status();
  ASSERT_THAT(*details, SizeIs(1));
  ASSERT_NE(details->front().checkpoint, nullptr);
  EXPECT_EQ(details->front().checkpoint->bytes, bytes);
  EXPECT_EQ(details->front().checkpoint->backend, "cpu");
  ASSERT_TRUE(store.Write({Accepted(1, 1, MakeResult(point, 5))}).ok());
  EXPECT_EQ(store->Details({PointId(1)})->front().checkpoint, nullptr);
}

TEST_F(StoreTest, DetailsGiveBackTheExactPoint) {
  TestStore store(path_);
  PointSpec point = MakePoint(3, 1);
  point.mode = Mode::kLm;
  point.lm_targets = LmTargets::kAll;
  point.freeze_mlp = true;
  point.data_seed = 0xfedcba9876543210u;
  point.lr = 0.1 + 0.2;
  point.schedule = Schedule::kConstant;
  point.epochs = 0;
  point.steps = 1234;
  point.backend = "cpu";
  store.Add(MakeSweep("s"), {point});
  const auto details = store->Details({PointId(1)});
  ASSERT_TRUE(details.ok()) << details.status();
  EXPECT_EQ(details->front().point, point);
  EXPECT_EQ(details->front().point_key, PointKey(point));
  EXPECT_EQ(store->Details({PointId(2)}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, FindPointTakesIdKeyAndUniqueStartOfKey) {
  TestStore store(path_);
  store.Add(MakeSweep("s"), MakePoints(2, 2));
  const std::string key = PointKey(MakePoint(2, 1));
  const auto by_key = store->FindPoint(key);
  ASSERT_TRUE(by_key.ok() && by_key->has_value());
  EXPECT_EQ(**store->FindPoint(key.substr(0, 12)), **by_key);
  EXPECT_EQ(**store->FindPoint("3"), PointId(3));
  EXPECT_FALSE(store->FindPoint("99")->has_value());
  EXPECT_FALSE(store->FindPoint("' OR 1=1")->has_value());
  EXPECT_EQ(**store->FindSweep("s"), SweepId(1));
  EXPECT_FALSE(store->FindSweep("t")->has_value());
}

TEST_F(StoreTest, LoadAfterReopenGivesSweepsPointsShapesAndRunningAttempts) {
  {
    TestStore store(path_);
    SweepSpec sweep = MakeSweep("one");
    sweep.limits.max_failures = 7;
    store.Add(sweep, MakePoints(2, 2));
    store.Add(MakeSweep("two"), {MakePoint(2, 2)});
    ASSERT_TRUE(store
                    .Write({Started(1, 1), core::AttemptEnded{Ref(1, 1), core::AttemptOutcome::kLost, "", ""},
                            core::PointChanged{PointId(1), core::PointState::kPending, 0, 1, ""}, Started(1, 2),
                            Started(2, 1), Accepted(2, 1, MakeResult(MakePoint(1, 2), 3)),
                            core::SweepChanged{SweepId(2), core::SweepState::kPaused, "by hand"}})
                    .ok());
  }
  TestStore store(path_);
  const auto loaded = store->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const core::Recovered& r = loaded->recovered;
  ASSERT_THAT(r.sweeps, SizeIs(2));
  EXPECT_EQ(r.sweeps[0].name, "one");
  EXPECT_EQ(r.sweeps[0].max_failures, 7);
  EXPECT_EQ(r.sweeps[1].state, core::SweepState::kPaused);
  ASSERT_THAT(r.points, SizeIs(4));
  EXPECT_EQ(r.points[0].state, core::PointState::kRunning);
  EXPECT_EQ(r.points[0].last_attempt, 2);
  EXPECT_EQ(r.points[0].lost, 1);
  EXPECT_EQ(r.points[0].key_prefix, KeyPrefix(PointKey(MakePoint(1, 1))));
  EXPECT_EQ(r.points[1].state, core::PointState::kDone);
  EXPECT_THAT(r.points[3].sweeps, ElementsAre(SweepId(1), SweepId(2)));
  EXPECT_EQ(r.points[0].shape, r.points[1].shape);
  EXPECT_NE(r.points[0].shape, r.points[2].shape);
  EXPECT_EQ(loaded->shapes.at(r.points[2].shape), ShapeKey(MakePoint(2, 1)));
  ASSERT_THAT(r.running, SizeIs(1));
  EXPECT_EQ(r.running[0].id, Ref(1, 2));
  EXPECT_EQ(r.running[0].worker, WorkerId("w1"));
  EXPECT_EQ(r.running[0].device, "cpu:0");
}

TEST_F(StoreTest, PointStoredAsRunningWithoutOpenAttemptLoadsAsPending) {
  {
    TestStore store(path_);
    store.Add(MakeSweep("s"), {MakePoint(1, 1)});
    ASSERT_TRUE(store.Write({core::PointChanged{PointId(1), core::PointState::kRunning, 0, 0, ""}}).ok());
  }
  TestStore store(path_);
  EXPECT_EQ(store->Load()->recovered.points.at(0).state, core::PointState::kPending);
}

TEST_F(StoreTest, TicketsOfManyThreadsAreCommittedInOrder) {
  std::mutex mutex;
  std::condition_variable done;
  std::vector<core::Ticket> committed;
  Options options;
  options.committed = [&](core::Ticket ticket) {
    std::lock_guard lock(mutex);
    committed.push_back(ticket);
    done.notify_all();
  };
  TestStore store(path_, options);
  core::Ticket next = 0;
  std::mutex tickets;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        std::lock_guard lock(tickets);
        ++next;
        store->Enqueue({next, {core::Audit{"test", std::to_string(next), ""}}});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::unique_lock lock(mutex);
  ASSERT_TRUE(
      done.wait_for(lock, std::chrono::seconds(10), [&] { return !committed.empty() && committed.back() == 400; }));
  EXPECT_TRUE(std::is_sorted(committed.begin(), committed.end()));
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM events"), "400");
  EXPECT_EQ(Ask(path_,
                "SELECT COUNT(*) FROM events a JOIN events b ON b.event_id = a.event_id + 1 "
                "WHERE CAST(a.subject AS INT) + 1 <> CAST(b.subject AS INT)"),
            "0");
}

TEST_F(StoreTest, EmptyBatchIsAcknowledgedBehindEarlierOnes) {
  std::vector<core::Ticket> committed;
  Options options;
  options.committed = [&](core::Ticket ticket) { committed.push_back(ticket); };
  TestStore store(path_, options);
  ASSERT_TRUE(store.Write({}).ok());
  store.Close();
  EXPECT_THAT(committed, ElementsAre(1));
}

TEST_F(StoreTest, ClosingCommitsWhatIsQueued) {
  {
    TestStore store(path_);
    for (core::Ticket t = 1; t <= 500; ++t) {
      store->Enqueue({t, {core::Audit{"test", "", ""}}});
    }
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + "-wal"));
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM events"), "500");
}

TEST_F(StoreTest, BatchThatBreaksTheSchemaIsFatalAndNothingOfItIsStored) {
  std::vector<absl::Status> fatal;
  Options options;
  options.fatal = [&](const absl::Status& status) { fatal.push_back(status); };
  TestStore store(path_, options);
  EXPECT_FALSE(store.Write({core::Audit{"test", "", ""}, Started(77, 1)}).ok());
  EXPECT_FALSE(store->AddFit("", "{}", "{}").ok());
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM events"), "0");
  store.Close();
  ASSERT_THAT(fatal, SizeIs(1));
  EXPECT_THAT(std::string(fatal[0].message()), HasSubstr("FOREIGN KEY"));
}

TEST_F(StoreTest, FileDeletedWhileInUseIsFatalBeforeAnythingIsAcknowledged) {
  std::vector<core::Ticket> committed;
  std::vector<absl::Status> fatal;
  Options options;
  options.committed = [&](core::Ticket ticket) { committed.push_back(ticket); };
  options.fatal = [&](const absl::Status& status) { fatal.push_back(status); };
  TestStore store(path_, options);
  std::filesystem::remove(path_);
  EXPECT_FALSE(store.Write({core::Audit{"test", "", ""}}).ok());
  store.Close();
  EXPECT_TRUE(committed.empty());
  ASSERT_THAT(fatal, SizeIs(1));
  EXPECT_THAT(std::string(fatal[0].message()), HasSubstr("deleted"));
}

TEST_F(StoreTest, WriterStopsWhenAnotherGenerationTookTheFileOver) {
  std::vector<absl::Status> fatal;
  Options options;
  options.fatal = [&](const absl::Status& status) { fatal.push_back(status); };
  TestStore store(path_, options);
  {
    auto other = Database::Open(path_, Database::Access::kWrite);
    ASSERT_TRUE(other->Execute("UPDATE store_info SET generation = generation + 1").ok());
  }
  EXPECT_EQ(store.Write({core::Audit{"test", "", ""}}).code(), absl::StatusCode::kDataLoss);
  store.Close();
  ASSERT_THAT(fatal, SizeIs(1));
  EXPECT_THAT(std::string(fatal[0].message()), HasSubstr("another coordinator"));
}

TEST_F(StoreTest, FitIsStoredUnderTheIdReturned) {
  TestStore store(path_);
  const auto id = store->AddFit("s", "{\"groups\":[]}", "{}");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(*id, 1);
  auto reader = Reader::Open(path_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(*(*reader)->Fit(1), "{\"groups\":[]}");
  EXPECT_EQ((*reader)->Fit(2).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace capsweep::store
