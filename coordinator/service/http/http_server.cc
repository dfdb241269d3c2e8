#include "coordinator/service/http/http_server.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <netdb.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep::service {
namespace {

constexpr unsigned kIdleSeconds = 20;
// A body that is refused is read and thrown away up to here, so that the client gets to read the answer.
constexpr size_t kMaxDiscarded = 128 << 20;
constexpr size_t kMaxBufferedBodies = 256 << 20;  // of all connections together
constexpr Duration kResponseTime = std::chrono::seconds(60);
constexpr char kTlsPriorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

enum class Phase { kReading, kWorking, kWriting };

// A connection, from its start to its end.
struct Connection {
  int fd = -1;
  Phase phase = Phase::kReading;
  Instant since{};
  std::string peer;
  bool heard = false;  // a request came
};

// One request on it.
struct Exchange {
  std::shared_ptr<HttpRequest> request = std::make_shared<HttpRequest>();
  std::optional<HttpResponse> refusal;  // to be sent once the body has been thrown away
  size_t received = 0;
  size_t buffered = 0;
  bool started = false;
  std::mutex mutex;
  std::optional<HttpResponse> response;  // guarded by mutex
};
using ExchangePtr = std::shared_ptr<Exchange>;

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

// Two of these mean two things to two readers.
bool MustBeSingle(const std::string& name) {
  return name == "host" || name == "authorization" || name == "content-length" || name == "content-type" ||
         name == "origin" || name == "transfer-encoding";
}

MHD_Result TakeHeader(void* cls, MHD_ValueKind, const char* name, const char* value) {
  auto& request = *static_cast<HttpRequest*>(cls);
  const std::string key = Lower(name);
  const bool fresh = request.headers.emplace(key, value == nullptr ? "" : value).second;
  request.repeated_header = request.repeated_header || (!fresh && MustBeSingle(key));
  return MHD_YES;
}

std::string PeerOf(MHD_Connection* connection) {
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  char text[INET6_ADDRSTRLEN] = "unknown";
  if (info == nullptr || info->client_addr == nullptr) {
    return text;
  }
  if (info->client_addr->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(info->client_addr);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    return StrCat("[", text, "]:", ntohs(v6->sin6_port));
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(info->client_addr);
  inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  return StrCat(text, ":", ntohs(v4->sin_port));
}

// What OnConnection keeps of it; null before that.
Connection* KnownOf(MHD_Connection* connection) {
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  return info == nullptr ? nullptr : static_cast<Connection*>(info->socket_context);
}

// The PEM of the peer's certificate if there is one and its chain is good, else "".
std::string CertificateOf(MHD_Connection* connection) {
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
  if (info == nullptr || info->tls_session == nullptr) {
    return "";
  }
  auto session = static_cast<gnutls_session_t>(info->tls_session);
  unsigned count = 0, problems = 0;
  const gnutls_datum_t* chain = gnutls_certificate_get_peers(session, &count);
  if (chain == nullptr || count == 0 || gnutls_certificate_verify_peers2(session, &problems) != 0 || problems != 0) {
    return "";
  }
  gnutls_datum_t pem{};
  if (gnutls_pem_base64_encode2("CERTIFICATE", &chain[0], &pem) != 0) {
    return "";
  }
  std::string text(reinterpret_cast<char*>(pem.data), pem.size);
  gnutls_free(pem.data);
  return text;
}

absl::StatusOr<int> Listen(const ListenAddress& address, int& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.host.c_str(), StrCat(address.port).c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(
        StrCat("host '", address.host, "' of --http is unknown (", gai_strerror(error), ")"));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
    const int error = errno;
    if (fd >= 0) {
      close(fd);
    }
    const std::string message = StrCat("cannot listen on ", address.ForPeople(address.port), ": ", std::strerror(error),
                                       "; pick another with --http");
    return error == EADDRINUSE ? absl::AlreadyExistsError(message) : absl::InvalidArgumentError(message);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return fd;
}

}  // namespace

struct HttpServer::Impl {
  static MHD_Result OnRequest(void* cls, MHD_Connection* connection, const char* url, const char* method,
                              const char* version, const char* data, size_t* size, void** slot);
  static void OnCompleted(void* cls, MHD_Connection* connection, void** slot, MHD_RequestTerminationCode why);
  static void OnConnection(void* cls, MHD_Connection* connection, void** slot, MHD_ConnectionNotificationCode what);

  MHD_Result Begin(MHD_Connection* connection, const char* url, const char* method, void** slot);
  MHD_Result TakeBody(Exchange& exchange, const char* data, size_t* size);
  MHD_Result Serve(MHD_Connection* connection, const ExchangePtr& exchange);
  MHD_Result Send(MHD_Connection* connection, const HttpResponse& response);
  void Enter(MHD_Connection* connection, Phase phase);

  HttpHandler handler;
  HttpLimits limits;
  bool tls = false;
  int port = 0;
  std::atomic<size_t> buffered{0};
  MHD_Daemon* daemon = nullptr;

