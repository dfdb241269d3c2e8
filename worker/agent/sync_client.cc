#include "worker/agent/sync_client.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "capsweep/v1/worker.grpc.pb.h"
#include "common/build_info.h"
#include "common/fail_point.h"
#include "proto/convert.h"

namespace capsweep::agent {
namespace {

AttemptId FromProto(const v1::AttemptId& id) {
  return {PointId(id.point_id()), AttemptNumber(id.attempt())};
}

void ToProto(const AttemptId& id, v1::AttemptId* out) {
  out->set_point_id(id.point.value());
  out->set_attempt(id.attempt.value());
}

void AddDevice(const DeviceView& view, v1::SyncRequest& request) {
  v1::Device* device = request.add_devices();
  device->set_name(view.name);
  device->set_kind(view.kind);
  device->set_memory_bytes(view.memory_bytes);
  device->set_slots(view.slots);
  device->set_ready(view.ready);
  device->set_reason(view.reason);
  for (const HeldView& held : view.held) {
    v1::HeldAttempt* out = device->add_held();
    ToProto(held.id, out->mutable_id());
    out->set_progress(held.progress);
    out->set_running(held.running);
  }
}

void AddReport(const Report& report, v1::SyncRequest& request) {
  switch (report.kind) {
    case ReportKind::kResult: {
      v1::DeliveredResult* out = request.add_results();
      ToProto(report.id, out->mutable_id());
      out->set_device(report.device);
      ResultToProto(*report.result, out->mutable_result());
      return;
    }
    case ReportKind::kFailure: {
      v1::DeliveredFailure* out = request.add_failures();
      ToProto(report.id, out->mutable_id());
      out->set_device(report.device);
      out->set_cause(std::string(ToWord(report.cause)));
      out->set_message(report.message);
      out->set_pack_size(report.pack_size);
      return;
    }
    case ReportKind::kHandBack: {
      v1::HandedBack* out = request.add_handed_back();
      ToProto(report.id, out->mutable_id());
      if (report.checkpoint != nullptr) {
        out->set_checkpoint(report.checkpoint->bytes);
        out->set_checkpoint_backend(report.checkpoint->backend);
      }
      return;
    }
  }
}

v1::SyncRequest ToRequest(const SyncCall& call, const SyncClientOptions& options) {
  v1::SyncRequest request;
  request.set_worker_id(options.worker_id);
  request.set_incarnation(options.incarnation);
  request.set_sequence(call.sequence);
  request.set_database_id(call.database_id);
  request.set_host(options.host);
  request.set_pid(getpid());
  request.set_version(std::string(kVersion));
  request.set_protocol(kSyncProtocol);
  request.set_torch_version(call.torch_version);
  for (const auto& [key, value] : options.labels) (*request.mutable_labels())[key] = value;
  for (const DeviceView& device : call.devices) AddDevice(device, request);
  for (const ReportPtr& report : call.reports) AddReport(*report, request);
  request.set_draining(call.draining);
  request.set_leaving(call.leaving);
  request.set_max_wait_seconds(call.max_wait_seconds);
  request.set_remaining_seconds(call.remaining_seconds);
  return request;
}

Assignment FromProto(const v1::Assignment& message) {
  Assignment assignment;
  assignment.id = FromProto(message.id());
  assignment.device = message.device();
  assignment.point_key = message.point_key();
  absl::StatusOr<PointSpec> point = PointFromProto(message.point());
  assignment.point_status = point.status();
  if (point.ok()) assignment.point = std::move(*point);
  if (!message.checkpoint().empty()) {
    assignment.checkpoint =
        std::make_shared<const Checkpoint>(Checkpoint{message.checkpoint_backend(), message.checkpoint()});
  }
  return assignment;
}

Acknowledgement FromProto(const v1::Acknowledgement& message) {
  Acknowledgement out{FromProto(message.id()), Verdict::kAccepted, message.reason()};
  switch (message.verdict()) {
    case v1::Acknowledgement::ACCEPTED:
      break;
    case v1::Acknowledgement::DUPLICATE:
      out.verdict = Verdict::kDuplicate;
      break;
    case v1::Acknowledgement::LATE:
      out.verdict = Verdict::kLate;
      break;
    default:  // a verdict of a later version: the report was seen, and sending it again would not help
      out.verdict = Verdict::kRejected;
      break;
  }
  return out;
}

absl::StatusOr<SyncReply> FromResponse(const v1::SyncResponse& response, const SyncCall& call) {
  if (response.database_id().empty()) return absl::InternalError("the reply names no database");
  if (response.sequence() != call.sequence) {
    return absl::InternalError("the reply is to call " + std::to_string(response.sequence()) + ", not to call " +
                               std::to_string(call.sequence));
  }
  SyncReply reply;
  reply.database_id = response.database_id();
  reply.sequence = response.sequence();
  for (const v1::Assignment& assignment : response.assignments()) reply.assignments.push_back(FromProto(assignment));
  for (const v1::AttemptId& id : response.drop()) reply.drop.push_back(FromProto(id));
  for (const v1::Acknowledgement& ack : response.acknowledged()) reply.acknowledged.push_back(FromProto(ack));
  reply.drain = response.drain();
  reply.stop = response.stop();
  reply.next_call_seconds = std::isfinite(response.next_call_seconds()) ? response.next_call_seconds() : 0;
  reply.notice = response.notice();
  return reply;
}

bool IsLoopback(const std::string& address) {
  return address.rfind("127.", 0) == 0 || address.rfind("localhost:", 0) == 0 || address.rfind("[::1]:", 0) == 0;
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // A cut network is noticed in seconds instead of never; also while no call is open.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The agent has its own back-off; the channel's must not add minutes to it.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // After a failed connection the channel looks its address up again before it tries once more, by default at most
  // every 30 s: a coordinator that is back would wait for its workers for seconds.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 100);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (IsLoopback(address)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, credentials == nullptr ? grpc::InsecureChannelCredentials() : credentials,
                                   arguments);
}

}  // namespace

