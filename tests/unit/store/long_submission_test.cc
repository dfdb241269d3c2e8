// A large submission lets others write: results are acknowledged while it runs, and it is all or nothing all the same.
// The streams below stand still in the middle until a batch is on disk, so that nothing depends on how long anything
// takes.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "tests/support/child.h"
#include "tests/unit/store/store_testing.h"

namespace capsweep::store {
namespace {

using ::testing::SizeIs;

constexpr int64_t kOld = 4;       // points of the sweep that is there
constexpr int64_t kNew = 25'000;  // of the one that comes; removed in more than one step

// The points of the new sweep; the first `kOld` are those of the old one.
std::vector<PointSpec> NewPoints() {
  return MakePoints(1, kOld + kNew);
}

class LongSubmissionTest : public ::testing::Test {
 protected:
  LongSubmissionTest() : store_(path_, TurnsOfNoLength()) { store_.Add(MakeSweep("old"), MakePoints(1, kOld)); }

  Options TurnsOfNoLength() {
    Options options;
    options.long_job_turn = Duration::zero();
    options.committed = [this](core::Ticket ticket) {
      std::lock_guard lock(mutex_);
      committed_ = ticket;
      changed_.notify_all();
    };
    return options;
  }

  // From within a stream: false if the batch is not on disk soon, because the submission holds it up.
  bool WriteMeanwhile(std::vector<core::Mutation> mutations) {
    const core::Ticket ticket = ++ticket_;
    store_->Enqueue({ticket, std::move(mutations)});
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return committed_ >= ticket; });
  }

  // All points; `meanwhile` once, after half of them.
  static Store::PointStream Stream(std::function<absl::Status()> meanwhile) {
    return [meanwhile](const Store::PointVisitor& visit) -> absl::Status {
      int64_t count = 0;
      for (const PointSpec& point : NewPoints()) {
        absl::Status status = visit(point);
        if (status.ok() && ++count == kNew / 2) {
          status = meanwhile();
        }
        if (!status.ok()) {
          return status;
        }
      }
      return absl::OkStatus();
    };
  }

  int64_t Count(const std::string& table) const { return std::stoll(Ask(path_, "SELECT COUNT(*) FROM " + table)); }

  TempFolder folder_;
  const std::string path_ = folder_.File("a.db");
  std::mutex mutex_;
  std::condition_variable changed_;
  core::Ticket committed_ = 0;  // guarded by mutex_
  core::Ticket ticket_ = 100;
  TestStore store_;
};

TEST_F(LongSubmissionTest, ResultIsAcknowledgedMeanwhileAndNobodySeesHalfASweep) {
  bool acknowledged = false;
  std::string sweeps, links, known;
  const auto stored =
      store_->AddSweep(MakeSweep("new"), 0, false, Stream([&] {
                         acknowledged = WriteMeanwhile({Started(1, 1), Accepted(1, 1, MakeResult(MakePoint(1, 1), 7))});
                         sweeps = Ask(path_, "SELECT group_concat(name) FROM sweeps");
                         links = Ask(path_, "SELECT COUNT(*) FROM sweep_points");
                         EXPECT_GT(Count("points"), kOld);
                         const auto run = store_->CountSweep(MakeSweep("new"), StreamOf(NewPoints()));
                         known = std::to_string(run.ok() ? run->counts.known_points : -1);
                         return absl::OkStatus();
                       }));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(acknowledged) << "the result waited for the submission";
  EXPECT_EQ(sweeps, "old");
  EXPECT_EQ(links, std::to_string(kOld));
  EXPECT_EQ(known, std::to_string(kOld)) << "a dry run counts only points of sweeps";
  EXPECT_EQ(stored->points, kOld + kNew);
  EXPECT_EQ(stored->new_points, kNew);
  EXPECT_EQ(stored->known_points, kOld);
  ASSERT_THAT(stored->event.points, SizeIs(kOld + kNew));
  // Named before its result came: the core hears what is true now.
  EXPECT_EQ(stored->done_points, 1);
  EXPECT_EQ(stored->event.points[0].state, core::PointState::kDone);
  EXPECT_EQ(stored->event.points[0].last_attempt, 1);
  EXPECT_EQ(Count("sweep_points"), 2 * kOld + kNew);
}

