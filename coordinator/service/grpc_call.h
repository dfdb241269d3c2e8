// Calls over gRPC, read as bytes: a caller is admitted before a byte of the message is parsed, and a message that gRPC
// refuses for its size, or that does not parse, is still a call of somebody's, to be counted and audited. Handlers that
// gRPC's generator writes see neither.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "coordinator/service/security/access.h"
#include "google/protobuf/message.h"

namespace capsweep::service {

// One unary call. Made when its headers are here; deletes itself when gRPC is done with it.
class GrpcCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // Once, when the subclass is complete: admits the caller, reads the message, calls Serve. Both messages, and access,
  // must outlive the call. `path` as in the allow-list.
  void Begin(Access* access, std::string path, const grpc::CallbackServerContext& context,
             google::protobuf::Message* request, const google::protobuf::Message* response);

  void OnReadDone(bool ok) final;
  void OnDone() final { delete this; }

 protected:
  // The message has been read. Must lead to Answer, from any thread.
  virtual void Serve(const Caller& caller) = 0;
  // Just before gRPC is told, and exactly once.
  virtual void Ended(const absl::Status& status) = 0;

  // Sends the response, or the error alone.
  void Answer(const absl::Status& status);

 private:
  Access* access_ = nullptr;
  std::string path_;
  Caller caller_;
  google::protobuf::Message* request_ = nullptr;
  const google::protobuf::Message* response_ = nullptr;
  grpc::ByteBuffer in_, out_;
};

// A service whose methods are such calls. Reflection lists it like any other.
class GrpcService : public grpc::Service {
 protected:
  // `make` is called when a call of `path` arrives; the text of `path` must outlive the service.
  void Add(const char* path, std::function<GrpcCall*(grpc::CallbackServerContext*)> make);

 private:
  int methods_ = 0;
};

// Who calls, from what gRPC knows of the connection and the headers.
Credentials CredentialsOf(const grpc::CallbackServerContext& context);

}  // namespace capsweep::service
