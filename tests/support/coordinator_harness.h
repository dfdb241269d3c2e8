// A coordinator in this process over real gRPC and a real database, and a scripted worker that trains nothing.
#pragma once

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "capsweep/v1/control.grpc.pb.h"
#include "capsweep/v1/worker.grpc.pb.h"
#include "common/hash.h"
#include "common/param_count.h"
#include "common/point.h"
#include "common/result.h"
#include "common/text.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/server.h"
#include "gtest/gtest.h"
#include "proto/convert.h"

namespace capsweep::testing_support {

// A folder that goes when the object goes.
class TempFolder {
 public:
  TempFolder() : path_(StrCat(::testing::TempDir(), "/capsweep-", getpid(), "-", RandomHexId().substr(0, 8))) {
    std::filesystem::create_directories(path_);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string Path(const std::string& name) const { return StrCat(path_, "/", name); }

 private:
  const std::string path_;
};

// 2 · heads · seeds small points.
inline std::string SweepText(const std::string& name, int heads = 2, int seeds = 3) {
  std::string list = "1";
  for (int h = 2; h <= heads; ++h) {
    StrAppend(&list, ", ", h);
  }
  return StrCat(
      "sweep: ", name, "\ntask: {mode: label, vocab: 16, seq_len: [4, 8]}\nmodel: {heads: [", list,
      "], head_dim: 8, width: 8}\ndata: {dataset_size: 50}\ntrain: {lr: 3.0e-3, steps: 200}\nrepeats: ", seeds, "\n");
}

// What a trainer could have measured: depends on the point alone and passes every check.
inline PointResult PlausibleResult(const PointSpec& point) {
  PointResult r;
  r.point_key = PointKey(point);
  r.targets = MaxTargets(point);
  r.items_mem = static_cast<int64_t>(KeyPrefix(r.point_key) % static_cast<uint64_t>(point.dataset_size + 1));
  r.items_mem_best = r.items_mem;
  r.tokens_mem = r.items_mem * r.targets;
  r.nll_bits = 1.5;
  r.bits_mem =
      static_cast<double>(point.dataset_size * r.targets) * std::log2(static_cast<double>(point.vocab)) - r.nll_bits;
  r.items_corr = static_cast<double>(r.items_mem) * 0.9;
  r.train_loss = 0.25;
  r.steps = BudgetSteps(point);
  r.epochs = r.steps / StepsPerEpoch(point);
  r.presentations = r.steps * point.batch_size;
  r.stop_reason = "budget";
  r.params_total = CountParams(point).total;
  r.params_train = CountParams(point).train;
  r.backend = "torch";
  r.device_kind = "cpu";
  r.device_name = "scripted";
  r.version = "0.1.0";
  r.seconds = 0.5;
  r.curve = {{r.epochs, r.steps, r.items_mem, r.tokens_mem, r.nll_bits, r.train_loss}};
  return r;
}

inline core::Options FastOptions() {
  core::Options options;
  options.lease = std::chrono::seconds(2);
  options.recovery_grace = std::chrono::seconds(2);
  options.sync_interval = std::chrono::milliseconds(200);
  return options;
}

class Coordinator {
 public:
  explicit Coordinator(const std::string& database, core::Options core = FastOptions()) {
    service::EngineOptions options;
    options.database = database;
    options.core = core;
    options.tick = std::chrono::milliseconds(20);
    auto opened = service::Engine::Open(std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    engine = *std::move(opened);
    auto started = service::Server::Start(engine.get(), {.listen = "127.0.0.1:0"});
    EXPECT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    channel = NewChannel();
    sweeps = v1::SweepService::NewStub(channel);
    workers = v1::WorkerService::NewStub(channel);
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server->address(), grpc::InsecureChannelCredentials(), arguments);
  }

  grpc::Status Submit(const std::string& text, v1::SubmitSweepResponse* response = nullptr, bool dry_run = false,
                      bool extend = false) {
    v1::SubmitSweepRequest request;
    request.set_text(text);
    request.set_file_name("test.yaml");
    request.set_dry_run(dry_run);
    v1::SubmitSweepResponse ignored;
    grpc::ClientContext context;
    response = response == nullptr ? &ignored : response;
    return extend ? sweeps->ExtendSweep(&context, request, response) : sweeps->SubmitSweep(&context, request, response);
  }

