// HTTP/1.1 around libmicrohttpd: bounded connections, headers, bodies and times. Knows nothing of what is served.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/service/address.h"
#include "coordinator/service/security/transport.h"

namespace capsweep::service {

struct HttpRequest {
  std::string method;                          // as sent, any word
  std::string path;                            // without the query
  std::map<std::string, std::string> headers;  // names in lower case
  bool repeated_header = false;                // one of those that may stand once only stands twice
  std::string peer;                            // "10.0.0.7:4711"
  std::string certificate;                     // PEM of a client certificate that was verified
  bool tls = false;
  std::string body;

  // "" if it was not sent.
  std::string Header(const std::string& lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? "" : found->second;
  }
};

struct HttpResponse {
  int status = 200;
  std::string type;  // Content-Type
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct HttpLimits {
  unsigned connections = 512;
  unsigned connections_of_address = 64;
  size_t body_bytes = 4 << 20;
  size_t header_bytes = 32 << 10;
  Duration request_time = std::chrono::seconds(30);  // from a connection's start or last response to a whole request
};

// What to do with requests. Both are called on the server's threads.
struct HttpHandler {
  // Before the body is read: a response ends the request there. `request.body` is empty.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> admit;
  // With the body. `done` is to be called exactly once, on any thread, maybe before this returns; `request` lives on
  // until then.
  std::function<void(const std::shared_ptr<const HttpRequest>&, std::function<void(HttpResponse)> done)> serve;
  // A connection that ended before its first request came through TLS.
  std::function<void(const std::string& peer)> unheard;
  // Each response that is sent.
  std::function<void(int status)> answered;
};

class HttpServer {
 public:
  // AlreadyExists if the port is in use.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenAddress& address, const Transport& transport,
                                                           HttpHandler handler, const HttpLimits& limits = {});
  ~HttpServer();  // waits for the requests that are being served

  int port() const;
  // Ends connections that have taken too long to send a request. To be called every second or so.
  void CloseSlow();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace capsweep::service
