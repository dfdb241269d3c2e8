#include "coordinator/service/worker_service.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "capsweep/v1/worker.pb.h"
#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/limits.h"
#include "coordinator/service/sync_request.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

// Reasons by (point, attempt).
using Reasons = absl::flat_hash_map<std::pair<int64_t, int32_t>, std::string>;

std::pair<int64_t, int32_t> Key(const core::AttemptRef& id) {
  return {id.point.value(), id.attempt.value()};
}

void ToProto(const core::AttemptRef& id, v1::AttemptId* out) {
  out->set_point_id(id.point.value());
  out->set_attempt(id.attempt.value());
}

constexpr char kPath[] = "/capsweep.v1.WorkerService/Sync";

v1::Acknowledgement::Verdict ToProto(core::Verdict verdict) {
  switch (verdict) {
    case core::Verdict::kAccepted:
      return v1::Acknowledgement::ACCEPTED;
    case core::Verdict::kDuplicate:
      return v1::Acknowledgement::DUPLICATE;
    case core::Verdict::kLate:
      return v1::Acknowledgement::LATE;
    case core::Verdict::kRejected:
      return v1::Acknowledgement::REJECTED;
  }
  return v1::Acknowledgement::VERDICT_UNSPECIFIED;
}

void AddRejected(const core::AttemptRef& id, std::string_view reason, v1::SyncResponse* response) {
  v1::Acknowledgement* ack = response->add_acknowledged();
  ToProto(id, ack->mutable_id());
  ack->set_verdict(v1::Acknowledgement::REJECTED);
  ack->set_reason(std::string(reason));
}

// Point ids of another database mean other points here. The agent is told whose coordinator this is and to let go of
// what it holds; its reports stay unacknowledged, for the database they belong to. The core hears of the worker with
// its next call.
bool AnswerForeign(const core::WorkerSync& sync, const std::string& theirs, const std::string& ours,
                   v1::SyncResponse* response) {
  if (theirs.empty() || theirs == ours) {
    return false;
  }
  for (const core::DeviceReport& device : sync.devices) {
    for (const core::HeldAttempt& held : device.held) {
      ToProto(held.id, response->add_drop());
    }
  }
  response->set_database_id(ours);
  response->set_sequence(sync.sequence);
  response->set_notice(StrCat("this coordinator serves database ", ours, ", not ", theirs));
  return true;
}

// A worker of a later protocol may mean things that this coordinator does not know: it is told to stop before anything
// of its call is taken. What it holds is tried again elsewhere when its lease ends, its spool stays.
bool AnswerNewer(const v1::SyncRequest& request, const std::string& ours, v1::SyncResponse* response) {
  if (request.protocol() <= kSyncProtocol) {
    return false;
  }
  response->set_database_id(ours);
  response->set_sequence(request.sequence());
  response->set_stop(true);
  response->set_notice(StrCat("worker ", request.version(), " speaks protocol ", request.protocol(),
                              ", this coordinator ", kVersion, " only up to ", kSyncProtocol,
                              ": update the coordinator first, then the workers"));
  return true;
}

// Takes results that cannot be right out of the report. One of a known point becomes a failure of its attempt, so that
// the point is tried again a bounded number of times; the worker is told `rejected` in either case.
absl::Status WithholdWrongResults(Engine& engine, core::WorkerSync& sync, Reasons& as_failures, Reasons& unknown) {
  if (sync.results.empty()) {
    return absl::OkStatus();
  }
  std::vector<PointId> points;
  points.reserve(sync.results.size());
  for (const core::ResultReport& report : sync.results) {
    points.push_back(report.id.point);
  }
  ASSIGN_OR_RETURN(const std::vector<DetailsPtr> details, engine.Details(points));
  std::vector<core::ResultReport> good;
  good.reserve(sync.results.size());
  for (size_t i = 0; i < sync.results.size(); ++i) {
    core::ResultReport& report = sync.results[i];
    const absl::Status status = CheckResult(details[i], report);
    if (status.ok()) {
      good.push_back(std::move(report));
    } else if (details[i] == nullptr) {
      unknown.emplace(Key(report.id), std::string(status.message()));
    } else {
      as_failures.emplace(Key(report.id), std::string(status.message()));
      sync.failures.push_back({.id = report.id,
                               .device = report.device,
                               .cause = FailureCause::kInternal,
                               .message = StrCat("its result was rejected: ", status.message())});
    }
  }
  sync.results = std::move(good);
  return absl::OkStatus();
}

