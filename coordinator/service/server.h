// The coordinator's servers around an Engine: gRPC with worker and user services, health, reflection, limits,
// keepalive; beside it HTTP, if wanted.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "coordinator/service/engine.h"
#include "coordinator/service/security/transport.h"
#include "coordinator/service/security/worker_limits.h"

namespace capsweep::service {

struct ServerOptions {
  std::string listen = "127.0.0.1:7171";  // port 0 picks a free one
  std::string http;                       // HTTP (JSON verbs, /metrics) at this address; "" = no HTTP
  std::string http_hosts;                 // names, by commas, that may stand in a Host header beside addresses
  TransportOptions transport;             // of both
  // An address that is not loopback is refused without TLS or this (flag --i-know-this-is-insecure).
  bool allow_insecure_network = false;
  WorkerQuotas quotas;
};

class Server {
 public:
  // InvalidArgument for a bad or unprotected address or bad TLS files, AlreadyExists when the port is in use (message
  // says how to pick another). Serves grpc.health.v1 (NOT_SERVING while the store cannot be written) and reflection.
  // `engine` must outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Engine* engine, const ServerOptions& options);
  // What Start would refuse the address for, opening nothing: so that a bad one is told before a database is made.
  static absl::Status CheckOptions(const ServerOptions& options);
  ~Server();
  int port() const;
  std::string address() const;       // host:port for workers
  std::string http_address() const;  // host:port; "" = no HTTP
  // Stops the engine's calls too (Engine::StopCalls), waits up to 2 s for open ones and cancels the rest. Idempotent.
  void Shutdown();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::service
