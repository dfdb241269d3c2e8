// When the next call is made. Instants are given, so that nothing here waits for a clock but the one call to the
// coordinator.
#include "worker/agent/courier.h"

#include <condition_variable>
#include <mutex>

#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"
#include "tests/unit/agent/fake_coordinator.h"

namespace capsweep::agent {
namespace {

using std::chrono::milliseconds;

class CourierTest : public ::testing::Test {
 protected:
  CourierTest() {
    coordinator_.SetDepth(2);
    coordinator_.AddPoints(2);
    state_.OnTrainerMessage(0, Hello{.device_kind = "cpu", .slots = 1});
    CourierOptions options;
    options.client.coordinator = coordinator_.address();
    options.client.worker_id = "w";
    options.client.incarnation = "1";
    spool_ = *Spool::Open(folder_.path(), Duration::zero());
    courier_.emplace(std::move(options), &state_, spool_.get(), begin_, [this] {
      std::lock_guard lock(mutex_);
      answered_ = true;
      changed_.notify_all();
    });
  }

  // A call begun at begin_, and what it brings.
  void CallOnce() {
    courier_->Pump(begin_);
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(15), [this] { return answered_; }));
    auto answer = courier_->Take(begin_);
    ASSERT_TRUE(answer.has_value());
    given_ = state_.ApplyReply(answer->call, answer->reply, true).train;
  }

  void Finish(size_t which, Instant now) {
    const Changes changes =
        state_.OnTrainerMessage(0, Finished{given_[which].attempt, TestResult(given_[which].point)});
    ASSERT_EQ(changes.reports.size(), 1u);
    courier_->Deliver(changes.reports, now);
  }

  const Instant begin_ = std::chrono::steady_clock::now();
  FakeCoordinator coordinator_;
  TempFolder folder_;
  State state_{{"cpu:0"}};
  std::unique_ptr<Spool> spool_;
  std::vector<Train> given_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool answered_ = false;
  std::optional<Courier> courier_;
};

TEST_F(CourierTest, ReportsAreGatheredWhileTheDeviceHasWorkAndDeliveredAtOnceWhenItHasNone) {
  CallOnce();
  ASSERT_EQ(given_.size(), 2u);
  const Instant first = begin_ + milliseconds(10), second = first + milliseconds(3);
  Finish(0, first);
  EXPECT_EQ(courier_->NextDeadline(), first + milliseconds(20));
  Finish(1, second);
  EXPECT_EQ(courier_->NextDeadline(), second) << "nothing is left to wait for";
}

TEST_F(CourierTest, AnIdleDeviceDoesNotMakeCallsFollowEachOtherWithoutPause) {
  CallOnce();
  ASSERT_EQ(given_.size(), 2u);
  Finish(0, begin_ + milliseconds(1));
  Finish(1, begin_ + milliseconds(2));
  EXPECT_EQ(courier_->NextDeadline(), begin_ + milliseconds(5));
}

}  // namespace
}  // namespace capsweep::agent
