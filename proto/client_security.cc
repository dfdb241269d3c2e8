#include "proto/client_security.h"

#include <cstdlib>

#include "common/file.h"
#include "common/security/secret_file.h"
#include "common/security/tokens.h"
#include "common/status.h"
#include "common/text.h"

namespace capsweep {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

void FromEnvironment(std::string& field, const char* variable) {
  const char* value = std::getenv(variable);
  if (field.empty() && value != nullptr) field = value;
}

}  // namespace

ClientSecurity WithEnvironment(ClientSecurity security) {
  FromEnvironment(security.tls_ca, "CAPSWEEP_TLS_CA");
  FromEnvironment(security.tls_cert, "CAPSWEEP_TLS_CERT");
  FromEnvironment(security.tls_key, "CAPSWEEP_TLS_KEY");
  FromEnvironment(security.token_file, "CAPSWEEP_TOKEN_FILE");
  return security;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(const ClientSecurity& security) {
  if (!security.tls()) {
    if (!security.token_file.empty() || !security.tls_cert.empty() || !security.tls_key.empty()) {
      return absl::InvalidArgumentError(
          "a token or client certificate is given but no --tls-ca (CAPSWEEP_TLS_CA): without the authority's "
          "certificate there is no encryption, and a token is never sent in plain text");
    }
    return grpc::InsecureChannelCredentials();
  }
  if (security.tls_cert.empty() != security.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key belong together; give both or neither");
  }
  grpc::SslCredentialsOptions options;
  ASSIGN_OR_RETURN(options.pem_root_certs, ReadFile(security.tls_ca, kMaxPemBytes));
  if (!security.tls_cert.empty()) {
    ASSIGN_OR_RETURN(options.pem_cert_chain, ReadFile(security.tls_cert, kMaxPemBytes));
    ASSIGN_OR_RETURN(options.pem_private_key, security::ReadSecretFile(security.tls_key));
  }
  std::shared_ptr<grpc::ChannelCredentials> channel = grpc::SslCredentials(options);
  if (channel == nullptr) {
    return absl::InvalidArgumentError(
        StrCat("--tls-ca ", security.tls_ca, " cannot be used: is it a PEM certificate?"));
  }
  if (security.token_file.empty()) return channel;
  ASSIGN_OR_RETURN(const std::string token, security::ReadTokenFile(security.token_file));
  return grpc::CompositeChannelCredentials(channel, grpc::AccessTokenCredentials(token));
}

std::string ConnectionAdvice(const ClientSecurity& security) {
  return security.tls()
             ? StrCat("the coordinator must speak TLS with a valid certificate for this very host name from ",
                      "the authority in ", security.tls_ca, ", and yours must not have expired")
             : "if it speaks TLS, give --tls-ca and --token-file";
}

}  // namespace capsweep
