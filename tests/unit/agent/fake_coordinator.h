// A small coordinator on a real port: gives out points, takes reports, counts. Its memory survives Stop and Start, as a
// database would. Knobs make it lose replies, refuse calls or become another coordinator.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "capsweep/v1/worker.grpc.pb.h"
#include "common/clock.h"
#include "common/text.h"
#include "proto/convert.h"
#include "tests/unit/agent/agent_testing.h"

namespace capsweep::agent {

class FakeCoordinator final : public v1::WorkerService::Service {
 public:
  struct Failure {
    int64_t point = 0;
    std::string cause, message;
    int pack_size = 0;
  };
  // What was seen. Copied whole by Seen().
  struct Record {
    std::map<int64_t, PointResult> results;
    int deliveries = 0;  // results seen, repeats included
    int handed_back = 0;
    int calls = 0;
    int incarnations = 0;
    bool worker_left = false;
    std::vector<Failure> failures;
    v1::SyncRequest last_request;
  };

  FakeCoordinator() { Start(); }
  ~FakeCoordinator() override { Stop(); }

  // The same port each time.
  void Start() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = false;
    }
    for (int tries = 0; server_ == nullptr && tries < 100; ++tries) {
      grpc::ServerBuilder builder;
      builder.AddListeningPort(StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials(), &port_);
      builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
      builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
      builder.RegisterService(this);
      server_ = builder.BuildAndStart();
      if (server_ == nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  std::string address() const { return StrCat("127.0.0.1:", port_); }

  // Points are numbered from 1 and differ in their seed only.
  void AddPoints(int count) {
    std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) points_[static_cast<int64_t>(points_.size()) + 1] = {};
  }
  void SetDepth(int depth) {  // attempts given to a device at once
    std::lock_guard lock(mutex_);
    depth_ = depth;
  }
  void LoseReplies(int count) {  // the next calls take effect, but their replies are lost
    std::lock_guard lock(mutex_);
    replies_to_lose_ = count;
  }
  void RefuseReportsOf(int64_t point) {  // any call that reports it is INVALID_ARGUMENT
    std::lock_guard lock(mutex_);
    refused_point_ = point;
  }
  void BecomeDatabase(const std::string& id) {  // forgets all points and results
    std::lock_guard lock(mutex_);
    database_id_ = id;
    points_.clear();
    record_.results.clear();
  }
  void Drop(int64_t point) {  // tells whoever holds it to stop, and never gives it out again
    std::lock_guard lock(mutex_);
    points_[point].dropped = true;
  }
  void StopWorkers() {
    std::lock_guard lock(mutex_);
    stop_workers_ = true;
  }

  Record Seen() const {
    std::lock_guard lock(mutex_);
    return record_;
  }
  bool Await(const std::function<bool(const Record&)>& condition, Duration limit = std::chrono::seconds(15)) const {
    const Instant deadline = std::chrono::steady_clock::now() + limit;
    while (!condition(Seen())) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  bool AwaitResults(size_t count) const {
    return Await([count](const Record& seen) { return seen.results.size() >= count; });
  }

  grpc::Status Sync(grpc::ServerContext* context, const v1::SyncRequest* request, v1::SyncResponse* reply) override {
    const Instant deadline = std::chrono::steady_clock::now() + FromSeconds(request->max_wait_seconds());
    std::unique_lock lock(mutex_);
    ++record_.calls;
    record_.last_request = *request;
    for (const v1::DeliveredResult& report : request->results()) {
      if (report.id().point_id() == refused_point_) return {grpc::StatusCode::INVALID_ARGUMENT, "results: refused"};
    }
    if (request->database_id().empty() || request->database_id() == database_id_) {
      TakeReports(*request, reply);
      while (!MakeReply(*request, reply) && std::chrono::steady_clock::now() < deadline && !context->IsCancelled() &&
             !stopping_) {
        lock.unlock();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        lock.lock();
      }
    }
    reply->set_database_id(database_id_);
    reply->set_sequence(request->sequence());
    reply->set_next_call_seconds(0.05);
    reply->set_stop(stop_workers_);
    if (replies_to_lose_ > 0) {
      --replies_to_lose_;
      return {grpc::StatusCode::UNAVAILABLE, "the reply got lost"};
    }
    return grpc::Status::OK;
  }

 private:
  struct PointState {
    int attempt = 0;
    bool running = false;
    bool done = false;
    bool dropped = false;
    std::string device, checkpoint, checkpoint_backend;
  };

  void TakeReports(const v1::SyncRequest& request, v1::SyncResponse* reply) {
    if (request.incarnation() != incarnation_) {  // the old process is gone, and so is what it held
      incarnation_ = request.incarnation();
      ++record_.incarnations;
      for (auto& [id, point] : points_) point.running = false;
    }
    auto acknowledge = [&](const v1::AttemptId& id, v1::Acknowledgement::Verdict verdict) {
      v1::Acknowledgement* ack = reply->add_acknowledged();
      *ack->mutable_id() = id;
      ack->set_verdict(verdict);
    };
    for (const v1::DeliveredResult& report : request.results()) {
      ++record_.deliveries;
      PointState& point = points_[report.id().point_id()];
      acknowledge(report.id(), point.done ? v1::Acknowledgement::DUPLICATE : v1::Acknowledgement::ACCEPTED);
      if (!point.done) record_.results[report.id().point_id()] = ResultFromProto(report.result());
      point.done = true;
      point.running = false;
    }
    for (const v1::DeliveredFailure& report : request.failures()) {
      PointState& point = points_[report.id().point_id()];
      const bool current = point.running && point.attempt == report.id().attempt();
      acknowledge(report.id(), current ? v1::Acknowledgement::ACCEPTED : v1::Acknowledgement::DUPLICATE);
      if (!current) continue;
      record_.failures.push_back({report.id().point_id(), report.cause(), report.message(), report.pack_size()});
      point.running = false;
    }
    for (const v1::HandedBack& report : request.handed_back()) {
      PointState& point = points_[report.id().point_id()];
      acknowledge(report.id(), v1::Acknowledgement::ACCEPTED);
      if (!point.running || point.attempt != report.id().attempt()) continue;
      ++record_.handed_back;
      point.running = false;
      point.checkpoint = report.checkpoint();
      point.checkpoint_backend = report.checkpoint_backend();
    }
    if (request.leaving()) {
      record_.worker_left = true;
      for (auto& [id, point] : points_) point.running = false;
    }
  }

  // Whether there is anything to say. What is running here but not listed is said again.
  bool MakeReply(const v1::SyncRequest& request, v1::SyncResponse* reply) {
    if (request.leaving() || request.draining()) return true;
    std::set<std::pair<int64_t, int>> listed;
    std::map<std::string, int> load;
    for (const v1::Device& device : request.devices()) {
      for (const v1::HeldAttempt& held : device.held()) {
        const PointState& point = points_[held.id().point_id()];
        listed.insert({held.id().point_id(), held.id().attempt()});
        ++load[device.name()];
        const bool wanted = point.running && point.attempt == held.id().attempt() && !point.dropped;
        if (!wanted) *reply->add_drop() = held.id();
      }
    }
    for (auto& [id, point] : points_) {
      if (point.done || point.dropped) continue;
      if (point.running) {
        if (!listed.contains({id, point.attempt})) AddAssignment(id, point, reply);
        continue;
      }
      for (const v1::Device& device : request.devices()) {
        if (!device.ready() || load[device.name()] >= depth_) continue;
        ++load[device.name()];
        ++point.attempt;
        point.running = true;
        point.device = device.name();
        AddAssignment(id, point, reply);
        break;
      }
    }
    return stop_workers_ || reply->assignments_size() + reply->drop_size() + reply->acknowledged_size() > 0;
  }

  void AddAssignment(int64_t id, const PointState& point, v1::SyncResponse* reply) {
    const PointSpec spec = TestPoint(static_cast<uint64_t>(id));
    v1::Assignment* assignment = reply->add_assignments();
    assignment->mutable_id()->set_point_id(id);
    assignment->mutable_id()->set_attempt(point.attempt);
    assignment->set_device(point.device);
    assignment->set_point_key(PointKey(spec));
    PointToProto(spec, assignment->mutable_point());
    assignment->set_checkpoint(point.checkpoint);
    assignment->set_checkpoint_backend(point.checkpoint_backend);
  }

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  bool stopping_ = false;
  std::string database_id_ = "db1";
  std::map<int64_t, PointState> points_;
  Record record_;
  std::string incarnation_;
  int64_t refused_point_ = 0;
  int depth_ = 2;
  int replies_to_lose_ = 0;
  bool stop_workers_ = false;
};

}  // namespace capsweep::agent
