// A coordinator with TLS, tokens, client certificates and HTTP, from files that `capsweep certs init` made.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>

#include <atomic>
#include <fstream>
#include <string>

#include "common/file.h"
#include "common/security/certificates.h"
#include "common/security/secret_file.h"
#include "common/security/tokens.h"
#include "coordinator/service/server.h"
#include "proto/client_security.h"
#include "tests/support/call_cli.h"
#include "tests/support/coordinator_harness.h"
#include "tests/support/https_client.h"

namespace capsweep::testing_support {

// The real one, moved on by hand.
class MovedClock : public Clock {
 public:
  Instant Now() const override { return Clock::Real().Now() + std::chrono::seconds(seconds_); }
  int64_t WallMillis() const override { return Clock::Real().WallMillis(); }
  void Move(int64_t seconds) { seconds_ += seconds; }

 private:
  std::atomic<int64_t> seconds_{0};
};

inline int RunCapsweep(const std::vector<std::string>& arguments, std::string* out = nullptr,
                       std::string* err = nullptr) {
  const cli::Answer answer = cli::Call(arguments);
  if (out != nullptr) *out = answer.out;
  if (err != nullptr) *err = answer.err;
  return answer.code;
}

class SecureCoordinator {
 public:
  explicit SecureCoordinator(const service::WorkerQuotas& quotas = {}) {
    EXPECT_EQ(RunCapsweep({"certs", "init", Path(""), "--client", "operator:olga", "--client", "worker:willy",
                           "--client", "reader:rita"}),
              0);
    service::EngineOptions engine_options;
    engine_options.database = folder.Path("a.db");
    engine_options.core = FastOptions();
    engine_options.tick = std::chrono::milliseconds(20);
    engine_options.clock = &clock;
    auto opened = service::Engine::Open(std::move(engine_options));
    EXPECT_TRUE(opened.ok()) << opened.status();
    engine = *std::move(opened);
    service::ServerOptions options{.listen = "127.0.0.1:0", .http = "127.0.0.1:0", .quotas = quotas};
    options.transport = {.tls_cert = Path("server.crt"),
                         .tls_key = Path("server.key"),
                         .tls_client_ca = Path("ca.crt"),
                         .tokens = Path("tokens")};
    auto started = service::Server::Start(engine.get(), options);
    EXPECT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    const std::string http = server->http_address();
    http_port = std::atoi(http.substr(http.rfind(':') + 1).c_str());
  }

  std::string Path(const std::string& name) const { return folder.Path(StrCat("certs/", name)); }
  std::string Token(const std::string& role) const {
    const auto token = security::ReadTokenFile(Path(StrCat(role, ".token")));
    EXPECT_TRUE(token.ok()) << token.status();
    return *token;
  }

  // A client certificate whose time is over, or that says another role.
  void MakeClient(const std::string& name, const std::string& role, int64_t from_days, int64_t to_days) {
    const int64_t now = Clock::Real().WallMillis() / 1000, day = 86400;
    const auto pair = security::MakeClientCertificate({*ReadFile(Path("ca.crt")), *ReadFile(Path("ca.key"))}, role,
                                                      name, {now + from_days * day, now + to_days * day});
    ASSERT_TRUE(pair.ok()) << pair.status();
    ASSERT_TRUE(security::WriteSecretFile(Path(name + ".crt"), pair->certificate).ok());
    ASSERT_TRUE(security::WriteSecretFile(Path(name + ".key"), pair->key).ok());
  }

  std::shared_ptr<grpc::Channel> Channel(const std::string& certificate = "") const {
    ClientSecurity security{.tls_ca = Path("ca.crt")};
    if (!certificate.empty()) {
      security.tls_cert = Path(certificate + ".crt");
      security.tls_key = Path(certificate + ".key");
    }
    const auto credentials = MakeCredentials(security);
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    return NewChannel(*credentials);
  }
  std::shared_ptr<grpc::Channel> NewChannel(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxSendMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server->address(), credentials, arguments);
  }

  // A gRPC call of any method with any bytes; `token` "" = no header.
  static grpc::Status CallGrpc(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                               const std::string& token, const std::string& bytes = "") {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    if (!token.empty()) {
      context.AddMetadata("authorization", "Bearer " + token);
    }
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        channel.get(), grpc::internal::RpcMethod(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC), &context,
        request, &response);
  }

  static std::string PostHeaders(const std::string& token) {
    return StrCat("Host: localhost\r\nContent-Type: application/json\r\n",
                  token.empty() ? "" : StrCat("Authorization: Bearer ", token, "\r\n"));
  }
  HttpConnection::Response Post(const std::string& path, const std::string& token, const std::string& body = "{}",
                                const std::string& certificate = "") const {
    const TlsFiles tls = Tls(certificate);
    HttpConnection connection(http_port, &tls);
    return connection.Call("POST", path, PostHeaders(token), body);
  }
  TlsFiles Tls(const std::string& certificate = "") const {
    return {Path("ca.crt"), certificate.empty() ? "" : Path(certificate + ".crt"),
            certificate.empty() ? "" : Path(certificate + ".key")};
  }

  // Rows of `events`, written out.
  std::vector<std::string> Events(const std::string& kind) const {
    EXPECT_TRUE(engine->Flush().ok());
    std::vector<std::string> rows;
    engine->ReadLocked([&](store::Reader& reader) {
      const auto table = reader.Query(
          StrCat("SELECT subject || ': ' || message FROM events WHERE kind = '", kind, "' ORDER BY event_id"), {});
      ASSERT_TRUE(table.ok()) << table.status();
      for (const auto& row : table->rows) rows.push_back(std::get<std::string>(row[0]));
    });
    return rows;
  }

  TempFolder folder;
  MovedClock clock;
  std::unique_ptr<service::Engine> engine;
  std::unique_ptr<service::Server> server;
  int http_port = 0;
};

inline double ResidentMegabytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

}  // namespace capsweep::testing_support
