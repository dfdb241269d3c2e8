#include "coordinator/service/http/router.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/text.h"
#include "coordinator/service/http/connect.h"
#include "coordinator/service/security/allow_list.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

bool IsPage(const std::string& path) {
  return path == "/metrics" || path == "/healthz";
}

Credentials CredentialsOf(const HttpRequest& request) {
  return {.peer = request.peer, .authorization = request.Header("authorization"), .certificate = request.certificate};
}

bool BodyTooLarge(const HttpRequest& request) {
  const std::string length = request.Header("content-length");
  uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bytes);
  return !length.empty() && (error != std::errc() || bytes > static_cast<uint64_t>(kMaxMessageBytes));
}

std::string LowerText(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

// "node1:8080" -> "node1", "[::1]:8080" -> "::1".
std::string HostOnly(const std::string& header) {
  if (!header.empty() && header[0] == '[') {
    const size_t end = header.find(']');
    return end == std::string::npos ? "" : header.substr(1, end - 1);
  }
  return header.substr(0, header.find(':'));
}

bool Matches(const std::string& pattern, const std::string& host) {
  if (pattern.rfind("*.", 0) != 0) {
    return pattern == host;
  }
  const size_t dot = host.find('.');
  return dot != std::string::npos && dot > 0 && host.substr(dot) == pattern.substr(1);
}

}  // namespace

// A page of another site can point its own name at this machine (DNS rebinding) and then read what it gets: but its
// name stands in the Host header. An address cannot be such a name.
bool HttpRouter::HostAllowed(const std::string& header) const {
  const std::string host = LowerText(HostOnly(header));
  in6_addr any{};
  if (host == "localhost" || inet_pton(AF_INET, host.c_str(), &any) == 1 ||
      inet_pton(AF_INET6, host.c_str(), &any) == 1) {
    return true;
  }
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [&](const std::string& pattern) { return Matches(LowerText(pattern), host); });
}

HttpResponse HttpRouter::Refuse(const HttpRequest& request, const absl::Status& status, int http_status) {
  const absl::Status said = access_->Refuse(request.path, {.peer = request.peer}, status);
  return ConnectError(said, said.code() == status.code() ? http_status : 0);
}

std::optional<HttpResponse> HttpRouter::CheckBrowser(const HttpRequest& request) {
  const std::string host = request.Header("host");
  if (!HostAllowed(host)) {
    return Refuse(request,
                  absl::PermissionDeniedError("the Host header names a host that this coordinator does not go by; use "
                                              "its address, or start it with --http-hosts NAME"),
                  403);
  }
  const std::string origin = request.Header("origin");
  if (!origin.empty() && LowerText(origin) != LowerText(StrCat(request.tls ? "https://" : "http://", host))) {
    return Refuse(request, absl::PermissionDeniedError("pages of other origins may not call this coordinator"), 403);
  }
  return std::nullopt;
}

std::optional<HttpResponse> HttpRouter::Admit(const HttpRequest& request) {
  if (request.repeated_header) {
    return Refuse(request, absl::InvalidArgumentError("a header that may stand once stands twice"), 400);
  }
  if (auto refusal = CheckBrowser(request); refusal.has_value()) {
    return refusal;
  }
  const UserVerb* const verb = verbs_->Find(request.path);
  if (verb == nullptr && !IsPage(request.path)) {
    return Refuse(
        request,
        absl::UnimplementedError("there is nothing at this path; verbs are at /capsweep.v1.SweepService/VERB, "
                                 "workers call over gRPC"),
        404);
  }
  const bool right_method =
      verb != nullptr ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (!right_method) {
    HttpResponse response = Refuse(
        request, absl::UnimplementedError(StrCat("this path takes ", verb != nullptr ? "POST" : "GET", " only")), 405);
    response.headers.emplace_back("Allow", verb != nullptr ? "POST" : "GET, HEAD");
    return response;
  }
  if (const absl::Status status = access_->Admit(request.path, CredentialsOf(request)).status(); !status.ok()) {
    return ConnectError(status);
  }
  if (BodyTooLarge(request)) {
    return Refuse(request, absl::ResourceExhaustedError(StrCat("a body has at most ", kMaxMessageBytes, " bytes")),
                  413);
  }
  return verb == nullptr ? std::nullopt : CheckConnectHeaders(request);
}

void HttpRouter::Serve(const std::shared_ptr<const HttpRequest>& request, std::function<void(HttpResponse)> done) {
  // Again, for the caller's name and for a token that was taken back while the body was under way.
  const absl::StatusOr<Caller> caller = access_->Admit(request->path, CredentialsOf(*request));
  if (!caller.ok()) {
    done(ConnectError(caller.status()));
    return;
  }
  if (request->path == "/metrics") {
    done({.status = 200, .type = kMetricsType, .body = MetricsPage(*engine_, engine_->metrics())});
    return;
  }
  if (request->path == "/healthz") {
    const bool healthy = engine_->StoreHealth().ok();
    done({.status = healthy ? 200 : 503, .type = "text/plain", .body = healthy ? "serving\n" : "not serving\n"});
    return;
  }
  ServeConnect(*verbs_, engine_->metrics(), *verbs_->Find(request->path), *caller, request, std::move(done));
}

HttpHandler HttpRouter::Handler() {
  return {
      .admit = [this](const HttpRequest& request) { return Admit(request); },
      .serve = [this](const std::shared_ptr<const HttpRequest>& request,
                      std::function<void(HttpResponse)> done) { Serve(request, std::move(done)); },
      .unheard =
          [this](const std::string& peer) {
            access_->Unheard(
                "HTTP connection", peer,
                absl::UnauthenticatedError(
                    "it ended before a request came through TLS: no TLS, a certificate that one of the two "
                    "did not take, or nothing sent"));
          },
      .answered =
          [this](int status) {
            Metrics& metrics = engine_->metrics();
            metrics.http_requests[std::min<size_t>(static_cast<size_t>(status) / 100, metrics.http_requests.size() - 1)]
                .Add();
          }};
}

}  // namespace capsweep::service
