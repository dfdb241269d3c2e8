// capsweep-worker as a process: signals, parents, kill -9, wrong words. After each, nothing may be left running.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "common/subprocess.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/agent_testing.h"
#include "tests/unit/agent/fake_coordinator.h"

namespace capsweep::agent {
namespace {

using ::testing::HasSubstr;
using Record = FakeCoordinator::Record;

constexpr Duration kLong = std::chrono::seconds(15);
constexpr const char* kWorker = CAPSWEEP_BIN_DIR "/capsweep-worker";

bool Alive(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string pid_text, name, state;
  return stat >> pid_text >> name >> state && state != "Z";
}

class WorkerProcessTest : public ::testing::Test {
 protected:
  SubprocessOptions Command(std::vector<std::string> more = {}) {
    SubprocessOptions options;
    options.argv = {kWorker,
                    "--coordinator",
                    coordinator_.address(),
                    "--devices",
                    "cpu:2",
                    "--trainer",
                    CAPSWEEP_BIN_DIR "/fake_trainer",
                    "--spool",
                    folder_.path() + "/spool"};
    options.argv.insert(options.argv.end(), more.begin(), more.end());
    options.env = {{"FAKE_TRAINER_LOG", folder_.path() + "/log"}, {"FAKE_TRAINER_MS", "60000"}};
    options.stderr_path = folder_.path() + "/stderr";
    return options;
  }
  Subprocess Start(const SubprocessOptions& options) {
    auto child = Subprocess::Start(options);
    EXPECT_TRUE(child.ok()) << child.status();
    return std::move(*child);
  }
  std::string Stderr() const {
    std::ifstream file(folder_.path() + "/stderr");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::set<pid_t> Trainers() const {
    std::ifstream log(folder_.path() + "/log");
    std::set<pid_t> pids;
    std::string attempt;
    for (pid_t pid; log >> pid >> attempt;) pids.insert(pid);
    return pids;
  }
  std::set<pid_t> AwaitTrainers(size_t count) const {
    for (int i = 0; i < 2000 && Trainers().size() < count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const std::set<pid_t> pids = Trainers();
    EXPECT_GE(pids.size(), count) << Stderr();
    return pids;
  }
  static bool AwaitGone(const std::set<pid_t>& pids) {
    for (int i = 0; i < 1000; ++i) {
      if (std::none_of(pids.begin(), pids.end(), Alive)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  TempFolder folder_;
  FakeCoordinator coordinator_;
};

TEST_F(WorkerProcessTest, SigtermHandsBackAndLeavesNothingRunning) {
  coordinator_.AddPoints(4);
  Subprocess worker = Start(Command());
  const std::set<pid_t> trainers = AwaitTrainers(2);
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(kLong), 0) << Stderr();
  EXPECT_TRUE(AwaitGone(trainers));
  EXPECT_EQ(coordinator_.Seen().handed_back, 4);
  EXPECT_TRUE(coordinator_.Seen().worker_left);
}

TEST_F(WorkerProcessTest, SecondSignalEndsAtOnce) {
  coordinator_.SetDepth(1);
  coordinator_.AddPoints(2);
  SubprocessOptions options = Command({"--grace-seconds", "60"});
  options.env["FAKE_TRAINER_MS"] = "100";
  options.env["FAKE_TRAINER_HANG_ON"] = "init_seed";  // never answers `stop`
  Subprocess worker = Start(options);
  const std::set<pid_t> trainers = AwaitTrainers(2);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(std::chrono::milliseconds(300)), std::nullopt);
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(kLong), 143);
  for (pid_t trainer : trainers) kill(trainer, SIGKILL);  // these hang by design, deaf even to the end of their input
}

TEST_F(WorkerProcessTest, KillNineOfTheAgentTakesItsTrainersAlong) {
  coordinator_.AddPoints(4);
  Subprocess worker = Start(Command());
  const std::set<pid_t> trainers = AwaitTrainers(2);
  worker.Signal(SIGKILL);
  EXPECT_EQ(worker.Wait(kLong), 128 + SIGKILL);
  EXPECT_TRUE(AwaitGone(trainers));
}

TEST_F(WorkerProcessTest, KillNineAndRestartGivesEveryPointOneResult) {
  coordinator_.AddPoints(30);
  SubprocessOptions options = Command();
  options.env["FAKE_TRAINER_MS"] = "20";
  for (int kills = 0; kills < 3; ++kills) {
    Subprocess worker = Start(options);
    ASSERT_TRUE(coordinator_.AwaitResults(static_cast<size_t>(6 * (kills + 1)))) << Stderr();
    worker.Signal(SIGKILL);
    worker.Wait(kLong);
  }
  Subprocess worker = Start(options);
  ASSERT_TRUE(coordinator_.AwaitResults(30)) << Stderr();
  const Record seen = coordinator_.Seen();
  EXPECT_EQ(seen.incarnations, 4);
  for (const auto& [point, result] : seen.results) {
    EXPECT_TRUE(ValidateResult(TestPoint(static_cast<uint64_t>(point)), result).ok());
  }
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(kLong), 0);
  EXPECT_TRUE(AwaitGone(Trainers()));
}

TEST_F(WorkerProcessTest, KillNineOfATrainerIsReportedAndHealed) {
  coordinator_.SetDepth(1);
  coordinator_.AddPoints(2);
  Subprocess worker = Start(Command());
  const std::set<pid_t> trainers = AwaitTrainers(2);
  kill(*trainers.begin(), SIGKILL);
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.failures.size() == 1; }));
  EXPECT_EQ(coordinator_.Seen().failures[0].cause, "trainer_died");
  AwaitTrainers(3);  // the point runs again, in a new trainer
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(kLong), 0);
  EXPECT_TRUE(AwaitGone(Trainers()));
}

