// Durable no-op points per second through the engine (core, store with synchronous=FULL, assignment details), without
// and with gRPC, against a named baseline of the same run: one SQLite transaction per result. Also prints what one
// fsync costs here, because that decides every durability figure.
//
//   bench_dispatch [POINTS=20000]        text table; --json prints one line with commit and machine
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "bench/bench_common.h"
#include "capsweep/v1/worker.grpc.pb.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/text.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/server.h"
#include "proto/convert.h"

namespace capsweep {
namespace {

struct Row {
  std::string name;
  double points_per_second = 0;
  double ratio = 0;
};

[[noreturn]] void Stop(const absl::Status& status) {
  std::fprintf(stderr, "bench_dispatch: %s\n", status.ToString().c_str());
  std::exit(1);
}

double SecondsOf(const std::function<void()>& work) {
  const Instant start = Clock::Real().Now();
  work();
  return ToSeconds(Clock::Real().Now() - start);
}

std::string SweepText(int64_t points) {
  return StrCat("sweep: bench\ntask: {mode: label, vocab: 16, seq_len: 8}\nmodel: {heads: 1, width: 8}\n",
                "data: {dataset_size: 16}\ntrain: {lr: 0.001, batch_size: 16, steps: 1}\nrepeats: ", points, "\n");
}

// One worker in this process; keeps asking until the engine has nothing open.
class LocalWorker {
 public:
  LocalWorker(service::Engine* engine, std::string name) : engine_(engine), name_(std::move(name)) {}

  void Run(std::atomic<int64_t>* left) {
    std::vector<core::ResultReport> results;
    while (left->load() > 0) {
      core::WorkerSync sync;
      sync.token = engine_->NewToken();
      sync.worker = WorkerId(name_);
      sync.incarnation = Incarnation("1");
      sync.sequence = ++sequence_;
      sync.devices.push_back({.name = "cpu:0", .kind = "cpu", .slots = 256});
      sync.results = std::exchange(results, {});
      const auto delivered = static_cast<int64_t>(sync.results.size());
      std::promise<absl::StatusOr<service::SyncAnswer>> promise;
      auto future = promise.get_future();
      engine_->Sync(std::move(sync), [&](absl::StatusOr<service::SyncAnswer> a) { promise.set_value(std::move(a)); });
      const auto answer = future.get();
      if (!answer.ok()) Stop(answer.status());
      left->fetch_sub(delivered);
      for (size_t i = 0; i < answer->details.size(); ++i) {
        const store::PointDetails& details = *answer->details[i];
        results.push_back({answer->reply.assignments[i].id, "cpu:0", KeyPrefix(details.point_key),
                           std::make_shared<PointResult>(bench::NoOpResult(details.point))});
      }
    }
  }

