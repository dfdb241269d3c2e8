// A coordinator, agents and fake trainers as real processes in one folder, started again whenever they die: what a
// service manager does, and nothing more. And the questions asked of what they leave behind.
#pragma once

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "capsweep/v1/control.grpc.pb.h"
#include "capsweep/v1/worker.grpc.pb.h"
#include "common/hash.h"
#include "common/subprocess.h"
#include "common/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/convert.h"
#include "tests/support/fake_result.h"
#include "tests/support/read_database.h"

namespace capsweep::fault {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Environment = std::map<std::string, std::string>;

inline std::string Binary(const char* name) {
  return StrCat(CAPSWEEP_BIN_DIR, "/", name);
}

// What must not depend on who trained a point, when, and how often it was interrupted.
inline constexpr char kMeasures[] =
    "SELECT point_key || ' ' || items_mem || ' ' || items_mem_best || ' ' || tokens_mem || ' ' || steps || ' ' || "
    "epochs || ' ' || stop_reason || ' ' || printf('%.17g %.17g %.17g', nll_bits, bits_mem, items_corr) FROM v_results "
    "ORDER BY sweep, point_key";

// A free port of this host, below those that the system gives to clients, so that nobody takes it between two starts.
inline int ChoosePort() {
  static std::atomic<int> next{12000 + static_cast<int>(getpid() * 61L % 18000)};
  while (true) {
    const int port = 12000 + next++ % 18000;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    if (free) return port;
  }
}

struct ClusterOptions {
  std::string sweep;  // text of the sweep file
  int points = 0;     // of it
  int workers = 2;    // agents
  int devices = 2;    // trainers of each
  double lease_seconds = 2;
  int trainer_ms = 10;
  Environment environment;  // of every process
  Environment worker_environment;
};

class Cluster {
 public:
  Cluster(std::string folder, ClusterOptions options)
      : folder_(std::move(folder)), options_(std::move(options)), port_(ChoosePort()) {
    std::filesystem::create_directories(folder_);
    children_.resize(static_cast<size_t>(options_.workers) + 1);
    options_.environment["FAKE_TRAINER_MS"] = std::to_string(options_.trainer_ms);
    options_.environment["FAKE_TRAINER_LOG"] = StrCat(folder_, "/trainers.log");
  }

  // Everything down is started; everything that was killed counts as a death. What ends by itself with another code
  // than 0 is a failure of the test, but for a port that is not free again yet.
  void Supervise() {
    for (size_t i = 0; i < children_.size(); ++i) {
      auto& child = children_[i];
      if (child.has_value()) {
        const std::optional<int> code = child->Poll();
        if (!code.has_value()) continue;
        child.reset();
        if (*code == 128 + SIGKILL) {
          ++deaths_;
        } else {
          EXPECT_TRUE(expected_exits_.contains(*code))
              << (i == 0 ? "coordinator" : "worker") << " ended with " << *code << "; see " << folder_;
        }
      }
      if (!held_down_.contains(i)) Start(i);
    }
  }

  void SubmitUntilTaken() {
    v1::SubmitSweepRequest request;
    request.set_text(options_.sweep);
    request.set_file_name("fault.yaml");
    CallUntilTaken([&](grpc::ClientContext& context) {
      v1::SubmitSweepResponse response;
      return Sweeps()->SubmitSweep(&context, request, &response);
    });
  }

  void ChangeUntilTaken(bool pause) {
    ChangeUntilTaken(pause ? v1::ChangeSweepRequest::PAUSE : v1::ChangeSweepRequest::RESUME);
  }
  void RetryUntilTaken() { ChangeUntilTaken(v1::ChangeSweepRequest::RETRY_FAILED); }
  void ChangeUntilTaken(v1::ChangeSweepRequest::Verb verb) {
    v1::ChangeSweepRequest request;
    request.set_sweep("fault");
    request.set_verb(verb);
    CallUntilTaken([&](grpc::ClientContext& context) {
      v1::ChangeSweepResponse response;
      return Sweeps()->ChangeSweep(&context, request, &response);
    });
  }

  // Number of done points, or nothing while the coordinator is away.
  std::optional<int64_t> Done() const {
    v1::ListSweepsResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(2));
    const grpc::Status status = Sweeps()->ListSweeps(&context, {}, &response);
    return status.ok() && response.sweeps_size() == 1 ? std::optional<int64_t>(response.sweeps(0).done())
                                                      : std::nullopt;
  }