  std::mutex mutex;
  std::condition_variable idle;
  int working = 0;                                                            // guarded by mutex
  absl::flat_hash_map<Connection*, std::unique_ptr<Connection>> connections;  // guarded by mutex
};

void HttpServer::Impl::OnConnection(void* cls, MHD_Connection* connection, void** slot,
                                    MHD_ConnectionNotificationCode what) {
  auto* self = static_cast<Impl*>(cls);
  if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
    const auto* known = static_cast<Connection*>(*slot);
    if (self->tls && !known->heard) {
      self->handler.unheard(known->peer);
    }
    const std::lock_guard lock(self->mutex);
    self->connections.erase(known);
    return;
  }
  const std::lock_guard lock(self->mutex);
  auto made = std::make_unique<Connection>();
  const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  made->fd = info == nullptr ? -1 : info->connect_fd;
  made->since = std::chrono::steady_clock::now();
  made->peer = PeerOf(connection);
  *slot = made.get();
  self->connections.emplace(made.get(), std::move(made));
}

void HttpServer::Impl::Enter(MHD_Connection* connection, Phase phase) {
  const std::lock_guard lock(mutex);
  Connection* known = KnownOf(connection);
  if (known == nullptr) {
    return;
  }
  known->phase = phase;
  known->since = std::chrono::steady_clock::now();
}

MHD_Result HttpServer::Impl::OnRequest(void* cls, MHD_Connection* connection, const char* url, const char* method,
                                       const char*, const char* data, size_t* size, void** slot) {
  auto* self = static_cast<Impl*>(cls);
  if (*slot == nullptr) {
    return self->Begin(connection, url, method, slot);
  }
  const ExchangePtr exchange = *static_cast<ExchangePtr*>(*slot);
  if (*size > 0) {
    return self->TakeBody(*exchange, data, size);
  }
  if (exchange->refusal.has_value()) {
    return self->Send(connection, *exchange->refusal);
  }
  return self->Serve(connection, exchange);
}

MHD_Result HttpServer::Impl::Begin(MHD_Connection* connection, const char* url, const char* method, void** slot) {
  auto exchange = std::make_shared<Exchange>();
  HttpRequest& request = *exchange->request;
  request.method = method;
  request.path = url;
  request.tls = tls;
  request.peer = PeerOf(connection);
  {
    const std::lock_guard lock(mutex);
    if (Connection* known = KnownOf(connection); known != nullptr) known->heard = true;
  }
  request.certificate = tls ? CertificateOf(connection) : "";
  MHD_get_connection_values(connection, MHD_HEADER_KIND, &TakeHeader, &request);
  request.repeated_header = request.repeated_header || (request.headers.contains("content-length") &&
                                                        request.headers.contains("transfer-encoding"));
  exchange->refusal = handler.admit(request);
  *slot = new ExchangePtr(exchange);
  if (exchange->refusal.has_value() && request.headers.contains("expect")) {
    return Send(connection, *exchange->refusal);  // the client waits for leave to send its body
  }
  return MHD_YES;
}

MHD_Result HttpServer::Impl::TakeBody(Exchange& exchange, const char* data, size_t* size) {
  exchange.received += *size;
  if (exchange.received > kMaxDiscarded) {
    return MHD_NO;
  }
  if (!exchange.refusal.has_value()) {
    if (exchange.received > limits.body_bytes) {
      exchange.refusal =
          HttpResponse{.status = 413,
                       .type = "application/json",
                       .body = StrCat(R"({"code":"resource_exhausted","message":"the body has more than )",
                                      limits.body_bytes, R"( bytes"})")};
    } else if (buffered.fetch_add(*size) + *size > kMaxBufferedBodies) {
      buffered -= *size;
      exchange.refusal =
          HttpResponse{.status = 503,
                       .type = "application/json",
                       .body = R"({"code":"unavailable","message":"too many bodies at once; try again"})"};
    } else {
      exchange.buffered += *size;
      exchange.request->body.append(data, *size);
    }
    if (exchange.refusal.has_value()) {
      buffered -= std::exchange(exchange.buffered, 0);
      std::string().swap(exchange.request->body);
    }
  }
  *size = 0;
  return MHD_YES;
}

MHD_Result HttpServer::Impl::Serve(MHD_Connection* connection, const ExchangePtr& exchange) {
  {
    const std::lock_guard lock(exchange->mutex);
    if (exchange->response.has_value()) {
      return Send(connection, *exchange->response);
    }
  }
  if (exchange->started) {
    return MHD_YES;
  }
  exchange->started = true;
  Enter(connection, Phase::kWorking);
  {
    const std::lock_guard lock(mutex);
    ++working;
  }
  MHD_suspend_connection(connection);
  handler.serve(exchange->request, [this, exchange, connection](HttpResponse response) {
    {
      const std::lock_guard lock(exchange->mutex);
      exchange->response = std::move(response);
    }
    MHD_resume_connection(connection);
    // Notified under the lock: once it is released, the server may be gone.
    const std::lock_guard lock(mutex);
    --working;
    idle.notify_all();
  });
  return MHD_YES;
}

