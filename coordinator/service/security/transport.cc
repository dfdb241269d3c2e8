#include "coordinator/service/security/transport.h"

#include <string_view>
#include <utility>

#include "common/file.h"
#include "common/security/secret_file.h"
#include "common/status.h"
#include "common/text.h"
#include "proto/convert.h"

namespace capsweep::service {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

std::string_view Get(const grpc::AuthMetadataProcessor::InputMetadata& headers, const char* name) {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size());
}

// Sees every call of a TLS port before any service does.
class StandardServicesGate final : public grpc::AuthMetadataProcessor {
 public:
  explicit StandardServicesGate(Access* access) : access_(access) {}
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& headers, grpc::AuthContext* connection, OutputMetadata*,
                       OutputMetadata*) override {
    const std::string_view path = Get(headers, ":path");
    if (path.rfind("/capsweep.v1.", 0) == 0) {
      return grpc::Status::OK;  // asks for itself, or does not exist
    }
    Credentials credentials{.peer = "unknown", .authorization = std::string(Get(headers, "authorization"))};
    if (connection->IsPeerAuthenticated()) {
      const auto certificates = connection->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
      if (!certificates.empty()) {
        credentials.certificate.assign(certificates[0].data(), certificates[0].size());
      }
    }
    return ToGrpc(access_->Admit(path, credentials).status());
  }

 private:
  Access* const access_;
};

}  // namespace

absl::StatusOr<Transport> ReadTransport(const TransportOptions& options, int64_t now_seconds) {
  Transport transport;
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key belong together; give both or neither");
  }
  transport.tls = !options.tls_cert.empty();
  if (!transport.tls) {
    if (!options.tokens.empty() || !options.tls_client_ca.empty()) {
      return absl::InvalidArgumentError(StrCat(
          options.tokens.empty() ? "--tls-client-ca" : "--tokens",
          " needs --tls-cert and --tls-key: a token sent in plain text is anybody's; `capsweep certs init` makes "
          "all files"));
    }
    return transport;
  }
  ASSIGN_OR_RETURN(transport.pair.certificate, ReadFile(options.tls_cert, kMaxPemBytes));
  ASSIGN_OR_RETURN(transport.pair.key, security::ReadSecretFile(options.tls_key, kMaxPemBytes));
  ASSIGN_OR_RETURN(transport.certificate,
                   security::CheckKeyPair(transport.pair, options.tls_cert, options.tls_key, now_seconds));
  if (!options.tls_client_ca.empty()) {
    ASSIGN_OR_RETURN(transport.client_ca, ReadFile(options.tls_client_ca, kMaxPemBytes));
    const absl::StatusOr<security::CertificateInfo> authority = security::ReadCertificate(transport.client_ca);
    if (!authority.ok()) {
      return Annotate(authority.status(), options.tls_client_ca);
    }
  }
  transport.need_certificate = !transport.client_ca.empty() && options.tokens.empty();
  if (transport.client_ca.empty() && options.tokens.empty()) {
    return absl::InvalidArgumentError(
        "--tls-cert without --tokens or --tls-client-ca would encrypt but let anybody in; give one of them");
  }
  return transport;
}

absl::Status CheckReach(const ListenAddress& address, const TransportOptions& options, bool insecure,
                        const std::string& option, const std::string& text) {
  if (address.loopback || insecure || !options.tls_cert.empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(StrCat(
      option, " '", text,
      "' can be reached from other machines, and anyone who reaches it can run and read sweeps; give --tls-cert, "
      "--tls-key and --tokens (`capsweep certs init` makes them), listen on 127.0.0.1 (through ssh -L or -R if "
      "need be), or give --i-know-this-is-insecure"));
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const Transport& transport, Access* access) {
  if (!transport.tls) {
    return grpc::InsecureServerCredentials();
  }
  grpc::SslServerCredentialsOptions options(transport.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                            : transport.need_certificate
                                                ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_key_cert_pairs.push_back({transport.pair.key, transport.pair.certificate});
  options.pem_root_certs = transport.client_ca;
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::SslServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<StandardServicesGate>(access));
  return credentials;
}

}  // namespace capsweep::service
