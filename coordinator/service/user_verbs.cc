#include "coordinator/service/user_verbs.h"

#include <google/protobuf/descriptor.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/build_info.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/limits.h"
#include "coordinator/service/sync_request.h"
#include "coordinator/service/table_reply.h"

namespace capsweep::service {
namespace {

constexpr size_t kMaxWaitingCalls = 256;  // per pool

absl::Status CheckLength(std::string_view field, const std::string& text, size_t max_bytes) {
  return text.size() <= max_bytes
             ? absl::OkStatus()
             : Bad(field, StrCat("has ", text.size(), " bytes; at most ", max_bytes, " are allowed"));
}

absl::Status CheckName(std::string_view field, const std::string& name) {
  if (name.empty()) {
    return Bad(field, "is empty");
  }
  return CheckLength(field, name, kMaxNameBytes);
}

absl::Status DoSubmit(Engine& engine, const v1::SubmitSweepRequest& request, bool extend,
                      v1::SubmitSweepResponse* response) {
  RETURN_IF_ERROR(CheckLength("text", request.text(), kMaxSweepFileBytes));
  RETURN_IF_ERROR(CheckLength("file_name", request.file_name(), 4096));
  RETURN_IF_ERROR(CheckLength("folder", request.folder(), 4096));
  if (!request.folder().empty() && request.folder()[0] != '/') return Bad("folder", "is not absolute");
  if (request.priority() < -kMaxPriority || request.priority() > kMaxPriority) {
    return Bad("priority", StrCat(request.priority(), " is not in -", kMaxPriority, "..", kMaxPriority));
  }
  const std::string file = request.file_name().empty() ? "sweep" : request.file_name();
  ASSIGN_OR_RETURN(const SubmitCounts counts, engine.Submit(request.text(), file, request.priority(), extend,
                                                            request.dry_run(), request.folder()));
  response->set_sweep(counts.sweep);
  response->set_points(counts.points);
  response->set_new_points(counts.new_points);
  response->set_known_points(counts.known_points);
  response->set_done_points(counts.done_points);
  response->set_shapes(counts.shapes);
  response->set_estimated_core_seconds(counts.estimated_core_seconds);
  response->set_estimated_seconds(std::max(0.0, counts.estimated_seconds));
  response->set_searches(counts.searches);
  return absl::OkStatus();
}

absl::StatusOr<core::SweepVerb> VerbOf(v1::ChangeSweepRequest::Verb verb) {
  switch (verb) {
    case v1::ChangeSweepRequest::PAUSE:
      return core::SweepVerb::kPause;
    case v1::ChangeSweepRequest::RESUME:
      return core::SweepVerb::kResume;
    case v1::ChangeSweepRequest::CANCEL:
      return core::SweepVerb::kCancel;
    case v1::ChangeSweepRequest::RETRY_FAILED:
      return core::SweepVerb::kRetryFailed;
    default:
      return Bad("verb", StrCat(static_cast<int>(verb), " is none of PAUSE, RESUME, CANCEL, RETRY_FAILED"));
  }
}

absl::StatusOr<core::WorkerVerb> VerbOf(v1::ChangeWorkerRequest::Verb verb) {
  switch (verb) {
    case v1::ChangeWorkerRequest::DRAIN:
      return core::WorkerVerb::kDrain;
    case v1::ChangeWorkerRequest::REMOVE:
      return core::WorkerVerb::kRemove;
    default:
      return Bad("verb", StrCat(static_cast<int>(verb), " is none of DRAIN, REMOVE"));
  }
}

void FillSweep(const core::SweepCounts& sweep, v1::SweepStatus* out) {
  out->set_sweep(sweep.name);
  out->set_state(std::string(core::ToWord(sweep.state)));
  out->set_reason(sweep.reason);
  out->set_points(sweep.points);
  out->set_done(sweep.done);
  out->set_failed(sweep.failed);
  out->set_running(sweep.running);
  out->set_pending(sweep.pending);
  out->set_rate_per_second(sweep.rate_per_second);
  out->set_eta_seconds(sweep.eta_seconds);
  out->set_architectures(sweep.cells);
  out->set_architectures_settled(sweep.cells_settled);
}

void FillWorker(const core::WorkerView& worker, v1::WorkerStatus* out) {
  out->set_worker(worker.worker.value());
  out->set_host(worker.host);
  out->set_state(std::string(core::ToWord(worker.state)));
  out->set_last_seen_seconds(worker.last_seen_seconds);
  out->set_reason(worker.reason);
  for (const core::DeviceView& device : worker.devices) {
    v1::DeviceStatus* row = out->add_devices();
    row->set_device(device.name);
    row->set_kind(device.kind);
    row->set_state(device.state);
    row->set_slots(device.slots);
    row->set_running(device.running);
    row->set_points_done(device.points_done);
    row->set_reason(device.reason);
  }
}

absl::Status ListSweepsInto(const Engine& engine, const std::string& name, v1::ListSweepsResponse* response) {
  std::vector<std::string> names;
  for (const core::SweepCounts& sweep : engine.Sweeps()) {
    names.push_back(sweep.name);
    if (name.empty() || name == sweep.name) {
      FillSweep(sweep, response->add_sweeps());
    }
  }
  if (!name.empty() && response->sweeps_size() == 0) {
    names.resize(std::min<size_t>(names.size(), 10));
    return absl::NotFoundError(
        StrCat("no sweep '", name, "'; there are: ", names.empty() ? "none" : StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<store::QueryLimits> LimitsOf(int64_t max_rows, double max_seconds, std::string_view rows_field) {
  if (max_rows < 0) {
    return Bad(rows_field, StrCat(max_rows, " is negative; 0 means the server's limit"));
  }
  if (!std::isfinite(max_seconds) || max_seconds < 0) {
    return Bad("max_seconds", StrCat(max_seconds, " is not a number of seconds; 0 means the server's limit"));
  }
  store::QueryLimits limits;
  limits.max_bytes = kMaxReplyBytes;
  limits.max_rows = max_rows == 0 ? limits.max_rows : std::min(max_rows, limits.max_rows);
  limits.max_time = FromSeconds(max_seconds == 0 ? kMaxQuerySeconds : std::min(max_seconds, kMaxQuerySeconds));
  return limits;
}

// Ids are positive, so 0 starts at the first row.
absl::StatusOr<int64_t> PointOfToken(const std::string& token) {
  int64_t point = 0;
  if (!token.empty()) {
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), point);
    if (error != std::errc() || end != token.data() + token.size() || point < 0) {
      return Bad("page_token", "was not given out by this coordinator; leave it empty for the first page");
    }
  }
  return point;
}

absl::Status FillPage(const store::Table& table, v1::TableResponse* response) {
  ASSIGN_OR_RETURN(const size_t written, FillTable(table, response));
  const auto column = std::find(table.columns.begin(), table.columns.end(), "point_id");
  if (column == table.columns.end()) {
    return absl::InternalError("v_results has no column point_id");
  }
  if (response->truncated() && written > 0) {
    const store::Cell& last = table.rows[written - 1][static_cast<size_t>(column - table.columns.begin())];
    response->set_next_page_token(StrCat(std::get<int64_t>(last)));
  }
  response->set_truncated(false);  // nothing is lost: the next page has it
  return absl::OkStatus();
}

// What a changing verb is about, for the audit: its short texts and words.
std::string Target(const google::protobuf::Message& request) {
  constexpr size_t kLongest = 128;
  std::string out;
  const google::protobuf::Reflection& fields = *request.GetReflection();
  const google::protobuf::Descriptor& type = *request.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = type.field(i);
    std::string value;
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
      value = fields.GetString(request, field);
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_ENUM) {
      value = fields.GetEnum(request, field)->name();
    }
    // A sweep file or a fit is too long to be quoted; a JSON object says nothing in a line.
    if (!value.empty() && value.size() <= kLongest && value[0] != '{' && value.find('\n') == std::string::npos) {
      StrAppend(&out, out.empty() ? "" : " ", field->name(), "=", value);
    }
  }
  return out;
}

// `run` on plain messages, as a transport has them.
template <class Request, class Response, class Run>
UserVerb MakeVerb(const char* method, UserVerb::Lane lane, bool changes, Run run) {
  UserVerb verb;
  verb.method = method;
  verb.path = StrCat("/", v1::SweepService::service_full_name(), "/", method);
  verb.lane = lane;
  verb.changes = changes;
  verb.request = &Request::default_instance();
  verb.response = &Response::default_instance();
  verb.run = [run](const google::protobuf::Message& request, google::protobuf::Message* response) -> absl::Status {
    return run(static_cast<const Request&>(request), static_cast<Response*>(response));
  };
  return verb;
}

absl::Status DoChangeSweep(Engine& engine, const v1::ChangeSweepRequest& request, v1::ChangeSweepResponse* response) {
  RETURN_IF_ERROR(CheckName("sweep", request.sweep()));
  ASSIGN_OR_RETURN(const core::SweepVerb verb, VerbOf(request.verb()));
  ASSIGN_OR_RETURN(const Engine::Changed changed, engine.ChangeSweep(request.sweep(), verb));
  response->set_state(changed.state);
  response->set_points_affected(changed.points_affected);
  return absl::OkStatus();
}

absl::Status DoChangeWorker(Engine& engine, const v1::ChangeWorkerRequest& request) {
  if (!IsWorkerId(request.worker())) {
    return Bad("worker", "is not a worker's id ([A-Za-z0-9._:@-], 1 to 128 characters)");
  }
  ASSIGN_OR_RETURN(const core::WorkerVerb verb, VerbOf(request.verb()));
  return engine.ChangeWorker(request.worker(), verb);
}

absl::Status DoStoreFit(Engine& engine, const v1::StoreFitRequest& request, v1::StoreFitResponse* response) {
  RETURN_IF_ERROR(CheckLength("sweep", request.sweep(), kMaxNameBytes));
  RETURN_IF_ERROR(CheckLength("fit_json", request.fit_json(), kMaxFitBytes));
  RETURN_IF_ERROR(CheckLength("settings_json", request.settings_json(), kMaxFitBytes));
  if (request.fit_json().empty()) {
    return Bad("fit_json", "is empty");
  }
  ASSIGN_OR_RETURN(const int64_t id,
                   engine.store().AddFit(request.sweep(), request.fit_json(), request.settings_json()));
  response->set_fit_id(id);
  return absl::OkStatus();
}

absl::Status DoListWorkers(const Engine& engine, v1::ListWorkersResponse* response) {
  for (const core::WorkerView& worker : engine.Workers()) {
    FillWorker(worker, response->add_workers());
  }
  return absl::OkStatus();
}

absl::Status DoExplain(const Engine& engine, const v1::ExplainRequest& request, v1::ExplainResponse* response) {
  RETURN_IF_ERROR(CheckName("subject", request.subject()));
  ASSIGN_OR_RETURN(*response->mutable_text(), engine.Explain(request.subject()));
  return absl::OkStatus();
}

absl::Status DoGetServerInfo(Engine& engine, v1::GetServerInfoResponse* response) {
  const absl::Status health = engine.StoreHealth();
  response->set_version(BuildInfo());
  response->set_database_id(engine.database_id());
  response->set_database_path(engine.store().path());
  response->set_pid(getpid());
  response->set_store_writable(health.ok());
  response->set_store_error(std::string(health.message()));
  response->set_uptime_seconds(engine.UptimeSeconds());
  return absl::OkStatus();
}

// PERMISSION_DENIED is kept for who may call; SQL that changes something is nobody's.
absl::Status NobodyMay(const absl::Status& status) {
  return absl::IsPermissionDenied(status) ? absl::FailedPreconditionError(status.message()) : status;
}

}  // namespace

UserVerbs::UserVerbs(Engine* engine, Access* access, AuditLog* audit)
    : engine_(engine),
      access_(access),
      audit_(audit),
      submit_pool_(2, kMaxWaitingCalls),
      change_pool_(4, kMaxWaitingCalls),
      read_pool_(4, kMaxWaitingCalls) {
  AddVerbs();
}

absl::StatusOr<std::unique_ptr<UserVerbs>> UserVerbs::Create(Engine* engine, Access* access, AuditLog* audit) {
  std::unique_ptr<UserVerbs> verbs(new UserVerbs(engine, access, audit));
  for (LockedReader* locked : {&verbs->queries_, &verbs->results_}) {
    MutexLock lock(&locked->mu);
    ASSIGN_OR_RETURN(locked->reader, store::Reader::Open(engine->store().path()));
  }
  return verbs;
}

void UserVerbs::AddVerbs() {
  using Lane = UserVerb::Lane;
  const auto submit = [this](bool extend) {
    return [this, extend](const v1::SubmitSweepRequest& request, v1::SubmitSweepResponse* response) {
      return DoSubmit(*engine_, request, extend, response);
    };
  };
  verbs_ = {
      MakeVerb<v1::SubmitSweepRequest, v1::SubmitSweepResponse>("SubmitSweep", Lane::kSubmit, true, submit(false)),
      MakeVerb<v1::SubmitSweepRequest, v1::SubmitSweepResponse>("ExtendSweep", Lane::kSubmit, true, submit(true)),
      MakeVerb<v1::ChangeSweepRequest, v1::ChangeSweepResponse>(
          "ChangeSweep", Lane::kChange, true,
          [this](const auto& request, auto* response) { return DoChangeSweep(*engine_, request, response); }),
      MakeVerb<v1::ChangeWorkerRequest, v1::ChangeWorkerResponse>(
          "ChangeWorker", Lane::kChange, true,
          [this](const auto& request, auto*) { return DoChangeWorker(*engine_, request); }),
      MakeVerb<v1::StoreFitRequest, v1::StoreFitResponse>(
          "StoreFit", Lane::kChange, true,
          [this](const auto& request, auto* response) { return DoStoreFit(*engine_, request, response); }),
      MakeVerb<v1::ListSweepsRequest, v1::ListSweepsResponse>(
          "ListSweeps", Lane::kAtOnce, false,
          [this](const auto& request, auto* response) { return ListSweepsInto(*engine_, request.sweep(), response); }),
      MakeVerb<v1::ListWorkersRequest, v1::ListWorkersResponse>(
          "ListWorkers", Lane::kAtOnce, false,
          [this](const auto&, auto* response) { return DoListWorkers(*engine_, response); }),
      MakeVerb<v1::QueryRequest, v1::TableResponse>(
          "Query", Lane::kRead, false,
          [this](const auto& request, auto* response) { return Query(request, response); }),
      MakeVerb<v1::ListResultsRequest, v1::TableResponse>(
          "ListResults", Lane::kRead, false,
          [this](const auto& request, auto* response) { return ListResults(request, response); }),
      MakeVerb<v1::ExplainRequest, v1::ExplainResponse>(
          "Explain", Lane::kRead, false,
          [this](const auto& request, auto* response) { return DoExplain(*engine_, request, response); }),
      MakeVerb<v1::GetServerInfoRequest, v1::GetServerInfoResponse>(
          "GetServerInfo", Lane::kAtOnce, false,
          [this](const auto&, auto* response) { return DoGetServerInfo(*engine_, response); }),
  };
}

const UserVerb* UserVerbs::Find(std::string_view path) const {
  const auto found =
      std::find_if(verbs_.begin(), verbs_.end(), [&](const UserVerb& verb) { return verb.path == path; });
  return found == verbs_.end() ? nullptr : &*found;
}

void UserVerbs::Run(const UserVerb& verb, const Caller& caller, const google::protobuf::Message& request,
                    google::protobuf::Message* response, std::function<bool()> unwanted,
                    std::function<void(const absl::Status&)> done) {
  auto work = [this, &verb, caller, &request, response, unwanted = std::move(unwanted), done] {
    // Whoever gave up while the call waited in the queue does not want the work done.
    const absl::Status status = unwanted() ? absl::CancelledError("the caller went away") : verb.run(request, response);
    if (verb.changes) {
      audit_->Called(caller, verb.method, Target(request), status);
    }
    done(status);
  };
  if (verb.lane == UserVerb::Lane::kAtOnce) {
    work();
    return;
  }
  TaskPool& pool = verb.lane == UserVerb::Lane::kSubmit   ? submit_pool_
                   : verb.lane == UserVerb::Lane::kChange ? change_pool_
                                                          : read_pool_;
  if (!pool.Post(std::move(work))) {
    done(absl::ResourceExhaustedError(
        StrCat("more than ", kMaxWaitingCalls, " calls of this kind are waiting; try again later")));
  }
}

absl::Status UserVerbs::Query(const v1::QueryRequest& request, v1::TableResponse* response) {
  RETURN_IF_ERROR(CheckLength("sql", request.sql(), kMaxSqlBytes));
  ASSIGN_OR_RETURN(const store::QueryLimits limits, LimitsOf(request.max_rows(), request.max_seconds(), "max_rows"));
  MutexLock lock(&queries_.mu);
  const absl::StatusOr<store::Table> table = queries_.reader->Query(request.sql(), limits);
  RETURN_IF_ERROR(NobodyMay(table.status()));
  return FillTable(*table, response).status();
}

absl::Status UserVerbs::ListResults(const v1::ListResultsRequest& request, v1::TableResponse* response) {
  RETURN_IF_ERROR(CheckName("sweep", request.sweep()));
  RETURN_IF_ERROR(CheckLength("where", request.where(), kMaxSqlBytes));
  ASSIGN_OR_RETURN(store::QueryLimits limits, LimitsOf(request.page_size(), 0, "page_size"));
  limits.max_rows = std::min(limits.max_rows, kMaxPageRows);
  ASSIGN_OR_RETURN(const int64_t after, PointOfToken(request.page_token()));
  MutexLock lock(&results_.mu);
  const absl::StatusOr<store::Table> table = results_.reader->Results(request.sweep(), request.where(), after, limits);
  RETURN_IF_ERROR(NobodyMay(table.status()));
  return FillPage(*table, response);
}

}  // namespace capsweep::service
