#include "coordinator/service/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <utility>

#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/address.h"
#include "coordinator/service/sweep_service.h"
#include "coordinator/service/worker_service.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

constexpr std::chrono::seconds kShutdownGrace(2);

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  // Two servers sharing a port would each get half of the workers: a port in use must be an error.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Without pings a peer that vanished without a word is noticed minutes later, with its calls held open until then.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Agents ping every few seconds while a call is held open; that is not abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
}

absl::StatusOr<ListenAddress> CheckedAddress(const ServerOptions& options) {
  ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(options.listen));
  if (address.loopback || options.allow_insecure_network) {
    // gRPC only says that it could not bind, and takes over a unix socket in use: ask the system first.
    RETURN_IF_ERROR(ProbeListen(address));
    return address;
  }
  return absl::InvalidArgumentError(
      StrCat("--listen '", options.listen,
             "' can be reached from other machines, and anyone who reaches it can run and "
             "read sweeps; listen on 127.0.0.1 (through ssh -L or -R if need be) or give --i-know-this-is-insecure"));
}

}  // namespace

struct Server::Impl {
  explicit Impl(Engine* e) : engine(e), workers(e) {}

  Engine* const engine;
  ListenAddress address;
  int port = 0;
  WorkerService workers;
  std::unique_ptr<SweepService> sweeps;
  std::unique_ptr<grpc::Server> server;  // after the services: it goes first
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Engine* engine, const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(engine);
  ASSIGN_OR_RETURN(impl->address, CheckedAddress(options));
  ASSIGN_OR_RETURN(impl->sweeps, SweepService::Create(engine));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  builder.AddListeningPort(impl->address.ForGrpc(), grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->workers);
  builder.RegisterService(impl->sweeps.get());
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) {
    return absl::AlreadyExistsError(
        StrCat("cannot listen on ", options.listen, " (port in use?); pick another with --listen"));
  }
  engine->SetHealthListener([server = impl->server.get()](const absl::Status& health) {
    server->GetHealthCheckService()->SetServingStatus(health.ok());
  });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

absl::Status Server::CheckOptions(const ServerOptions& options) {
  return CheckedAddress(options).status();
}

Server::~Server() {
  Shutdown();
}

int Server::port() const {
  return impl_->port;
}
std::string Server::address() const {
  return impl_->address.ForPeople(impl_->port);
}

void Server::Shutdown() {
  if (impl_->server == nullptr) {
    return;
  }
  impl_->engine->SetHealthListener(nullptr);
  impl_->engine->StopCalls();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  impl_->server.reset();
}

}  // namespace capsweep::service
