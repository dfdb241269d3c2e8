// The users' verbs as the Connect protocol's unary calls (connectrpc.com): POST of JSON, or of protobuf's bytes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "coordinator/service/http/http_server.h"
#include "coordinator/service/metrics.h"
#include "coordinator/service/user_verbs.h"

namespace capsweep::service {

// {"code": …, "message": …} with Connect's HTTP status for the code; `http_status` > 0 replaces that.
HttpResponse ConnectError(const absl::Status& status, int http_status = 0);

// Whether the headers are those of a unary call; otherwise the response that says what is wrong.
std::optional<HttpResponse> CheckConnectHeaders(const HttpRequest& request);

// Parses, runs and answers. `request` has passed CheckConnectHeaders.
void ServeConnect(UserVerbs& verbs, Metrics& metrics, const UserVerb& verb, const Caller& caller,
                  const std::shared_ptr<const HttpRequest>& request, std::function<void(HttpResponse)> done);

}  // namespace capsweep::service
