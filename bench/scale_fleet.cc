#include "bench/scale_fleet.h"

#include <algorithm>
#include <utility>

#include "bench/bench_common.h"
#include "common/text.h"
#include "proto/convert.h"

namespace capsweep::bench {
namespace {

// Empty if the point cannot be read.
void AddResult(const v1::Assignment& assignment, double seconds, v1::DeliveredResult* out) {
  const absl::StatusOr<PointSpec> point = PointFromProto(assignment.point());
  if (!point.ok()) {
    return;
  }
  *out->mutable_id() = assignment.id();
  out->set_device("cpu:0");
  ResultToProto(NoOpResult(*point, seconds), out->mutable_result());
}

}  // namespace

struct Fleet::Call {
  size_t worker = 0;
  Instant sent;
  bool idle = false;  // it may be held open
  grpc::ClientContext context;
  v1::SyncRequest request;
  v1::SyncResponse response;
  grpc::Status status;
};

std::string Fleet::NextIncarnation() {
  static std::atomic<int64_t> fleets{0};
  const std::string number = std::to_string(++fleets);
  return StrCat(std::string(16 - number.size(), '0'), number, "-00000000");
}

Fleet::Fleet(FleetOptions options) : options_(std::move(options)), workers_(static_cast<size_t>(options_.workers)) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < options_.channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    channels.push_back(grpc::CreateCustomChannel(options_.address, grpc::InsecureChannelCredentials(), arguments));
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i].stub = v1::WorkerService::NewStub(channels[i % channels.size()]);
    workers_[i].id = StrCat("sim", i);
  }
}

Fleet::~Fleet() {
  {
    std::unique_lock lock(mu_);
    ending_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return under_way_ == 0; });
  }
  if (driver_.joinable()) {
    driver_.join();
  }
}

void Fleet::Start() {
  {
    const std::lock_guard lock(mu_);
    const Instant now = Clock::Real().Now();
    // Spread over one interval, as agents that were not started by one script.
    const Duration step = std::chrono::seconds(2) / std::max<int64_t>(static_cast<int64_t>(workers_.size()), 1);
    for (size_t i = 0; i < workers_.size(); ++i) {
      due_.emplace(now + step * static_cast<int64_t>(i), i);
    }
  }
  driver_ = std::thread([this] { Drive(); });
}

FleetCounts Fleet::Take() {
  const std::lock_guard lock(mu_);
  FleetCounts out = std::exchange(counts_, {});
  std::sort(out.latencies.begin(), out.latencies.end());
  return out;
}

void Fleet::Drive() {
  std::unique_lock lock(mu_);
  while (!ending_) {
    const Instant now = Clock::Real().Now();
    std::vector<size_t> ready;
    while (!due_.empty() && due_.top().first <= now) {
      ready.push_back(due_.top().second);
      due_.pop();
      ++under_way_;
    }
    if (!ready.empty()) {
      lock.unlock();
      for (size_t worker : ready) {
        Send(worker);
      }
      lock.lock();
      continue;
    }
    const Instant next = due_.empty() ? now + std::chrono::milliseconds(50) : due_.top().first;
    changed_.wait_for(lock, std::min<Duration>(next - now, std::chrono::milliseconds(50)));
  }
}

void Fleet::Send(size_t index) {
  Worker& worker = workers_[index];
  auto* call = new Call();
  call->worker = index;
  v1::SyncRequest& request = call->request;
  request.set_worker_id(worker.id);
  request.set_incarnation(incarnation_);
  request.set_sequence(++worker.sequence);
  request.set_database_id(worker.database_id);
  request.set_host("bench");
  v1::Device* device = request.add_devices();
  device->set_name("cpu:0");
  device->set_kind(options_.kind);
  device->set_slots(options_.slots);
  device->set_ready(true);
  const Instant now = Clock::Real().Now();
  for (const auto& [id, held] : worker.held) {
    if (held.second <= now) {
      AddResult(held.first, ToSeconds(options_.training), request.add_results());
    } else {
      v1::HeldAttempt* out = device->add_held();
      *out->mutable_id() = held.first.id();
      out->set_running(true);
    }
  }
  call->idle = worker.held.empty();
  if (call->idle) {
    request.set_max_wait_seconds(options_.longest_wait);
  }
  call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  call->sent = now;
  worker.stub->async()->Sync(&call->context, &request, &call->response, [this, call](grpc::Status status) {
    call->status = std::move(status);
    Done(call);
  });
}

// Takes the answer in; returns when to call again.
Instant Fleet::Receive(Worker& worker, const Call& call) {
  const Instant now = Clock::Real().Now();
  const v1::SyncResponse& response = call.response;
  worker.database_id = response.database_id();
  for (const v1::Acknowledgement& ack : response.acknowledged()) {
    worker.held.erase({ack.id().point_id(), ack.id().attempt()});
  }
  for (const v1::AttemptId& id : response.drop()) {
    worker.held.erase({id.point_id(), id.attempt()});
  }
  for (const v1::Assignment& a : response.assignments()) {
    worker.held.try_emplace({a.id().point_id(), a.id().attempt()}, a, now + options_.training);
  }
  Instant next = now + FromSeconds(response.next_call_seconds());
  for (const auto& [id, held] : worker.held) {
    next = std::min(next, std::max(held.second, now));
  }
  return next;
}

void Fleet::Done(Call* call) {
  Worker& worker = workers_[call->worker];
  const double seconds = ToSeconds(Clock::Real().Now() - call->sent);
  const bool ok = call->status.ok();
  const Instant next = ok ? Receive(worker, *call) : Clock::Real().Now() + std::chrono::milliseconds(500);
  const auto delivered = static_cast<int64_t>(ok ? call->request.results_size() : 0);
  results_ += delivered;
  const std::lock_guard lock(mu_);
  ++counts_.calls;
  counts_.results += delivered;
  if (!ok) {
    ++counts_.errors;
    counts_.last_error = call->status.error_message();
  } else if (!call->idle) {
    counts_.latencies.push_back(seconds);
  }
  due_.emplace(next, call->worker);
  --under_way_;
  changed_.notify_all();
  delete call;
}

}  // namespace capsweep::bench