TEST_F(LongSubmissionTest, StreamThatFailsLeavesNothing) {
  const auto refused = store_->AddSweep(MakeSweep("new"), 0, false, Stream([&] {
                                          EXPECT_TRUE(WriteMeanwhile({core::Audit{"a", "", ""}}));
                                          EXPECT_GT(Count("points"), kOld);
                                          return absl::InvalidArgumentError("new.yaml:3: heads: wrong");
                                        }));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Count("points"), kOld);
  EXPECT_EQ(Count("sweeps"), 1);
  EXPECT_EQ(store_.Add(MakeSweep("new"), NewPoints()).new_points, kNew);
}

TEST_F(LongSubmissionTest, SweepCancelledWhileItIsExtendedStaysAsItWas) {
  const auto refused = store_->AddSweep(
      MakeSweep("old", "more"), 0, true, Stream([&] {
        EXPECT_TRUE(WriteMeanwhile({core::SweepChanged{SweepId(1), core::SweepState::kCancelled, ""}}));
        return absl::OkStatus();
      }));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Count("points"), kOld);
  EXPECT_EQ(Count("sweep_points"), kOld);
  EXPECT_EQ(Ask(path_, "SELECT state || '/' || text FROM sweeps"), "cancelled/text");
}

TEST_F(LongSubmissionTest, OtherTextIsComparedWhileOthersWrite) {
  const auto again =
      store_->AddSweep(MakeSweep("old", "the same in other words"), 0, false, [&](const Store::PointVisitor& visit) {
        // The visitor itself lets others write, every so many points: nothing can wait here.
        store_->Enqueue({++ticket_, {core::Audit{"a", "", ""}}});
        absl::Status status;
        for (const PointSpec& point : NewPoints()) {
          status.Update(visit(point));
        }
        std::lock_guard lock(mutex_);
        EXPECT_EQ(committed_, ticket_);
        return status;
      });
  EXPECT_EQ(again.status().code(), absl::StatusCode::kAlreadyExists);
}

// In the child: acknowledges a result in the middle of a submission, and is killed before the submission goes on.
[[noreturn]] void SubmitHalf(const std::string& path) {
  std::atomic<bool> acknowledged{false};
  Options options;
  options.long_job_turn = Duration::zero();
  options.committed = [&](core::Ticket) { acknowledged = true; };
  auto store = Store::Open(path, options);
  if (!store.ok()) {
    EndChild(3);
  }
  (void)(*store)->AddSweep(MakeSweep("new"), 0, false, [&](const Store::PointVisitor& visit) -> absl::Status {
    for (const PointSpec& point : NewPoints()) {
      if (absl::Status status = visit(point); !status.ok()) {
        return status;
      }
    }
    (*store)->Enqueue({1, {Started(1, 1), Accepted(1, 1, MakeResult(MakePoint(1, 1), 7))}});
    while (!acknowledged) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::kill(::getpid(), SIGKILL);
    ::pause();
    return absl::OkStatus();
  });
  EndChild(4);
}

TEST_F(LongSubmissionTest, KilledHalfWayARestartRemovesWhatIsThereAndKeepsTheResult) {
  store_.Close();
  const pid_t child = ::fork();
  if (child == 0) {
    SubmitHalf(path_);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_GT(Count("points"), kNew / 2) << "nothing was there to be removed";
  EXPECT_EQ(Ask(path_, "SELECT group_concat(sweep) FROM v_progress"), "old");

  TestStore restarted(path_);
  EXPECT_EQ(Count("points"), kOld);
  EXPECT_EQ(Count("results"), 1);
  EXPECT_EQ(Ask(path_, "PRAGMA integrity_check"), "ok");
  const auto loaded = restarted->Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->recovered.points, SizeIs(kOld));
  EXPECT_EQ(restarted.Add(MakeSweep("new"), NewPoints()).new_points, kNew);
}

TEST_F(LongSubmissionTest, PointsOfALostSweepThatWereTrainedAreNotTakenForLeftOnes) {
  store_.Finish(MakePoint(1, kOld), 5);
  store_.Close();
  {
    auto db = Database::Open(path_, Database::Access::kWrite);
    ASSERT_TRUE(db.ok() && db->Execute("DELETE FROM sweep_points WHERE point_id > 2").ok());  // as after a salvage
  }
  TestStore restarted(path_);
  EXPECT_EQ(Ask(path_, "SELECT group_concat(point_id) FROM (SELECT point_id FROM points ORDER BY point_id)"), "1,2,4");
}

}  // namespace
}  // namespace capsweep::store
