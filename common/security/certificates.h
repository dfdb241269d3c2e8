// X.509 certificates of a small authority of one's own: making them, and reading what they say. ECDSA over P-256.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace capsweep::security {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, PKCS#8, not encrypted
};

struct Validity {
  int64_t not_before = 0;  // seconds since 1970-01-01 UTC
  int64_t not_after = 0;
};

absl::StatusOr<KeyPair> MakeAuthority(const Validity& validity);
// For a server that is reached under `hosts` (names or IP addresses).
absl::StatusOr<KeyPair> MakeServerCertificate(const KeyPair& authority, const std::vector<std::string>& hosts,
                                              const Validity& validity);
// For a client: `role` becomes the subject's OU, `name` its CN.
absl::StatusOr<KeyPair> MakeClientCertificate(const KeyPair& authority, const std::string& role,
                                              const std::string& name, const Validity& validity);

// What the first certificate of a PEM text says.
struct CertificateInfo {
  std::string name;                // CN; "" if there is none
  std::string role;                // OU; "" if there is none or several
  std::vector<std::string> hosts;  // DNS names of the subject's alternative names
  Validity validity;
};
// InvalidArgument if `pem` holds no certificate.
absl::StatusOr<CertificateInfo> ReadCertificate(const std::string& pem);

// Whether a server can work with them at `now`: PEM, of each other, valid. Errors name `certificate_path` or
// `key_path`.
absl::StatusOr<CertificateInfo> CheckKeyPair(const KeyPair& pair, const std::string& certificate_path,
                                             const std::string& key_path, int64_t now);

// "2027-01-31 12:00 UTC".
std::string DateText(int64_t seconds);

}  // namespace capsweep::security
