#include "cli/remote.h"

#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "cli/workers_table.h"
#include "common/status.h"
#include "common/text.h"
#include "proto/convert.h"

namespace capsweep::cli {
namespace {

constexpr int64_t kPageRows = 2000;

absl::Status ValidateAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 ||
      port > 65535 || address.find_first_of(" /\t\n") != std::string::npos) {
    return absl::InvalidArgumentError(
        StrCat("coordinator address '", address, "': must be HOST:PORT, for example ", kDefaultCoordinator));
  }
  return absl::OkStatus();
}

absl::Status Unreachable(const std::string& address, std::string_view why) {
  return absl::UnavailableError(StrCat("no coordinator at ", address, " (", why,
                                       "); start one with `capsweep coordinator --db FILE --listen ", address,
                                       "` or pass the right --coordinator HOST:PORT"));
}

// Texts are moved out.
store::Cell FromProto(v1::Value& value) {
  switch (value.kind_case()) {
    case v1::Value::kInteger:
      return value.integer();
    case v1::Value::kReal:
      return value.real();
    case v1::Value::kText:
      return std::move(*value.mutable_text());
    case v1::Value::kBlob:
      return std::move(*value.mutable_blob());
    default:
      return std::monostate();
  }
}

store::Table FromProto(v1::TableResponse& response) {
  store::Table table;
  table.columns.assign(response.columns().begin(), response.columns().end());
  table.truncated = response.truncated();
  table.rows.reserve(static_cast<size_t>(response.rows_size()));
  for (v1::Row& row : *response.mutable_rows()) {
    std::vector<store::Cell>& cells = table.rows.emplace_back();
    cells.reserve(static_cast<size_t>(row.values_size()));
    for (v1::Value& value : *row.mutable_values()) {
      cells.push_back(FromProto(value));
    }
  }
  return table;
}

store::SweepProgress FromProto(const v1::SweepStatus& status) {
  store::SweepProgress progress;
  progress.sweep = status.sweep();
  progress.state = status.state();
  progress.reason = status.reason();
  progress.points = status.points();
  progress.done = status.done();
  progress.failed = status.failed();
  progress.running = status.running();
  progress.pending = status.pending();
  progress.rate_per_second = status.rate_per_second();
  progress.eta_seconds = status.eta_seconds();
  progress.architectures = status.architectures();
  progress.architectures_settled = status.architectures_settled();
  return progress;
}

core::WorkerView FromProto(const v1::WorkerStatus& status) {
  core::WorkerView view;
  view.worker = WorkerId(status.worker());
  view.host = status.host();
  view.state = WorkerStateFromWord(status.state());
  view.last_seen_seconds = status.last_seen_seconds();
  view.reason = status.reason();
  for (const v1::DeviceStatus& device : status.devices()) {
    view.devices.push_back({device.device(), device.kind(), device.state(), device.reason(), device.slots(),
                            device.running(), device.points_done()});
  }
  return view;
}

}  // namespace

void AddSecurityOptions(CLI::App& verb, ClientSecurity& security) {
  verb.add_option("--tls-ca", security.tls_ca, "Speak TLS and trust this authority (also CAPSWEEP_TLS_CA)")
      ->type_name("FILE");
  verb.add_option("--token-file", security.token_file, "File with a token, mode 0600 (also CAPSWEEP_TOKEN_FILE)")
      ->type_name("FILE");
  verb.add_option("--tls-cert", security.tls_cert, "Client certificate (also CAPSWEEP_TLS_CERT)")->type_name("FILE");
  verb.add_option("--tls-key", security.tls_key, "Its key, mode 0600 (also CAPSWEEP_TLS_KEY)")->type_name("FILE");
}

void AddRemoteOptions(CLI::App& verb, RemoteOptions& options) {
  verb.add_option("--coordinator", options.address,
                  StrCat("Coordinator (also CAPSWEEP_COORDINATOR; default ", kDefaultCoordinator, ")"))
      ->type_name("HOST:PORT");
  AddSecurityOptions(verb, options.security);
}

absl::StatusOr<std::unique_ptr<Remote>> Remote::Connect(const RemoteOptions& options, Duration patience) {
  const char* from_environment = std::getenv("CAPSWEEP_COORDINATOR");
  std::string address = options.address;
  if (address.empty()) {
    address = from_environment != nullptr && *from_environment != '\0' ? from_environment : kDefaultCoordinator;
  }
  RETURN_IF_ERROR(ValidateAddress(address));
  const ClientSecurity security = WithEnvironment(options.security);
  ASSIGN_OR_RETURN(const auto credentials, MakeCredentials(security));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a proxy of the environment is for the web, not for the cluster
  auto channel = grpc::CreateCustomChannel(address, credentials, arguments);
  const auto deadline = std::chrono::system_clock::now() + patience;
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) {
      break;
    }
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) {
      return Unreachable(address, security.tls()
                                      ? StrCat("connection or TLS handshake refused: ", ConnectionAdvice(security))
                                      : "connection refused or no such host");
    }
    if (!channel->WaitForStateChange(state, deadline)) {
      return Unreachable(address, StrCat("no answer within ", ToSeconds(patience), " s; ", ConnectionAdvice(security)));
    }
  }
  std::unique_ptr<Remote> remote(new Remote(address));
  remote->stub_ = v1::SweepService::NewStub(channel);
  return remote;
}

