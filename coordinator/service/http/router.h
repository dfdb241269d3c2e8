// What is served over HTTP: POST of the users' verbs, GET of /metrics and /healthz, nothing else. Requests that a page
// of another site could make a browser send (a foreign Host or Origin) are refused.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/service/engine.h"
#include "coordinator/service/http/http_server.h"
#include "coordinator/service/security/access.h"
#include "coordinator/service/user_verbs.h"

namespace capsweep::service {

class HttpRouter {
 public:
  // `hosts`: names that may stand in the Host header beside addresses and "localhost"; "*.x" as in certificates. All
  // must outlive the server that uses it.
  HttpRouter(Engine* engine, UserVerbs* verbs, Access* access, std::vector<std::string> hosts)
      : engine_(engine), verbs_(verbs), access_(access), hosts_(std::move(hosts)) {}

  HttpHandler Handler();

 private:
  std::optional<HttpResponse> Admit(const HttpRequest& request);
  std::optional<HttpResponse> CheckBrowser(const HttpRequest& request);
  bool HostAllowed(const std::string& header) const;
  void Serve(const std::shared_ptr<const HttpRequest>& request, std::function<void(HttpResponse)> done);
  // Counts and audits what the transport itself refuses.
  HttpResponse Refuse(const HttpRequest& request, const absl::Status& status, int http_status);

  Engine* const engine_;
  UserVerbs* const verbs_;
  Access* const access_;
  const std::vector<std::string> hosts_;
};

}  // namespace capsweep::service