  // Supervises until all points are done; what was counted as done once stays so.
  bool FinishWithin(seconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (std::chrono::steady_clock::now() < deadline) {
      Supervise();
      const std::optional<int64_t> done = Done();
      if (done.has_value()) {
        EXPECT_GE(*done, most_done_) << "results were lost";
        most_done_ = std::max(most_done_, *done);
        if (*done == options_.points) return true;
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }

  bool WaitForDone(int64_t wanted, seconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (Done().value_or(-1) < wanted) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      Supervise();
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }

  void SignalCoordinator(int signal) { Signal(0, signal); }
  void SignalWorker(int index, int signal) { Signal(static_cast<size_t>(index) + 1, signal); }
  // Started again by the next Supervise, unless held down.
  void KillCoordinator() { Kill(0); }
  void KillWorker(int index) { Kill(static_cast<size_t>(index) + 1); }
  void HoldCoordinatorDown(bool down) { Hold(0, down); }
  void HoldWorkerDown(int index, bool down) { Hold(static_cast<size_t>(index) + 1, down); }
  // From its next start on an agent calls this address; one that runs is killed.
  void RouteWorker(int index, const std::string& address) {
    routes_[static_cast<size_t>(index) + 1] = address;
    Kill(static_cast<size_t>(index) + 1);
  }
  // SIGTERM: hands back what it trains; started again by the next Supervise.
  void RestartWorkerGently(int index) {
    auto& child = children_[static_cast<size_t>(index) + 1];
    if (!child.has_value()) return;
    child->Signal(SIGTERM);
    const std::optional<int> code = child->Wait(seconds(30));
    EXPECT_TRUE(IsOrderly(code)) << code.value_or(-1);
    if (code == 128 + SIGKILL) ++deaths_;
    child.reset();
  }

  // SIGTERM everywhere; what is killed on the way down is what the test asked for.
  void Stop() {
    for (size_t i = children_.size(); i-- > 0;) {
      auto& child = children_[i];
      if (!child.has_value()) continue;
      child->Signal(SIGTERM);
      const std::optional<int> code = child->Wait(seconds(30));
      EXPECT_TRUE(IsOrderly(code)) << "ended with " << code.value_or(-1);
      child.reset();
    }
    for (int i = 0; i < 100 && !Trainers().empty(); ++i) std::this_thread::sleep_for(milliseconds(50));
    EXPECT_THAT(Trainers(), ::testing::IsEmpty()) << "trainers are left running";
  }

  // The promises, on the file that is left.
  void ExpectResults(const std::vector<std::string>& expected) const {
    EXPECT_EQ(Read(Database(), kMeasures), expected);
    EXPECT_THAT(Read(Database(), "PRAGMA integrity_check"), ::testing::ElementsAre("ok"));
    EXPECT_THAT(Read(Database(), "SELECT COUNT(*) FROM points WHERE state <> 'done'"), ::testing::ElementsAre("0"));
    EXPECT_THAT(Read(Database(), "SELECT COUNT(*) FROM attempts WHERE ended_ms IS NULL"), ::testing::ElementsAre("0"));
    EXPECT_THAT(Read(Database(), "SELECT COUNT(*) FROM attempts WHERE outcome = 'accepted'"),
                ::testing::ElementsAre(std::to_string(options_.points)));
    EXPECT_THAT(Read(Database(),
                     "SELECT COUNT(*) FROM attempts JOIN results USING (point_id, attempt) WHERE outcome = "
                     "'accepted' AND attempts.worker = results.worker"),
                ::testing::ElementsAre(std::to_string(options_.points)));
  }

  std::string Database() const { return StrCat(folder_, "/a.db"); }
  std::string Folder() const { return folder_; }
  std::string Address() const { return StrCat("127.0.0.1:", port_); }
  std::string SpoolOf(int index) const { return StrCat(folder_, "/worker-", index); }
  int port() const { return port_; }
  // After an older database was put in place.
  void ForgetProgress() { most_done_ = 0; }
  int deaths() const { return deaths_; }
  void ExpectExit(int code) { expected_exits_.insert(code); }
  ClusterOptions& options() { return options_; }

  std::unique_ptr<v1::SweepService::Stub> Sweeps() const { return v1::SweepService::NewStub(NewChannel()); }
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    return grpc::CreateCustomChannel(Address(), grpc::InsecureChannelCredentials(), arguments);
  }

  // Live processes of this cluster's trainers, known by the pids they wrote and checked by their program's name.
  std::vector<pid_t> Trainers() const {
    std::set<pid_t> pids;
    std::ifstream log(StrCat(folder_, "/trainers.log"));
    for (std::string line; std::getline(log, line);) {
      const pid_t pid = std::atoi(line.c_str());
      std::error_code error;
      const auto program = std::filesystem::read_symlink(StrCat("/proc/", pid, "/exe"), error);
      if (!error && program == std::filesystem::canonical(Binary("fake_trainer"), error)) pids.insert(pid);
    }
    return {pids.begin(), pids.end()};
  }

 private:
  // A call that is made again while the coordinator is away.
  template <typename Call>
  void CallUntilTaken(const Call& call) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      Supervise();
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + seconds(2));
      const grpc::Status status = call(context);
      if (status.ok()) return;
      ASSERT_TRUE(status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                  status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
          << status.error_message();
      std::this_thread::sleep_for(milliseconds(20));
    }
    FAIL() << "the call was never taken";
  }

  // By itself, by the test, or told to stop before it could listen.
  static bool IsOrderly(std::optional<int> code) { return code == 0 || code == 128 + SIGKILL || code == 128 + SIGTERM; }
  void Start(size_t i) {
    SubprocessOptions how;
    how.env = options_.environment;
    how.pipe_stdout = true;  // its one line, which nobody reads
    if (i == 0) {
      how.argv = {Binary("capsweep-coordinator"), "--db",        Database(), "--listen", Address(), "--lease-seconds",
                  StrCat(options_.lease_seconds), "--log-level", "warning"};
      how.stderr_path = StrCat(folder_, "/coordinator.log");
    } else {
      const std::string name = StrCat("worker-", i - 1);
      how.argv = {Binary("capsweep-worker"),
                  "--coordinator",
                  routes_.contains(i) ? routes_.at(i) : Address(),
                  "--devices",
                  StrCat("cpu:", options_.devices),
                  "--id",
                  name,
                  "--spool",
                  StrCat(folder_, "/", name),
                  "--trainer",
                  Binary("fake_trainer"),
                  "--log-level",
                  "warning"};
      how.env.insert(options_.worker_environment.begin(), options_.worker_environment.end());
      how.stderr_path = StrCat(folder_, "/", name, ".log");
    }
    auto started = Subprocess::Start(how);
    ASSERT_TRUE(started.ok()) << started.status();
    children_[i].emplace(*std::move(started));
  }

  void Signal(size_t i, int signal) {
    if (children_[i].has_value()) kill(children_[i]->pid(), signal);
  }
  void Kill(size_t i) {
    if (!children_[i].has_value()) return;
    kill(children_[i]->pid(), SIGKILL);  // the process alone: its trainers must notice by themselves
    EXPECT_TRUE(children_[i]->Wait(seconds(10)).has_value());
    children_[i].reset();
    ++deaths_;
  }
  void Hold(size_t i, bool down) {
    if (!down) {
      held_down_.erase(i);
      return;
    }
    held_down_.insert(i);
    Kill(i);
  }

  const std::string folder_;
  ClusterOptions options_;
  const int port_;
  std::vector<std::optional<Subprocess>> children_;  // the coordinator, then the agents
  std::set<size_t> held_down_;
  std::map<size_t, std::string> routes_;  // of agents that do not call the coordinator directly
  std::set<int> expected_exits_ = {0};
  int deaths_ = 0;
  int64_t most_done_ = 0;
};