template <class Request, class Response>
absl::Status Remote::Call(grpc::Status (v1::SweepService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                         Response*),
                          const Request& request, Response* response, Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  const absl::Status status = FromGrpc((stub_.get()->*method)(&context, request, response));
  if (status.code() == absl::StatusCode::kUnavailable) {
    return Annotate(status, StrCat("coordinator at ", address_));
  }
  return status;
}

absl::StatusOr<v1::SubmitSweepResponse> Remote::Submit(const v1::SubmitSweepRequest& request, bool extend) {
  v1::SubmitSweepResponse response;
  // A million points are enumerated, hashed and stored within this call.
  const Duration timeout = std::chrono::minutes(10);
  RETURN_IF_ERROR(extend ? Call(&v1::SweepService::Stub::ExtendSweep, request, &response, timeout)
                         : Call(&v1::SweepService::Stub::SubmitSweep, request, &response, timeout));
  return response;
}

absl::StatusOr<v1::ChangeSweepResponse> Remote::ChangeSweep(const std::string& sweep,
                                                            v1::ChangeSweepRequest::Verb verb) {
  v1::ChangeSweepRequest request;
  request.set_sweep(sweep);
  request.set_verb(verb);
  v1::ChangeSweepResponse response;
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::ChangeSweep, request, &response));
  return response;
}

absl::Status Remote::ChangeWorker(const std::string& worker, v1::ChangeWorkerRequest::Verb verb) {
  v1::ChangeWorkerRequest request;
  request.set_worker(worker);
  request.set_verb(verb);
  v1::ChangeWorkerResponse response;
  return Call(&v1::SweepService::Stub::ChangeWorker, request, &response);
}

absl::StatusOr<std::vector<store::SweepProgress>> Remote::Sweeps(const std::string& sweep) {
  v1::ListSweepsRequest request;
  request.set_sweep(sweep);
  v1::ListSweepsResponse response;
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::ListSweeps, request, &response));
  std::vector<store::SweepProgress> sweeps;
  for (const v1::SweepStatus& status : response.sweeps()) {
    sweeps.push_back(FromProto(status));
  }
  return sweeps;
}

absl::StatusOr<std::vector<core::WorkerView>> Remote::Workers() {
  v1::ListWorkersResponse response;
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::ListWorkers, v1::ListWorkersRequest(), &response));
  std::vector<core::WorkerView> workers;
  for (const v1::WorkerStatus& status : response.workers()) {
    workers.push_back(FromProto(status));
  }
  return workers;
}

absl::StatusOr<store::Table> Remote::Query(const std::string& sql, const store::QueryLimits& limits) {
  v1::QueryRequest request;
  request.set_sql(sql);
  request.set_max_rows(limits.max_rows);
  request.set_max_seconds(ToSeconds(limits.max_time));
  google::protobuf::Arena arena;
  auto* const response = google::protobuf::Arena::CreateMessage<v1::TableResponse>(&arena);
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::Query, request, response, limits.max_time + std::chrono::seconds(10)));
  return FromProto(*response);
}

absl::StatusOr<store::Table> Remote::ResultsPage(const std::string& sweep, const std::string& where,
                                                 std::string& page_token) {
  v1::ListResultsRequest request;
  request.set_sweep(sweep);
  request.set_where(where);
  request.set_page_token(page_token);
  request.set_page_size(kPageRows);
  google::protobuf::Arena arena;
  auto* const response = google::protobuf::Arena::CreateMessage<v1::TableResponse>(&arena);
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::ListResults, request, response));
  page_token = response->next_page_token();
  return FromProto(*response);
}

absl::StatusOr<int64_t> Remote::StoreFit(const std::string& sweep, const std::string& fit_json,
                                         const std::string& settings_json) {
  v1::StoreFitRequest request;
  request.set_sweep(sweep);
  request.set_fit_json(fit_json);
  request.set_settings_json(settings_json);
  v1::StoreFitResponse response;
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::StoreFit, request, &response));
  return response.fit_id();
}

absl::StatusOr<std::string> Remote::Explain(const std::string& subject) {
  v1::ExplainRequest request;
  request.set_subject(subject);
  v1::ExplainResponse response;
  RETURN_IF_ERROR(Call(&v1::SweepService::Stub::Explain, request, &response));
  return response.text();
}

}  // namespace capsweep::cli