MHD_Result HttpServer::Impl::Send(MHD_Connection* connection, const HttpResponse& response) {
  Enter(connection, Phase::kWriting);
  MHD_Response* out = MHD_create_response_from_buffer(response.body.size(), const_cast<char*>(response.body.data()),
                                                      MHD_RESPMEM_MUST_COPY);
  if (out == nullptr) {
    return MHD_NO;
  }
  if (!response.type.empty()) {
    MHD_add_response_header(out, MHD_HTTP_HEADER_CONTENT_TYPE, response.type.c_str());
  }
  // Nothing here is for caches, or for a browser to guess about.
  MHD_add_response_header(out, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  MHD_add_response_header(out, "X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : response.headers) {
    MHD_add_response_header(out, name.c_str(), value.c_str());
  }
  handler.answered(response.status);
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(response.status), out);
  MHD_destroy_response(out);
  return queued;
}

void HttpServer::Impl::OnCompleted(void* cls, MHD_Connection* connection, void** slot, MHD_RequestTerminationCode) {
  auto* self = static_cast<Impl*>(cls);
  self->Enter(connection, Phase::kReading);
  if (auto* exchange = static_cast<ExchangePtr*>(*slot); exchange != nullptr) {
    self->buffered -= (*exchange)->buffered;
    delete exchange;
    *slot = nullptr;
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenAddress& address, const Transport& transport,
                                                              HttpHandler handler, const HttpLimits& limits) {
  if (address.is_unix) {
    return absl::InvalidArgumentError("--http takes HOST:PORT, not a unix socket");
  }
  auto impl = std::make_unique<Impl>();
  impl->handler = std::move(handler);
  impl->limits = limits;
  impl->tls = transport.tls;
  ASSIGN_OR_RETURN(const int fd, Listen(address, impl->port));
  std::vector<MHD_OptionItem> options = {
      {MHD_OPTION_LISTEN_SOCKET, fd, nullptr},
      {MHD_OPTION_CONNECTION_LIMIT, static_cast<intptr_t>(limits.connections), nullptr},
      {MHD_OPTION_PER_IP_CONNECTION_LIMIT, static_cast<intptr_t>(limits.connections_of_address), nullptr},
      {MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, nullptr},
      {MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<intptr_t>(limits.header_bytes), nullptr},
      {MHD_OPTION_STRICT_FOR_CLIENT, 1, nullptr},
      {MHD_OPTION_NOTIFY_COMPLETED, reinterpret_cast<intptr_t>(&Impl::OnCompleted), impl.get()},
      {MHD_OPTION_NOTIFY_CONNECTION, reinterpret_cast<intptr_t>(&Impl::OnConnection), impl.get()},
  };
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;
  const auto add_text = [&options](MHD_OPTION option, const std::string& text) {
    options.push_back({option, 0, const_cast<char*>(text.c_str())});
  };
  const std::string priorities = kTlsPriorities;
  if (transport.tls) {
    flags |= MHD_USE_TLS;
    add_text(MHD_OPTION_HTTPS_MEM_CERT, transport.pair.certificate);
    add_text(MHD_OPTION_HTTPS_MEM_KEY, transport.pair.key);
    add_text(MHD_OPTION_HTTPS_PRIORITIES, priorities);
    if (!transport.client_ca.empty()) {
      add_text(MHD_OPTION_HTTPS_MEM_TRUST, transport.client_ca);
    }
  }
  options.push_back({MHD_OPTION_END, 0, nullptr});
  impl->daemon = MHD_start_daemon(flags, 0, nullptr, nullptr, &Impl::OnRequest, impl.get(), MHD_OPTION_ARRAY,
                                  options.data(), MHD_OPTION_END);
  if (impl->daemon == nullptr) {
    close(fd);
    return absl::InternalError(StrCat("the HTTP server at ", address.ForPeople(impl->port), " does not start"));
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  const int fd = MHD_quiesce_daemon(impl_->daemon);  // no new connections
  {
    std::unique_lock lock(impl_->mutex);
    impl_->idle.wait(lock, [this] { return impl_->working == 0; });
  }
  MHD_stop_daemon(impl_->daemon);
  if (fd >= 0) {
    close(fd);
  }
}

int HttpServer::port() const {
  return impl_->port;
}

void HttpServer::CloseSlow() {
  const Instant now = std::chrono::steady_clock::now();
  const std::lock_guard lock(impl_->mutex);
  for (const auto& [key, connection] : impl_->connections) {
    const Duration limit = connection->phase == Phase::kReading ? impl_->limits.request_time : kResponseTime;
    if (connection->phase != Phase::kWorking && now - connection->since > limit) {
      shutdown(connection->fd, SHUT_RDWR);  // libmicrohttpd sees the end and closes it
    }
  }
}

}  // namespace capsweep::service