struct SyncClient::Impl {
  SyncClientOptions options;
  std::function<void()> wake;
  std::unique_ptr<v1::WorkerService::Stub> stub;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex.
  std::optional<SyncCall> waiting;
  std::optional<SyncOutcome> outcome;
  grpc::ClientContext* context = nullptr;  // of the call on the wire
  bool cancelled = false;
  bool stopping = false;

  std::thread thread;  // last: sees everything above

  void Loop();
  absl::StatusOr<SyncReply> Call(const SyncCall& call);
};

void SyncClient::Impl::Loop() {
  while (true) {
    SyncCall call;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return waiting.has_value() || stopping; });
      if (stopping) return;
      call = *std::exchange(waiting, std::nullopt);
    }
    absl::StatusOr<SyncReply> reply = Call(call);
    {
      std::lock_guard lock(mutex);
      outcome = SyncOutcome{std::move(call), std::move(reply)};
    }
    wake();
  }
}

absl::StatusOr<SyncReply> SyncClient::Impl::Call(const SyncCall& call) {
  const v1::SyncRequest request = ToRequest(call, options);
  v1::SyncResponse response;
  grpc::ClientContext call_context;
  call_context.set_deadline(std::chrono::system_clock::now() +
                            std::chrono::milliseconds(static_cast<int64_t>(1000 * call.max_wait_seconds)) +
                            std::chrono::duration_cast<std::chrono::milliseconds>(options.call_patience));
  {
    std::lock_guard lock(mutex);
    if (cancelled || stopping) return absl::CancelledError("cancelled before it was sent");
    context = &call_context;
  }
  Reach(FailPoint::kSyncSend).IgnoreError();
  const grpc::Status status = stub->Sync(&call_context, request, &response);
  Reach(FailPoint::kSyncAnswered).IgnoreError();
  {
    std::lock_guard lock(mutex);
    context = nullptr;
  }
  if (!status.ok()) return FromGrpc(status);
  return FromResponse(response, call);
}

SyncClient::SyncClient(SyncClientOptions options, std::function<void()> wake) : impl_(std::make_unique<Impl>()) {
  impl_->stub = v1::WorkerService::NewStub(MakeChannel(options.coordinator, options.credentials));
  impl_->options = std::move(options);
  impl_->wake = std::move(wake);
  impl_->thread = std::thread([impl = impl_.get()] { impl->Loop(); });
}

SyncClient::~SyncClient() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    if (impl_->context != nullptr) impl_->context->TryCancel();
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

void SyncClient::Start(SyncCall call) {
  open_ = true;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->waiting = std::move(call);
    impl_->cancelled = false;
  }
  impl_->changed.notify_all();
}

void SyncClient::Cancel() {
  std::lock_guard lock(impl_->mutex);
  impl_->cancelled = true;
  if (impl_->context != nullptr) impl_->context->TryCancel();
}

std::optional<SyncOutcome> SyncClient::Take() {
  std::lock_guard lock(impl_->mutex);
  if (impl_->outcome.has_value()) open_ = false;
  return std::exchange(impl_->outcome, std::nullopt);
}

}  // namespace capsweep::agent
