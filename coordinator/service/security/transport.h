// What the listeners of both transports need to know about TLS and tokens, read and checked once.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/security/certificates.h"
#include "coordinator/service/address.h"
#include "coordinator/service/security/access.h"

namespace capsweep::service {

// Paths as given; "" = not given.
struct TransportOptions {
  std::string tls_cert, tls_key;  // the coordinator's certificate and key (mode 0600): everything is TLS
  std::string tls_client_ca;      // client certificates of this authority speak for the role in their subject
  std::string tokens;             // file of tokens (mode 0600)
};

struct Transport {
  bool tls = false;
  security::KeyPair pair;         // PEM
  std::string client_ca;          // PEM; "" = client certificates are not asked for
  bool need_certificate = false;  // no tokens: without a client certificate nobody gets in
  security::CertificateInfo certificate;
};

// Reads the files. Errors name the option or file: half of a pair, an expired certificate, a key that others can read.
absl::StatusOr<Transport> ReadTransport(const TransportOptions& options, int64_t now_seconds);

// May anything listen at `address`? Loopback needs nothing. Any other needs TLS and a way to know callers, or
// `insecure`. `option` is the flag that named the address.
absl::Status CheckReach(const ListenAddress& address, const TransportOptions& options, bool insecure,
                        const std::string& option, const std::string& text);

// Of a gRPC listener. With TLS, calls of the standard services (health, reflection) and of names that are nobody's pass
// `access` before they reach anything; our own services ask it themselves, where they know the peer.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const Transport& transport, Access* access);

}  // namespace capsweep::service
