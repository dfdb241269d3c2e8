#include "coordinator/service/grpc_call.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <string_view>
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

void GrpcCall::Begin(Access* access, std::string path, const grpc::CallbackServerContext& context,
                     google::protobuf::Message* request, const google::protobuf::Message* response) {
  access_ = access;
  path_ = std::move(path);
  request_ = request;
  response_ = response;
  absl::StatusOr<Caller> caller = access_->Admit(path_, CredentialsOf(context));
  if (!caller.ok()) {
    Answer(caller.status());
    return;
  }
  caller_ = *std::move(caller);
  StartRead(&in_);
}

void GrpcCall::OnReadDone(bool ok) {
  if (!ok) {
    // gRPC itself has told the caller which of the two it was.
    Answer(access_->Refuse(
        path_, caller_,
        absl::ResourceExhaustedError(StrCat("a message of more than ", kMaxMessageBytes, " bytes, or none"))));
    return;
  }
  if (!grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&in_, request_).ok()) {
    Answer(access_->Refuse(path_, caller_,
                           absl::InvalidArgumentError(StrCat("the message is no ", request_->GetTypeName()))));
    return;
  }
  in_.Clear();
  Serve(caller_);
}

void GrpcCall::Answer(const absl::Status& status) {
  grpc::Status answer = ToGrpc(status);
  if (answer.ok()) {
    bool own = false;
    answer = grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(*response_, &out_, &own);
  }
  Ended(status);
  if (answer.ok()) {
    StartWriteAndFinish(&out_, grpc::WriteOptions(), answer);
  } else {
    Finish(answer);
  }
}

void GrpcService::Add(const char* path, std::function<GrpcCall*(grpc::CallbackServerContext*)> make) {
  // To gRPC the method is a stream, whose messages are asked for, not delivered with the call; on the wire a unary call
  // is a stream of one message each way.
  AddMethod(new grpc::internal::RpcServiceMethod(path, grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
  MarkMethodRawCallback(methods_++,
                        new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(std::move(make)));
}

}  // namespace capsweep::service
