// Submitting, extending and counting sweeps.
#include <gmock/gmock.h>

#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SweepTest : public ::testing::Test {
 protected:
  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
  TestStore store_{path_};
};

TEST_F(SweepTest, NewSweepStoresEveryPointOnceAndTellsTheCore) {
  const StoredSweep added = store_.Add(MakeSweep("s"), MakePoints(3, 2));
  EXPECT_TRUE(added.created);
  EXPECT_EQ(added.points, 6);
  EXPECT_EQ(added.new_points, 6);
  EXPECT_EQ(added.known_points, 0);
  EXPECT_EQ(added.event.sweep.name, "s");
  EXPECT_EQ(added.event.sweep.state, core::SweepState::kRunning);
  ASSERT_THAT(added.event.points, SizeIs(6));
  EXPECT_EQ(added.event.points[5].key_prefix, KeyPrefix(PointKey(MakePoint(3, 2))));
  EXPECT_THAT(added.event.points[5].sweeps, ElementsAre(added.event.sweep.sweep));
  EXPECT_GT(added.event.points[5].cost_seconds, 0);
}

TEST_F(SweepTest, SameTextAgainIsIdempotent) {
  store_.Add(MakeSweep("s"), MakePoints(2, 2));
  const StoredSweep again = store_.Add(MakeSweep("s"), MakePoints(2, 2));
  EXPECT_FALSE(again.created);
  EXPECT_EQ(again.points, 4);
  EXPECT_EQ(again.new_points, 0);
  EXPECT_EQ(again.known_points, 4);
  EXPECT_THAT(again.event.points, IsEmpty());
}

TEST_F(SweepTest, OtherTextWithTheSamePointsIsIdempotent) {
  store_.Add(MakeSweep("s", "a: 1"), MakePoints(2, 2));
  const StoredSweep again = store_.Add(MakeSweep("s", "a: 1  # a comment"), MakePoints(2, 2));
  EXPECT_FALSE(again.created);
  EXPECT_EQ(again.new_points, 0);
}

TEST_F(SweepTest, OtherPointsUnderTheSameNameAreRefusedWithTheWayOut) {
  store_.Add(MakeSweep("s", "a"), MakePoints(2, 2));
  const auto refused = store_->AddSweep(MakeSweep("s", "b"), 0, false, StreamOf(MakePoints(2, 3)));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("capsweep extend s s.yaml"));
  EXPECT_EQ(store_->AddSweep(MakeSweep("s", "c"), 0, false, StreamOf(MakePoints(2, 1))).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM points"), "4");
}

TEST_F(SweepTest, ExtendAddsOnlyMissingPointsAndKeepsTheRest) {
  store_.Add(MakeSweep("s", "a"), MakePoints(2, 2));
  store_.Finish(MakePoint(1, 1), 5);
  SweepSpec more = MakeSweep("s", "b");
  more.limits.attempts = 9;
  const StoredSweep extended = store_.Add(more, MakePoints(2, 3), true);
  EXPECT_FALSE(extended.created);
  EXPECT_EQ(extended.points, 6);
  EXPECT_EQ(extended.new_points, 2);
  EXPECT_EQ(extended.known_points, 4);
  EXPECT_EQ(extended.done_points, 1);
  EXPECT_THAT(extended.event.points, SizeIs(2));
  EXPECT_EQ(extended.event.sweep.attempts, 9);
  EXPECT_EQ(Ask(path_, "SELECT text||'/'||attempts FROM sweeps"), "b/9");
}

TEST_F(SweepTest, ExtendReopensAFinishedSweepOnlyIfThereIsWork) {
  store_.Add(MakeSweep("s", "a"), {MakePoint(1, 1)});
  store_.Finish(MakePoint(1, 1), 5);
  ASSERT_TRUE(store_.Write({core::SweepChanged{SweepId(1), core::SweepState::kFinished, ""}}).ok());
  EXPECT_EQ(store_.Add(MakeSweep("s", "b"), {MakePoint(1, 1)}, true).event.sweep.state, core::SweepState::kFinished);
  EXPECT_EQ(store_.Add(MakeSweep("s", "c"), MakePoints(1, 2), true).event.sweep.state, core::SweepState::kRunning);
  EXPECT_EQ(Ask(path_, "SELECT state FROM sweeps"), "running");
}