  v1::SweepStatus Status(const std::string& sweep) {
    v1::ListSweepsRequest request;
    request.set_sweep(sweep);
    v1::ListSweepsResponse response;
    grpc::ClientContext context;
    const grpc::Status status = sweeps->ListSweeps(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.sweeps_size() == 1 ? response.sweeps(0) : v1::SweepStatus();
  }

  grpc::Status Query(const std::string& sql, v1::TableResponse* response) {
    v1::QueryRequest request;
    request.set_sql(sql);
    grpc::ClientContext context;
    return sweeps->Query(&context, request, response);
  }

  int64_t QueryInt(const std::string& sql) {
    v1::TableResponse table;
    const grpc::Status status = Query(sql, &table);
    EXPECT_TRUE(status.ok()) << sql << ": " << status.error_message();
    return table.rows_size() == 1 ? table.rows(0).values(0).integer() : -1;
  }

  std::unique_ptr<service::Engine> engine;
  std::unique_ptr<service::Server> server;  // after the engine: it goes first
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SweepService::Stub> sweeps;
  std::unique_ptr<v1::WorkerService::Stub> workers;
};

// Says what it holds, takes what it is given, "trains" everything at once.
class ScriptedWorker {
 public:
  ScriptedWorker(v1::WorkerService::Stub* stub, std::string id, int slots = 4) : stub_(stub), slots_(slots) {
    base_.set_worker_id(std::move(id));
    base_.set_incarnation(NextStart());
    base_.set_host("test");
    base_.set_version("0.1.0");
  }

  // A new start of the same agent, with nothing in memory.
  void Restart() {
    base_.set_incarnation(NextStart());
    sequence_ = 0;
    held.clear();
    finished.clear();
  }

  v1::SyncRequest Request() {
    v1::SyncRequest request = base_;
    request.set_sequence(++sequence_);
    v1::Device* device = request.add_devices();
    device->set_name("cpu:0");
    device->set_kind("cpu");
    device->set_memory_bytes(int64_t{1} << 30);
    device->set_slots(slots_);
    device->set_ready(true);
    for (const auto& [id, assignment] : held) {
      v1::HeldAttempt* out = device->add_held();
      *out->mutable_id() = assignment.id();
      out->set_running(true);
    }
    for (const auto& [id, result] : finished) {
      *request.add_results() = result;
    }
    return request;
  }

  grpc::Status Send(const v1::SyncRequest& request, v1::SyncResponse* response, int timeout_seconds = 10) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(timeout_seconds));
    return stub_->Sync(&context, request, response);
  }

  void Take(const v1::SyncResponse& response) {
    base_.set_database_id(response.database_id());
    for (const v1::AttemptId& id : response.drop()) {
      held.erase(Key(id));
    }
    for (const v1::Acknowledgement& ack : response.acknowledged()) {
      finished.erase(Key(ack.id()));
      verdicts.push_back(ack);
    }
    for (const v1::Assignment& assignment : response.assignments()) {
      held[Key(assignment.id())] = assignment;
    }
  }

  grpc::Status Sync(v1::SyncResponse* response = nullptr, double max_wait_seconds = 0) {
    v1::SyncRequest request = Request();
    request.set_max_wait_seconds(max_wait_seconds);
    v1::SyncResponse ignored;
    response = response == nullptr ? &ignored : response;
    const grpc::Status status = Send(request, response);
    if (status.ok()) {
      Take(*response);
    }
    return status;
  }

  void FinishAll() {
    for (const auto& [id, assignment] : held) {
      finished[id] = Deliver(assignment);
    }
    held.clear();
  }

  static v1::DeliveredResult Deliver(const v1::Assignment& assignment) {
    v1::DeliveredResult out;
    *out.mutable_id() = assignment.id();
    out.set_device("cpu:0");
    const absl::StatusOr<PointSpec> point = PointFromProto(assignment.point());
    EXPECT_TRUE(point.ok()) << point.status();
    ResultToProto(PlausibleResult(*point), out.mutable_result());
    return out;
  }

  // Works until `enough` says so; false after the timeout.
  bool WorkUntil(const std::function<bool()>& enough, std::chrono::seconds timeout = std::chrono::seconds(20)) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (!enough()) {
      const grpc::Status status = Sync();
      if (!status.ok() || std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "worker gave up: " << status.error_message();
        return false;
      }
      FinishAll();
    }
    return true;
  }

  using AttemptKey = std::pair<int64_t, int32_t>;
  static AttemptKey Key(const v1::AttemptId& id) { return {id.point_id(), id.attempt()}; }

  std::map<AttemptKey, v1::Assignment> held;
  std::map<AttemptKey, v1::DeliveredResult> finished;  // not yet acknowledged
  std::vector<v1::Acknowledgement> verdicts;

 private:
  // Sorts after every earlier start, as an agent's name for its start does.
  static std::string NextStart() {
    static std::atomic<int64_t> starts{0};
    const std::string number = std::to_string(++starts);
    return StrCat(std::string(16 - number.size(), '0'), number, "-", RandomHexId().substr(0, 8));
  }

  v1::WorkerService::Stub* const stub_;
  const int slots_;
  v1::SyncRequest base_;
  int64_t sequence_ = 0;
};

}  // namespace capsweep::testing_support