TEST_F(WorkerProcessTest, DeathOfTheParentEndsEverythingAtOnce) {
  coordinator_.AddPoints(4);
  SubprocessOptions options = Command({"--exit-with-parent"});
  options.pipe_stdin = true;
  Subprocess worker = Start(options);
  const std::set<pid_t> trainers = AwaitTrainers(2);
  worker.CloseStdin();  // what the kernel does when a parent dies
  const Instant closed = std::chrono::steady_clock::now();
  EXPECT_TRUE(worker.Wait(kLong).has_value());
  EXPECT_TRUE(AwaitGone(trainers));
  EXPECT_LT(ToSeconds(std::chrono::steady_clock::now() - closed), 2.0);
}

TEST_F(WorkerProcessTest, WorkerOutlivesTheEndOfItsInputWithoutTheFlag) {
  coordinator_.AddPoints(1);
  SubprocessOptions options = Command();
  options.env["FAKE_TRAINER_MS"] = "200";
  options.pipe_stdin = true;
  Subprocess worker = Start(options);
  worker.CloseStdin();
  EXPECT_TRUE(coordinator_.AwaitResults(1));
  worker.Signal(SIGINT);
  EXPECT_EQ(worker.Wait(kLong), 0);
}

TEST_F(WorkerProcessTest, SecondWorkerOnTheSameSpoolIsRefused) {
  Subprocess first = Start(Command());
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.calls > 0; }));
  SubprocessOptions options = Command({"--exit-with-parent"});
  options.pipe_stdin = true;
  Subprocess second = Start(options);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(second.Poll(), std::nullopt);  // waits for the first to be gone
  second.CloseStdin();                     // and does not outlive its parent over it
  EXPECT_EQ(second.Wait(kLong), 2);
  EXPECT_THAT(Stderr(), HasSubstr("in use by another worker"));
}

TEST_F(WorkerProcessTest, WorkersWithoutNamesTakeTheNextNumber) {
  SubprocessOptions options = Command();
  options.argv.resize(options.argv.size() - 2);  // no --spool
  options.env["XDG_STATE_HOME"] = folder_.path() + "/state";
  Subprocess first = Start(options);
  ASSERT_TRUE(coordinator_.Await([](const Record& r) { return r.incarnations == 1; }));
  Subprocess second = Start(options);
  EXPECT_TRUE(coordinator_.Await([](const Record& r) { return r.incarnations >= 2; })) << Stderr();
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path() + "/state/capsweep/spool"), {}), 2);
}

TEST_F(WorkerProcessTest, WrongWordsEndWithCodeTwoAndAMessage) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--devices", "gpu:many"}, "gpu:many"},
      {{"--trainer", "/nonexistent"}, "/nonexistent"},
      {{"--labels", "nonsense"}, "nonsense"},
      {{"--id", "a/b"}, "a/b"},
      {{"--hang-seconds", "nan"}, "--hang-seconds"},
      {{"--grace-seconds", "-1"}, "--grace-seconds"},
      {{"--allocation-seconds", "5"}, "--allocation-seconds"},
      {{"--log-level", "loud"}, "loud"},
      {{"--no-such-option"}, "--no-such-option"},
  };
  for (const auto& [words, expected] : cases) {
    SubprocessOptions options = Command();
    for (const std::string& word : words) {
      // The last of an option given twice would be an error of its own.
      auto given = std::find(options.argv.begin(), options.argv.end(), word);
      if (given != options.argv.end()) options.argv.erase(given, given + 2);
    }
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    Subprocess worker = Start(options);
    EXPECT_EQ(worker.Wait(kLong), 2) << expected;
    EXPECT_THAT(Stderr(), HasSubstr(expected));
  }
  SubprocessOptions remote = Command();
  remote.argv[2] = "example.org:7171";
  EXPECT_EQ(Start(remote).Wait(kLong), 2);
  EXPECT_THAT(Stderr(), HasSubstr("--i-know-this-is-insecure"));
  EXPECT_EQ(coordinator_.Seen().calls, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/spool"));
}

}  // namespace
}  // namespace capsweep::agent
