#include "coordinator/service/sweep_service.h"

#include <string>
#include <utility>

#include "common/text.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

// "ipv4:10.0.0.7:4711" -> "10.0.0.7:4711", "ipv6:%5B::1%5D:4711" -> "[::1]:4711", "unix:…" -> "unix".
std::string PeerText(std::string peer) {
  if (peer.rfind("unix", 0) == 0) {
    return "unix";
  }
  const size_t scheme = peer.find(':');
  peer.erase(0, scheme == std::string::npos ? 0 : scheme + 1);
  for (const auto& [escaped, plain] : {std::pair{"%5B", "["}, {"%5D", "]"}}) {
    if (const size_t at = peer.find(escaped); at != std::string::npos) {
      peer.replace(at, 3, plain);
    }
  }
  return peer;
}

}  // namespace

Credentials CredentialsOf(const grpc::CallbackServerContext& context) {
  Credentials credentials{.peer = PeerText(context.peer())};
  const auto& headers = context.client_metadata();
  if (const auto header = headers.find("authorization"); header != headers.end()) {
    credentials.authorization.assign(header->second.data(), header->second.size());
  }
  if (const auto connection = context.auth_context(); connection != nullptr && connection->IsPeerAuthenticated()) {
    const auto certificates = connection->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
    if (!certificates.empty()) {
      credentials.certificate.assign(certificates[0].data(), certificates[0].size());
    }
  }
  return credentials;
}

grpc::ServerUnaryReactor* SweepService::Serve(std::string_view path, grpc::CallbackServerContext* context,
                                              const google::protobuf::Message& request,
                                              google::protobuf::Message* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [this, reactor](const absl::Status& status) {
    metrics_->grpc_verbs[static_cast<size_t>(status.code()) % kStatusCodes].Add();
    reactor->Finish(ToGrpc(status));
  };
  const UserVerb* const verb = verbs_->Find(path);
  if (verb == nullptr) {
    finish(absl::UnimplementedError(StrCat("there is no verb ", path)));
    return reactor;
  }
  const absl::StatusOr<Caller> caller = verbs_->Admit(*verb, CredentialsOf(*context));
  if (!caller.ok()) {
    finish(caller.status());
    return reactor;
  }
  verbs_->Run(
      *verb, *caller, request, response, [context] { return context->IsCancelled(); }, finish);
  return reactor;
}

}  // namespace capsweep::service