// A worker inside the test that trains nothing and remembers every result it was told is accepted.
class Bookkeeper {
 public:
  using Key = std::pair<int64_t, int32_t>;

  Bookkeeper(std::shared_ptr<grpc::Channel> channel, std::string name)
      : stub_(v1::WorkerService::NewStub(std::move(channel))),
        thread_([this, name = std::move(name)] { Work(name); }) {}
  ~Bookkeeper() { Stop(); }
  // What was accepted, as "point attempt".
  std::set<std::string> Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return accepted_;
  }

 private:
  void Work(const std::string& name) {
    std::map<Key, v1::Assignment> held;
    std::map<Key, v1::DeliveredResult> finished;
    v1::SyncRequest base;
    base.set_worker_id(name);
    base.set_incarnation(StrCat("0000000000000001-", RandomHexId().substr(0, 8)));
    base.set_host("test");
    base.set_version("0.1.0");
    for (int64_t sequence = 1;; ++sequence) {
      const bool last = stop_;
      v1::SyncRequest request = base;
      request.set_sequence(sequence);
      request.set_leaving(last);
      v1::Device* device = request.add_devices();
      device->set_name("cpu:0");
      device->set_kind("cpu");
      device->set_slots(1);
      device->set_ready(true);
      for (const auto& [id, assignment] : held) *device->add_held()->mutable_id() = assignment.id();
      for (const auto& [id, result] : finished) *request.add_results() = result;
      v1::SyncResponse response;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + seconds(5));
      if (stub_->Sync(&context, request, &response).ok()) {
        base.set_database_id(response.database_id());
        for (const v1::AttemptId& id : response.drop()) held.erase(KeyOf(id));
        for (const v1::Acknowledgement& ack : response.acknowledged()) {
          finished.erase(KeyOf(ack.id()));
          if (ack.verdict() == v1::Acknowledgement::ACCEPTED) {
            accepted_.insert(StrCat(ack.id().point_id(), " ", ack.id().attempt()));
          }
        }
        for (auto& [id, assignment] : held) finished[id] = Finish(assignment);
        held.clear();
        for (const v1::Assignment& a : response.assignments()) held[KeyOf(a.id())] = a;
      }
      if (last) return;
      std::this_thread::sleep_for(milliseconds(25));  // as long as a point takes here
    }
  }

  static Key KeyOf(const v1::AttemptId& id) { return {id.point_id(), id.attempt()}; }
  static v1::DeliveredResult Finish(const v1::Assignment& assignment) {
    v1::DeliveredResult out;
    *out.mutable_id() = assignment.id();
    out.set_device("cpu:0");
    const absl::StatusOr<PointSpec> point = PointFromProto(assignment.point());
    EXPECT_TRUE(point.ok()) << point.status();
    if (point.ok()) ResultToProto(FakeResult(*point), out.mutable_result());
    return out;
  }

  std::unique_ptr<v1::WorkerService::Stub> stub_;
  std::atomic<bool> stop_{false};
  std::set<std::string> accepted_;  // of the thread until it is joined
  std::thread thread_;
};

