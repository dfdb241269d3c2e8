// Coordinator and workers as separate processes, as docs/cli.md shows them.
#include <gmock/gmock.h>

#include <functional>

#include "nlohmann/json.hpp"
#include "processes.h"

namespace capsweep::integration {
namespace {

using ::testing::HasSubstr;

class SeparateTest : public ProcessTest {
 protected:
  // On a port the system chose; the coordinator keeps it over restarts.
  std::unique_ptr<Running> StartCoordinator(const std::string& listen) {
    return Start({"coordinator", "--db", "sweeps.db", "--listen", listen});
  }
  std::unique_ptr<Running> StartWorker(const std::string& id) {
    return Start(
        {"worker", "--coordinator", address_, "--devices", "cpu:1", "--id", id, "--spool", Path("spool-" + id)});
  }

  bool WaitFor(const std::function<bool()>& condition, Duration limit = std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      if (condition()) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }

  nlohmann::json Status() {
    const Finished answer = Call({"status", "--coordinator", address_, "--format", "json"});
    return answer.code == 0 ? nlohmann::json::parse(answer.out) : nlohmann::json::array();
  }

  // A port nobody listens on now, below the ephemeral range.
  void ChoosePort() {
    for (int port = 20000 + getpid() % 10000;; ++port) {
      address_ = StrCat("127.0.0.1:", port);
      if (Call({"status", "--coordinator", address_}).code == 3) {
        return;
      }
    }
  }

  std::string address_;
};

TEST_F(SeparateTest, CoordinatorTwoWorkersAndTheVerbsWorkTogetherThroughKills) {
  ChoosePort();
  Write("s.yaml", SweepFile("separate", "[1, 2]", "[8, 12]", 2, kLongSteps, kLongItems));
  auto coordinator = StartCoordinator(address_);
  ASSERT_TRUE(WaitFor([&] { return Call({"status", "--coordinator", address_}).code == 0; })) << coordinator->Err();
  const Finished taken = Call({"coordinator", "--db", "other.db", "--listen", address_});
  EXPECT_EQ(taken.code, 2) << taken.err;
  EXPECT_THAT(taken.err, HasSubstr(address_.substr(address_.find(':') + 1)));

  const Finished dry = Call({"submit", "s.yaml", "--dry-run", "--coordinator", address_});
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_THAT(dry.out, HasSubstr("8 points, 8 new"));
  EXPECT_EQ(Status().size(), 0U);
  const Finished submitted = Call({"submit", "s.yaml", "--coordinator", address_});
  ASSERT_EQ(submitted.code, 0) << submitted.err;
  EXPECT_EQ(Status()[0]["pending"], 8);
  EXPECT_TRUE(Status()[0]["eta_seconds"].is_null());

  auto first = StartWorker("first");
  auto second = StartWorker("second");
  const auto list_workers = [&] {
    return nlohmann::json::parse(Call({"workers", "--coordinator", address_, "--format", "json"}).out);
  };
  ASSERT_TRUE(WaitFor([&] { return list_workers().size() == 2; }));
  ASSERT_TRUE(WaitFor([&] { return Status()[0]["running"].get<int>() + Status()[0]["done"].get<int>() >= 1; }));
  const auto workers = list_workers();
  EXPECT_EQ(workers[0]["devices"][0]["device"], "cpu:0");

  first->Signal(SIGKILL);
  coordinator->Signal(SIGKILL);
  coordinator->Wait();
  first->Wait();
  coordinator = StartCoordinator(address_);
  first = StartWorker("first");
  ASSERT_TRUE(WaitFor([&] {
    const auto status = Status();
    return !status.empty() && status[0]["state"] == "finished";
  })) << coordinator->Err();
  const auto status = Status()[0];
  EXPECT_EQ(status["done"], 8);
  EXPECT_EQ(status["failed"], 0);

  const Finished csv = Call({"results", "separate", "--coordinator", address_, "--format", "csv"});
  EXPECT_EQ(csv.out, Call({"results", "separate", "--db", "sweeps.db", "--format", "csv"}).out);
  const auto results =
      nlohmann::json::parse(Call({"results", "separate", "--coordinator", address_, "--format", "json"}).out);
  ASSERT_EQ(results.size(), 8U);
  EXPECT_EQ(results[0]["freeze_mlp"], false);
  EXPECT_EQ(results[0]["mode"], "label");
  const std::string where = "heads = 2 AND width = 12";
  EXPECT_EQ(nlohmann::json::parse(
                Call({"results", "separate", "--coordinator", address_, "--where", where, "--format", "json"}).out)
                .size(),
            2U);

  first->Signal(SIGTERM);
  second->Signal(SIGTERM);
  EXPECT_EQ(first->Wait().code, 0);
  EXPECT_EQ(second->Wait().code, 0);
  coordinator->Signal(SIGTERM);
  EXPECT_EQ(coordinator->Wait().code, 0);

  // The same sweep, undisturbed: the same counts.
  ASSERT_EQ(Call({"run", "s.yaml", "--db", "calm.db", "--no-plot", "--no-fit"}).code, 0);
  EXPECT_EQ(Counts("sweeps.db", "separate"), Counts("calm.db", "separate"));
}

}  // namespace
}  // namespace capsweep::integration
