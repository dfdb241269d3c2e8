// How a client proves who it is to a coordinator, and checks that it talks to the right one.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace capsweep {

// Paths; "" = not given. All empty: plain text.
struct ClientSecurity {
  std::string tls_ca;    // whom to trust: the connection is TLS
  std::string tls_cert;  // a client certificate and its key (mode 0600)
  std::string tls_key;
  std::string token_file;  // mode 0600

  bool tls() const { return !tls_ca.empty(); }
};

// Fields that are empty from CAPSWEEP_TLS_CA, CAPSWEEP_TLS_CERT, CAPSWEEP_TLS_KEY and CAPSWEEP_TOKEN_FILE.
ClientSecurity WithEnvironment(ClientSecurity security);

// Credentials of a channel; a token is never sent in plain text. Errors name the option or the file.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ClientSecurity& security);

// What to add to "could not connect to ADDRESS": the usual mistakes of TLS in one sentence.
std::string ConnectionAdvice(const ClientSecurity& security);

}  // namespace capsweep
