// Real coordinator and agent processes, killed with SIGKILL at seeded random moments and started again, as often as a
// test may take. Promise: every point ends with exactly one result, the one an undisturbed run gives, and nothing is
// left running. The trainer is tests/support/fake_trainer.cc, whose results are a function of the point.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "capsweep/v1/control.grpc.pb.h"
#include "common/hash.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/read_database.h"

namespace capsweep {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kPoints = 240;
constexpr char kSweep[] =
    "sweep: killed\ntask: {mode: label, vocab: 16, seq_len: [4, 8]}\n"
    "model: {heads: [1, 2, 3, 4], head_dim: 8, width: [8, 16]}\ndata: {dataset_size: 60}\n"
    "train: {lr: 3.0e-3, steps: 200}\nrepeats: 15\nlimits: {attempts: 50, max_failures: 1000}\n";

std::string Binary(const char* name) {
  return StrCat(CAPSWEEP_BIN_DIR, "/", name);
}

// A coordinator and two agents with two trainers each, all in one folder.
class Cluster {
 public:
  explicit Cluster(std::string folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    StartCoordinator();
    for (size_t i = 0; i < workers_.size(); ++i) {
      StartWorker(i);
    }
  }

  void StartCoordinator() {
    SubprocessOptions options;
    // The port of the first start is kept, so that agents find the next one.
    const std::string listen = StrCat("127.0.0.1:", port_);
    options.argv = {Binary("capsweep-coordinator"),
                    "--db",
                    Database(),
                    "--listen",
                    listen,
                    "--lease-seconds",
                    "3",
                    "--log-level",
                    "warning"};
    options.pipe_stdout = true;
    options.stderr_path = StrCat(folder_, "/coordinator.log");
    // A killed coordinator's port may take a moment to be free again.
    for (int i = 0; i < 50; ++i) {
      auto started = Subprocess::Start(options);
      ASSERT_TRUE(started.ok()) << started.status();
      coordinator_.emplace(*std::move(started));
      if (ReadPort()) {
        return;
      }
      std::this_thread::sleep_for(milliseconds(100));
    }
    FAIL() << "the coordinator does not start; see " << options.stderr_path;
  }

  void StartWorker(size_t index) {
    SubprocessOptions options;
    const std::string name = StrCat("worker-", index);
    options.argv = {Binary("capsweep-worker"),
                    "--coordinator",
                    StrCat("127.0.0.1:", port_),
                    "--devices",
                    "cpu:2",
                    "--id",
                    name,
                    "--spool",
                    StrCat(folder_, "/", name),
                    "--trainer",
                    Binary("fake_trainer"),
                    "--log-level",
                    "warning"};
    options.env = {{"FAKE_TRAINER_MS", "40"}, {"FAKE_TRAINER_LOG", TrainerLog()}};
    options.stderr_path = StrCat(folder_, "/", name, ".log");
    auto started = Subprocess::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    workers_[index].emplace(*std::move(started));
  }

  void KillCoordinator() {
    coordinator_->Signal(SIGKILL);
    ASSERT_TRUE(coordinator_->Wait(seconds(5)).has_value());
    StartCoordinator();
  }

  void KillWorker(size_t index) {
    kill(workers_[index]->pid(), SIGKILL);  // the process alone: its trainers must notice by themselves
    ASSERT_TRUE(workers_[index]->Wait(seconds(5)).has_value());
    StartWorker(index);
  }

  void KillSomeTrainer(uint64_t choice) {
    const std::vector<pid_t> trainers = Trainers();
    if (!trainers.empty()) {
      kill(trainers[choice % trainers.size()], SIGKILL);
    }
  }

  // SIGTERM everywhere: all exit with 0 and no trainer stays.
  void Stop() {
    for (auto& worker : workers_) {
      worker->Signal(SIGTERM);
    }
    for (auto& worker : workers_) {
      EXPECT_EQ(worker->Wait(seconds(15)), 0);
    }
    coordinator_->Signal(SIGTERM);
    EXPECT_EQ(coordinator_->Wait(seconds(10)), 0);
    for (int i = 0; i < 50 && !Trainers().empty(); ++i) {
      std::this_thread::sleep_for(milliseconds(100));
    }
    EXPECT_THAT(Trainers(), ::testing::IsEmpty()) << "trainers are left running";
  }

  std::unique_ptr<v1::SweepService::Stub> Stub() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::SweepService::NewStub(
        grpc::CreateCustomChannel(StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials(), arguments));
  }

