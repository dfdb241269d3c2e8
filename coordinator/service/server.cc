#include "coordinator/service/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_split.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/address.h"
#include "coordinator/service/http/router.h"
#include "coordinator/service/security/access.h"
#include "coordinator/service/security/audit.h"
#include "coordinator/service/security/handshake_watch.h"
#include "coordinator/service/sweep_service.h"
#include "coordinator/service/user_verbs.h"
#include "coordinator/service/worker_service.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

constexpr std::chrono::seconds kShutdownGrace(2);
constexpr std::chrono::milliseconds kHouseInterval(500);
// Of messages on their way, all connections together: a flood of large ones waits instead of filling memory.
constexpr size_t kMaxBufferedBytes = 512 << 20;
constexpr int kMaxCallsOfConnection = 4096;

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("coordinator").Resize(kMaxBufferedBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsOfConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
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

absl::StatusOr<ListenAddress> CheckedAddress(const ServerOptions& options, const std::string& option,
                                             const std::string& text) {
  ASSIGN_OR_RETURN(ListenAddress address, ParseListenAddress(text));
  RETURN_IF_ERROR(CheckReach(address, options.transport, options.allow_insecure_network, option, text));
  // gRPC only says that it could not bind, and takes over a unix socket in use: ask the system first.
  RETURN_IF_ERROR(ProbeListen(address));
  return address;
}

}  // namespace

struct Server::Impl {
  explicit Impl(Engine* e) : engine(e), audit(&e->clock(), [e](core::Audit row) { e->Audit(std::move(row)); }) {}

  absl::Status StartGrpc(const ServerOptions& options, const Transport& transport);
  absl::Status StartHttp(const ServerOptions& options, const Transport& transport);
  void KeepHouse();

  Engine* const engine;
  AuditLog audit;
  std::unique_ptr<Access> access;
  std::unique_ptr<HandshakeWatch> handshakes;
  ListenAddress address;
  int port = 0;
  std::unique_ptr<UserVerbs> verbs;
  std::unique_ptr<WorkerService> workers;
  std::unique_ptr<SweepService> sweeps;
  std::unique_ptr<grpc::Server> server;  // after the services: it goes first
  ListenAddress http_address;
  std::unique_ptr<HttpRouter> router;
  std::unique_ptr<HttpServer> http;

  std::mutex house_mutex;
  std::condition_variable house_wake;
  bool house_stop = false;  // guarded by house_mutex
  std::thread house;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::Status Server::Impl::StartGrpc(const ServerOptions& options, const Transport& transport) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  handshakes = std::make_unique<HandshakeWatch>([door = access.get()](const std::string& reason) {
    door->Unheard(
        StrCat("TLS handshake: ", reason), "unknown",
        absl::UnauthenticatedError("no TLS of a kind that is spoken here, or a certificate that is not valid"));
  });
  builder.AddListeningPort(address.ForGrpc(), MakeServerCredentials(transport, access.get()), &port);
  builder.RegisterService(workers.get());
  builder.RegisterService(sweeps.get());
  server = builder.BuildAndStart();
  if (server == nullptr) {
    return absl::AlreadyExistsError(
        StrCat("cannot listen on ", options.listen, " (port in use?); pick another with --listen"));
  }
  return absl::OkStatus();
}

absl::Status Server::Impl::StartHttp(const ServerOptions& options, const Transport& transport) {
  if (options.http.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(http_address, CheckedAddress(options, "--http", options.http));
  std::vector<std::string> hosts = transport.certificate.hosts;
  hosts.push_back(http_address.host);
  for (const absl::string_view host : absl::StrSplit(options.http_hosts, ',', absl::SkipWhitespace())) {
    hosts.emplace_back(host.data(), host.size());
  }
  router = std::make_unique<HttpRouter>(engine, verbs.get(), access.get(), std::move(hosts));
  ASSIGN_OR_RETURN(http, HttpServer::Start(http_address, transport, router->Handler()));
  return absl::OkStatus();
}

void Server::Impl::KeepHouse() {
  std::unique_lock lock(house_mutex);
  while (!house_wake.wait_for(lock, kHouseInterval, [this] { return house_stop; })) {
    access->ReloadTokens();
    audit.WriteCounts();
    if (http != nullptr) {
      http->CloseSlow();
    }
  }
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Engine* engine, const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(engine);
  ASSIGN_OR_RETURN(impl->address, CheckedAddress(options, "--listen", options.listen));
  ASSIGN_OR_RETURN(const Transport transport, ReadTransport(options.transport, engine->clock().WallMillis() / 1000));
  const AccessOptions access{.enforced = transport.tls, .tokens_file = options.transport.tokens};
  ASSIGN_OR_RETURN(impl->access, Access::Create(access, &engine->clock(), &impl->audit, &engine->metrics()));
  ASSIGN_OR_RETURN(impl->verbs, UserVerbs::Create(engine, impl->access.get(), &impl->audit));
  impl->workers = std::make_unique<WorkerService>(engine, impl->access.get(), options.quotas);
  impl->sweeps = std::make_unique<SweepService>(impl->verbs.get(), impl->access.get(), &engine->metrics());
  engine->metrics().certificate_expiry = transport.tls ? transport.certificate.validity.not_after : 0;
  RETURN_IF_ERROR(impl->StartGrpc(options, transport));
  if (absl::Status status = impl->StartHttp(options, transport); !status.ok()) {
    impl->server->Shutdown();
    return status;
  }
  engine->SetHealthListener([server = impl->server.get()](const absl::Status& health) {
    server->GetHealthCheckService()->SetServingStatus(health.ok());
  });
  impl->house = std::thread([self = impl.get()] { self->KeepHouse(); });
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

absl::Status Server::CheckOptions(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckedAddress(options, "--listen", options.listen).status());
  if (!options.http.empty()) {
    RETURN_IF_ERROR(CheckedAddress(options, "--http", options.http).status());
  }
  return ReadTransport(options.transport, Clock::Real().WallMillis() / 1000).status();
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

std::string Server::http_address() const {
  return impl_->http == nullptr ? "" : impl_->http_address.ForPeople(impl_->http->port());
}

void Server::Shutdown() {
  if (impl_->server == nullptr) {
    return;
  }
  {
    const std::lock_guard lock(impl_->house_mutex);
    impl_->house_stop = true;
  }
  impl_->house_wake.notify_all();
  impl_->house.join();
  impl_->engine->SetHealthListener(nullptr);
  impl_->engine->StopCalls();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  impl_->http.reset();
  impl_->server.reset();
}

}  // namespace capsweep::service