// A folder that stays when the test failed.
class FaultFolder {
 public:
  FaultFolder() : path_(StrCat(::testing::TempDir(), "/capsweep-fault-", getpid(), "-", RandomHexId().substr(0, 8))) {
    std::filesystem::create_directories(path_);
  }
  FaultFolder(const FaultFolder&) = delete;
  FaultFolder& operator=(const FaultFolder&) = delete;
  ~FaultFolder() {
    std::error_code ignored;
    if (!::testing::UnitTest::GetInstance()->Failed()) std::filesystem::remove_all(path_, ignored);
  }
  std::string Path(const std::string& name) const { return StrCat(path_, "/", name); }

 private:
  const std::string path_;
};

// 4 · widths · repeats points.
inline std::string SweepText(int repeats, const std::string& widths = "[8, 16]") {
  return StrCat(
      "sweep: fault\ntask: {mode: label, vocab: 16, seq_len: [4, 8]}\nmodel: {heads: [1, 2], head_dim: 8, "
      "width: ",
      widths, "}\ndata: {dataset_size: 60}\ntrain: {lr: 3.0e-3, steps: 200}\nrepeats: ", repeats,
      "\nlimits: {attempts: 200, max_failures: 100000}\n");
}

// The results of the same sweep when nothing happens.
inline std::vector<std::string> QuietRun(const std::string& folder, ClusterOptions options) {
  Cluster quiet(folder, std::move(options));
  quiet.SubmitUntilTaken();
  EXPECT_TRUE(quiet.FinishWithin(seconds(60)));
  quiet.Stop();
  EXPECT_EQ(quiet.deaths(), 0);
  return Read(quiet.Database(), kMeasures);
}

}  // namespace capsweep::fault