  // Number of done points, or nothing while the coordinator is away.
  std::optional<int64_t> Done() const {
    v1::ListSweepsResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(2));
    const grpc::Status status = Stub()->ListSweeps(&context, {}, &response);
    return status.ok() && response.sweeps_size() == 1 ? std::optional<int64_t>(response.sweeps(0).done())
                                                      : std::nullopt;
  }

  grpc::Status Submit() const {
    v1::SubmitSweepRequest request;
    request.set_text(kSweep);
    v1::SubmitSweepResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    context.set_deadline(std::chrono::system_clock::now() + seconds(10));
    return Stub()->SubmitSweep(&context, request, &response);
  }

  bool WaitUntilFinished(seconds timeout) const {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (Done() != kPoints) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      std::this_thread::sleep_for(milliseconds(50));
    }
    return true;
  }

  std::string Database() const { return StrCat(folder_, "/a.db"); }

 private:
  std::string TrainerLog() const { return StrCat(folder_, "/trainers.log"); }

  // "capsweep-coordinator: serving DATABASE on 127.0.0.1:PORT"; false if it ended without.
  bool ReadPort() {
    std::string line;
    const auto deadline = std::chrono::steady_clock::now() + seconds(20);
    while (line.find('\n') == std::string::npos && std::chrono::steady_clock::now() < deadline) {
      char buffer[256];
      const ssize_t n = read(coordinator_->stdout_fd(), buffer, sizeof buffer);
      if (n > 0) {
        line.append(buffer, static_cast<size_t>(n));
      } else if (n == 0 || coordinator_->Poll().has_value()) {
        return false;
      } else {
        std::this_thread::sleep_for(milliseconds(5));
      }
    }
    EXPECT_THAT(line, ::testing::StartsWith(StrCat("capsweep-coordinator: serving ", Database(), " on 127.0.0.1:")));
    port_ = std::atoi(line.substr(line.rfind(':') + 1).c_str());
    return port_ > 0;
  }

  // Live processes of this cluster's trainers, known by the pids they wrote and checked by their program's name.
  std::vector<pid_t> Trainers() const {
    std::set<pid_t> pids;
    std::ifstream log(TrainerLog());
    for (std::string line; std::getline(log, line);) {
      const pid_t pid = std::atoi(line.c_str());
      std::error_code error;
      const auto program = std::filesystem::read_symlink(StrCat("/proc/", pid, "/exe"), error);
      if (!error && program == std::filesystem::canonical(Binary("fake_trainer"), error)) {
        pids.insert(pid);
      }
    }
    return {pids.begin(), pids.end()};
  }

  const std::string folder_;
  int port_ = 0;
  std::optional<Subprocess> coordinator_;
  std::array<std::optional<Subprocess>, 2> workers_;
};

// What must not depend on who trained a point, when, and how often it was interrupted.
constexpr char kMeasures[] =
    "SELECT point_key || ' ' || items_mem || ' ' || items_mem_best || ' ' || tokens_mem || ' ' || steps || ' ' || "
    "printf('%.17g %.17g %.17g', nll_bits, bits_mem, items_corr) FROM v_results WHERE sweep = 'killed' ORDER BY "
    "point_key";

class KillTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  static void SetUpTestSuite() {
    root_ = StrCat(::testing::TempDir(), "/capsweep-kill-", getpid(), "-", RandomHexId().substr(0, 8));
    Cluster calm(StrCat(root_, "/calm"));
    ASSERT_TRUE(calm.Submit().ok());
    ASSERT_TRUE(calm.WaitUntilFinished(seconds(60)));
    calm.Stop();
    expected_ = Read(calm.Database(), kMeasures);
  }
  // Logs and databases stay when something went wrong.
  static void TearDownTestSuite() {
    if (!::testing::UnitTest::GetInstance()->Failed()) {
      std::filesystem::remove_all(root_);
    }
  }

  static inline std::string root_;
  static inline std::vector<std::string> expected_;  // of an undisturbed run
};

TEST_P(KillTest, EveryPointHasTheResultOfAnUndisturbedRunWhateverIsKilled) {
  ASSERT_EQ(expected_.size(), static_cast<size_t>(kPoints));
  std::mt19937_64 random(GetParam());
  Cluster cluster(StrCat(root_, "/killed-", GetParam()));
  ASSERT_TRUE(cluster.Submit().ok());
  for (int kills = 0; kills < 12; ++kills) {
    std::this_thread::sleep_for(milliseconds(50 + random() % 300));
    const int64_t before = cluster.Done().value_or(0);
    switch (random() % 4) {
      case 0:
      case 1:
        cluster.KillCoordinator();
        EXPECT_GE(cluster.Done().value_or(-1), before) << "results were lost at kill " << kills;
        break;
      case 2:
        cluster.KillWorker(random() % 2);
        break;
      default:
        cluster.KillSomeTrainer(random());
    }
    ASSERT_FALSE(HasFatalFailure()) << "at kill " << kills;
  }
  ASSERT_TRUE(cluster.WaitUntilFinished(seconds(60))) << "done: " << cluster.Done().value_or(-1);
  cluster.Stop();

  EXPECT_EQ(Read(cluster.Database(), kMeasures), expected_);
  EXPECT_THAT(Read(cluster.Database(), "PRAGMA integrity_check"), ::testing::ElementsAre("ok"));
  EXPECT_THAT(Read(cluster.Database(), "SELECT COUNT(*) FROM points WHERE state <> 'done'"),
              ::testing::ElementsAre("0"));
  EXPECT_THAT(Read(cluster.Database(), "SELECT COUNT(*) FROM attempts WHERE ended_ms IS NULL"),
              ::testing::ElementsAre("0"));
  EXPECT_THAT(Read(cluster.Database(), "SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'"),
              ::testing::ElementsAre(std::to_string(kPoints)));
}

INSTANTIATE_TEST_SUITE_P(Seeds, KillTest, ::testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace capsweep