 private:
  service::Engine* engine_;
  std::string name_;
  int64_t sequence_ = 0;
};

void RunRemoteWorker(const std::string& address, const std::string& name, std::atomic<int64_t>* left) {
  auto stub = v1::WorkerService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::SyncRequest request;
  int64_t sequence = 0;
  while (left->load() > 0) {
    request.set_worker_id(name);
    request.set_incarnation("1");
    request.set_sequence(++sequence);
    request.set_host("bench");
    v1::Device* device = request.add_devices();
    device->set_name("cpu:0");
    device->set_kind("cpu");
    device->set_slots(256);
    device->set_ready(true);
    grpc::ClientContext context;
    v1::SyncResponse response;
    const grpc::Status status = stub->Sync(&context, request, &response);
    if (!status.ok()) Stop(FromGrpc(status));
    left->fetch_sub(request.results_size());
    request.Clear();
    request.set_database_id(response.database_id());
    for (const v1::Assignment& a : response.assignments()) {
      auto point = PointFromProto(a.point());
      if (!point.ok()) Stop(point.status());
      v1::DeliveredResult* result = request.add_results();
      *result->mutable_id() = a.id();
      result->set_device("cpu:0");
      ResultToProto(bench::NoOpResult(*point), result->mutable_result());
    }
  }
}

std::unique_ptr<service::Engine> OpenWithSweep(const std::string& file, int64_t points) {
  service::EngineOptions options;
  options.database = file;
  auto engine = service::Engine::Open(options);
  if (!engine.ok()) Stop(engine.status());
  const auto counts = (*engine)->Submit(SweepText(points), "bench.yaml", 0, false, false);
  if (!counts.ok()) Stop(counts.status());
  return *std::move(engine);
}

double OnePerCommit(const std::string& folder, int64_t points) {
  auto engine = OpenWithSweep(folder + "/single.db", points);
  std::atomic<int64_t> left = points;
  // One worker with one slot that waits for every acknowledgement before it asks again: a commit per result.
  return SecondsOf([&] {
    int64_t sequence = 0;
    std::vector<core::ResultReport> results;
    while (left > 0) {
      core::WorkerSync sync;
      sync.token = engine->NewToken();
      sync.worker = WorkerId("single");
      sync.incarnation = Incarnation("1");
      sync.sequence = ++sequence;
      sync.devices.push_back({.name = "cpu:0", .kind = "cpu", .slots = 1});
      sync.results = std::exchange(results, {});
      left -= static_cast<int64_t>(sync.results.size());
      std::promise<absl::StatusOr<service::SyncAnswer>> promise;
      auto future = promise.get_future();
      engine->Sync(std::move(sync), [&](absl::StatusOr<service::SyncAnswer> a) { promise.set_value(std::move(a)); });
      const auto answer = future.get();
      if (!answer.ok()) Stop(answer.status());
      if (!answer->details.empty()) {
        results.push_back({answer->reply.assignments[0].id, "cpu:0", KeyPrefix(answer->details[0]->point_key),
                           std::make_shared<PointResult>(bench::NoOpResult(answer->details[0]->point))});
      }
    }
  });
}

double TwoWorkers(const std::string& folder, int64_t points, bool over_grpc) {
  auto engine = OpenWithSweep(folder + (over_grpc ? "/grpc.db" : "/engine.db"), points);
  std::unique_ptr<service::Server> server;
  if (over_grpc) {
    auto started = service::Server::Start(engine.get(), {.listen = "127.0.0.1:0"});
    if (!started.ok()) Stop(started.status());
    server = *std::move(started);
  }
  std::atomic<int64_t> left = points;
  return SecondsOf([&] {
    std::vector<std::thread> workers;
    for (const char* name : {"one", "two"}) {
      workers.emplace_back([&, name] {
        if (over_grpc) {
          RunRemoteWorker(server->address(), name, &left);
        } else {
          LocalWorker(engine.get(), name).Run(&left);
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
  });
}

void Print(const std::vector<Row>& rows, double fsync_micros, int64_t points, bool json) {
  if (json) {
    nlohmann::json out = bench::Provenance();
    out.update({{"bench", "dispatch"}, {"points", points}, {"fsync_us", fsync_micros}});
    for (const Row& row : rows) {
      out["rows"].push_back({{"name", row.name}, {"points_per_second", row.points_per_second}, {"ratio", row.ratio}});
    }
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("fdatasync here: %.0f us\n%-44s %12s %8s\n", fsync_micros, "durable no-op points", "points/s", "ratio");
  for (const Row& row : rows) std::printf("%-44s %12.0f %8.1f\n", row.name.c_str(), row.points_per_second, row.ratio);
}

int Main(int argc, char** argv) {
  bench::NoLockChecks();
  int64_t points = 20'000;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--json") {
      json = true;
    } else {
      points = std::atoll(argv[i]);
    }
  }
  if (points < 100) Stop(absl::InvalidArgumentError("POINTS must be at least 100"));
  const std::string folder = std::filesystem::temp_directory_path() / ("bench_dispatch_" + RandomHexId());
  if (absl::Status status = MakeFolders(folder); !status.ok()) Stop(status);
  const auto fsync_micros = bench::FsyncMicros(folder);
  if (!fsync_micros.ok()) Stop(fsync_micros.status());
  const int64_t few = std::min<int64_t>(points, 2'000);
  std::vector<Row> rows;
  rows.push_back(
      {"one worker, one slot: a commit per result", static_cast<double>(few) / OnePerCommit(folder, few), 1});
  rows.push_back({"two workers, group commit", static_cast<double>(points) / TwoWorkers(folder, points, false), 0});
  rows.push_back(
      {"two workers, group commit, over gRPC", static_cast<double>(points) / TwoWorkers(folder, points, true), 0});
  for (Row& row : rows) row.ratio = row.points_per_second / rows[0].points_per_second;
  Print(rows, *fsync_micros, points, json);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace capsweep

int main(int argc, char** argv) {
  return capsweep::Main(argc, argv);
}