TEST_F(SweepTest, ExtendOfAnUnknownSweepNamesThoseThereAre) {
  store_.Add(MakeSweep("first"), {MakePoint(1, 1)});
  const auto refused = store_->AddSweep(MakeSweep("other"), 0, true, StreamOf(MakePoints(1, 1)));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("first"));
}

TEST_F(SweepTest, PointsSharedByTwoSweepsAreOneRowOfBoth) {
  store_.Add(MakeSweep("a"), MakePoints(2, 2));
  store_.Finish(MakePoint(1, 1), 5);
  const StoredSweep second = store_.Add(MakeSweep("b"), MakePoints(3, 1));
  EXPECT_EQ(second.points, 3);
  EXPECT_EQ(second.new_points, 1);
  EXPECT_EQ(second.known_points, 2);
  EXPECT_EQ(second.done_points, 1);
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM points"), "5");
  ASSERT_THAT(second.event.points, SizeIs(3));
  EXPECT_EQ(second.event.points[0].state, core::PointState::kDone);
  EXPECT_EQ(second.event.points[0].last_attempt, 1);
  EXPECT_THAT(second.event.points[0].sweeps, ElementsAre(SweepId(1), SweepId(2)));
}

TEST_F(SweepTest, CancelledPointAskedForByANewSweepIsPendingAgain) {
  store_.Add(MakeSweep("a"), {MakePoint(1, 1)});
  ASSERT_TRUE(store_
                  .Write({core::PointChanged{PointId(1), core::PointState::kCancelled, 0, 0, "sweep cancelled"},
                          core::SweepChanged{SweepId(1), core::SweepState::kCancelled, ""}})
                  .ok());
  const StoredSweep second = store_.Add(MakeSweep("b"), {MakePoint(1, 1)});
  EXPECT_EQ(second.event.points.at(0).state, core::PointState::kPending);
  EXPECT_EQ(Ask(path_, "SELECT state FROM points"), "pending");
  EXPECT_EQ(store_->AddSweep(MakeSweep("a", "b"), 0, true, StreamOf(MakePoints(1, 2))).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SweepTest, ErrorInTheMiddleOfTheStreamStoresNothing) {
  const Store::PointStream broken = [](const Store::PointVisitor& visit) -> absl::Status {
    for (const PointSpec& point : MakePoints(2, 2)) {
      if (absl::Status status = visit(point); !status.ok()) {
        return status;
      }
    }
    return absl::InvalidArgumentError("s.yaml:3: heads: wrong");
  };
  EXPECT_EQ(store_->AddSweep(MakeSweep("s"), 0, false, broken).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ask(path_, "SELECT (SELECT COUNT(*) FROM sweeps) + (SELECT COUNT(*) FROM points)"), "0");
}

TEST_F(SweepTest, PointThatTheStreamNamesTwiceCountsOnceAndManyPointsCrossTheBatches) {
  std::vector<PointSpec> points = MakePoints(30, 40);
  points.push_back(points.front());
  points.push_back(points[700]);
  const StoredSweep stored = store_.Add(MakeSweep("s"), points);
  EXPECT_EQ(stored.points, 1200);
  EXPECT_EQ(stored.new_points, 1200);
  EXPECT_THAT(stored.event.points, SizeIs(1200));
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM sweep_points"), "1200");
  // In the order of the stream.
  EXPECT_EQ(Ask(path_, "SELECT point_key FROM points WHERE point_id = 701"), PointKey(points[700]));
}

TEST_F(SweepTest, CountSweepGivesTheNumbersOfAddSweepAndStoresNothing) {
  store_.Add(MakeSweep("a"), MakePoints(2, 2));
  store_.Finish(MakePoint(1, 1), 5);
  const auto run = store_->CountSweep(MakeSweep("b"), StreamOf(MakePoints(3, 2)));
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->counts.points, 6);
  EXPECT_EQ(run->counts.new_points, 2);
  EXPECT_EQ(run->counts.known_points, 4);
  EXPECT_EQ(run->counts.done_points, 1);
  EXPECT_EQ(run->shapes, 3);
  EXPECT_GT(run->cost_seconds, 0);
  EXPECT_EQ(Ask(path_, "SELECT COUNT(*) FROM points"), "4");
  const StoredSweep added = store_.Add(MakeSweep("b"), MakePoints(3, 2));
  EXPECT_EQ(added.new_points, run->counts.new_points);
  EXPECT_EQ(added.known_points, run->counts.known_points);
}

}  // namespace
}  // namespace capsweep::store