// Adds the assignments that fit. One that does not is left out: the next call will not list it, so it is offered again.
// Returns how many were left out.
int AddAssignments(const SyncAnswer& answer, v1::SyncResponse* response) {
  size_t bytes = response->ByteSizeLong();
  int left_out = 0;
  for (size_t i = 0; i < answer.reply.assignments.size(); ++i) {
    const core::Assignment& assignment = answer.reply.assignments[i];
    const store::PointDetails& details = *answer.details[i];
    v1::Assignment* out = response->add_assignments();
    ToProto(assignment.id, out->mutable_id());
    out->set_device(assignment.device);
    out->set_point_key(details.point_key);
    PointToProto(details.point, out->mutable_point());
    out->set_estimated_seconds(assignment.estimated_seconds);
    // A checkpoint that no reply can carry is of no use: that attempt starts anew.
    if (details.checkpoint != nullptr && details.checkpoint->bytes.size() < kMaxReplyBytes / 2) {
      out->set_checkpoint(details.checkpoint->bytes);
      out->set_checkpoint_backend(details.checkpoint->backend);
    }
    const size_t grown = bytes + out->ByteSizeLong() + 8;  // 8: tag and length
    if (grown > kMaxReplyBytes) {
      response->mutable_assignments()->RemoveLast();
      ++left_out;
    } else {
      bytes = grown;
    }
  }
  return left_out;
}

void WriteAnswer(const SyncAnswer& answer, const Reasons& as_failures, const Reasons& unknown,
                 v1::SyncResponse* response) {
  const core::SyncReply& reply = answer.reply;
  response->set_database_id(answer.database_id);
  response->set_sequence(reply.sequence);
  for (const core::AttemptRef& id : reply.drop) {
    ToProto(id, response->add_drop());
  }
  for (const core::Acknowledgement& ack : reply.acknowledged) {
    const auto wrong = as_failures.find(Key(ack.id));
    if (wrong != as_failures.end() && ack.verdict == core::Verdict::kAccepted) {
      AddRejected(ack.id, wrong->second, response);
      continue;
    }
    v1::Acknowledgement* out = response->add_acknowledged();
    ToProto(ack.id, out->mutable_id());
    out->set_verdict(ToProto(ack.verdict));
    out->set_reason(ack.reason);
  }
  for (const auto& [key, reason] : unknown) {
    AddRejected({PointId(key.first), AttemptNumber(key.second)}, reason, response);
  }
  response->set_drain(reply.drain);
  response->set_stop(reply.stop);
  response->set_notice(reply.notice);
  const int left_out = AddAssignments(answer, response);
  response->set_next_call_seconds(left_out > 0 ? 0 : ToSeconds(reply.next_call));
}

class SyncCall final : public GrpcCall {
 public:
  SyncCall(Engine* engine, Access* access, WorkerLimits* limits, const grpc::CallbackServerContext& context)
      : engine_(engine), access_(access), limits_(limits), token_(engine->NewToken()), start_(Now()) {
    ++engine_->metrics().open_syncs;
    Begin(access, kPath, context, &request_, &response_);
  }
  ~SyncCall() override { --engine_->metrics().open_syncs; }

  void OnCancel() override { engine_->Abandon(token_); }

 private:
  static Instant Now() { return std::chrono::steady_clock::now(); }

  void Serve(const Caller& caller) override {
    absl::StatusOr<core::WorkerSync> sync = CheckSyncRequest(request_);
    if (!sync.ok()) {
      Answer(sync.status());
      return;
    }
    if (absl::Status status = limits_->Begin(request_.worker_id(), AddressOf(caller.peer)); !status.ok()) {
      Answer(status);
      return;
    }
    worker_ = request_.worker_id();
    may_be_held_ = request_.max_wait_seconds() > 0;
    if (AnswerNewer(request_, engine_->database_id(), &response_)) {
      access_->Unheard(kPath, caller.peer, absl::FailedPreconditionError(response_.notice()));
      Answer(absl::OkStatus());
      return;
    }
    if (AnswerForeign(*sync, request_.database_id(), engine_->database_id(), &response_)) {
      Answer(absl::OkStatus());
      return;
    }
    if (absl::Status status = WithholdWrongResults(*engine_, *sync, as_failures_, unknown_); !status.ok()) {
      Answer(absl::UnavailableError(StrCat("reading the delivered points: ", status.message())));
      return;
    }
    sync->token = token_;
    engine_->Sync(*std::move(sync), [this](const absl::StatusOr<SyncAnswer>& answer) {
      if (answer.ok()) {
        WriteAnswer(*answer, as_failures_, unknown_, &response_);
      }
      Answer(answer.status());
    });
  }

  void Ended(const absl::Status& status) override {
    Metrics& metrics = engine_->metrics();
    metrics.syncs[static_cast<size_t>(status.code()) % kStatusCodes].Add();
    if (status.ok() && !may_be_held_) {
      metrics.sync_seconds.Observe(ToSeconds(Now() - start_));
    }
    if (!worker_.empty()) {
      limits_->End(worker_);
    }
  }

  Engine* const engine_;
  Access* const access_;
  WorkerLimits* const limits_;
  const core::Token token_;
  const Instant start_;
  v1::SyncRequest request_;
  v1::SyncResponse response_;
  std::string worker_;  // once it counts as open
  bool may_be_held_ = false;
  Reasons as_failures_;
  Reasons unknown_;
};

}  // namespace

WorkerService::WorkerService(Engine* engine, Access* access, const WorkerQuotas& quotas)
    : limits_(quotas, &engine->clock()) {
  Add(kPath,
      [=, this](grpc::CallbackServerContext* context) { return new SyncCall(engine, access, &limits_, *context); });
}

}  // namespace capsweep::service
