#include "common/security/certificates.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "common/status.h"
#include "common/text.h"

namespace capsweep::security {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Memory = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Time = std::unique_ptr<ASN1_TIME, Free<ASN1_TIME_free>>;

absl::Status Failed(std::string_view what) {
  return absl::InternalError(StrCat("OpenSSL could not ", what));
}

Memory Reading(const std::string& text) {
  return Memory(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string Written(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return std::string(data, static_cast<size_t>(size));
}

// Never asks for a passphrase on a terminal.
int NoPassphrase(char*, int, int, void*) {
  return -1;
}

Certificate ParseCertificate(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(Reading(pem).get(), nullptr, NoPassphrase, nullptr));
}

Key ParseKey(const std::string& pem) {
  return Key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, NoPassphrase, nullptr));
}

bool SetName(X509_NAME* name, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool SetSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool ok = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return ok;
}

struct Contents {
  std::string role, name;
  std::vector<std::pair<int, std::string>> extensions;  // by NID, in OpenSSL's words
  Validity validity;
};

// Self-signed where `issuer` is null.
absl::StatusOr<KeyPair> Make(const Contents& contents, X509* issuer, EVP_PKEY* issuer_key) {
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return Failed("make a key");
  X509* const x = certificate.get();
  if (X509_set_version(x, X509_VERSION_3) != 1 || !SetSerial(x) || X509_set_pubkey(x, key.get()) != 1 ||
      ASN1_TIME_set(X509_getm_notBefore(x), contents.validity.not_before) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(x), contents.validity.not_after) == nullptr) {
    return Failed("fill in a certificate");
  }
  X509_NAME* const subject = X509_get_subject_name(x);
  if (!SetName(subject, "O", "capsweep") || (!contents.role.empty() && !SetName(subject, "OU", contents.role)) ||
      !SetName(subject, "CN", contents.name) ||
      X509_set_issuer_name(x, issuer == nullptr ? subject : X509_get_subject_name(issuer)) != 1) {
    return absl::InvalidArgumentError(StrCat("'", contents.name, "' cannot be the name in a certificate"));
  }
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer == nullptr ? x : issuer, x, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  for (const auto& [nid, value] : contents.extensions) {
    const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    if (extension == nullptr || X509_add_ext(x, extension.get(), -1) != 1) {
      return absl::InvalidArgumentError(StrCat("'", value, "' cannot stand in a certificate"));
    }
  }
  if (X509_sign(x, issuer_key == nullptr ? key.get() : issuer_key, EVP_sha256()) == 0) {
    return Failed("sign a certificate");
  }
  const Memory certificate_text(BIO_new(BIO_s_mem())), key_text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_text.get(), x) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Failed("write a certificate");
  }
  return KeyPair{Written(certificate_text.get()), Written(key_text.get())};
}

absl::StatusOr<KeyPair> MakeSigned(const KeyPair& authority, const Contents& contents) {
  const Certificate issuer = ParseCertificate(authority.certificate);
  const Key key = ParseKey(authority.key);
  if (issuer == nullptr || key == nullptr) return absl::InvalidArgumentError("the authority's files are not PEM");
  return Make(contents, issuer.get(), key.get());
}

bool IsAddress(const std::string& host) {
  in6_addr any{};
  return inet_pton(AF_INET, host.c_str(), &any) == 1 || inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

bool IsHostName(const std::string& host) {
  return !host.empty() && host.size() <= 253 &&
         host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*") ==
             std::string::npos;
}

// The subject's one value of a field; "" if there is none or more than one.
std::string SubjectField(X509* certificate, int nid) {
  X509_NAME* const subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, nid, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0) return "";
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (size < 0) return "";
  std::string value(reinterpret_cast<char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  return value.find('\0') == std::string::npos ? value : "";
}

std::vector<std::string> DnsNames(X509* certificate) {
  std::vector<std::string> names;
  auto* all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all, i);
    if (name->type != GEN_DNS) continue;
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  GENERAL_NAMES_free(all);
  return names;
}

int64_t SecondsOf(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

}  // namespace

absl::StatusOr<KeyPair> MakeAuthority(const Validity& validity) {
  return Make({.name = "capsweep authority",
               .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                              {NID_key_usage, "critical,keyCertSign,cRLSign"},
                              {NID_subject_key_identifier, "hash"}},
               .validity = validity},
              nullptr, nullptr);
}

absl::StatusOr<KeyPair> MakeServerCertificate(const KeyPair& authority, const std::vector<std::string>& hosts,
                                              const Validity& validity) {
  std::string names;
  for (const std::string& host : hosts) {
    if (!IsAddress(host) && !IsHostName(host)) {
      return absl::InvalidArgumentError(StrCat("'", host, "' is neither a host's name nor an IP address"));
    }
    StrAppend(&names, names.empty() ? "" : ",", IsAddress(host) ? "IP:" : "DNS:", host);
  }
  if (names.empty()) return absl::InvalidArgumentError("a server's certificate needs a host");
  return MakeSigned(authority, {.name = "capsweep coordinator",
                                .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                               {NID_key_usage, "critical,digitalSignature"},
                                               {NID_ext_key_usage, "serverAuth"},
                                               {NID_authority_key_identifier, "keyid"},
                                               {NID_subject_alt_name, names}},
                                .validity = validity});
}

absl::StatusOr<KeyPair> MakeClientCertificate(const KeyPair& authority, const std::string& role,
                                              const std::string& name, const Validity& validity) {
  return MakeSigned(authority, {.role = role,
                                .name = name,
                                .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                                               {NID_key_usage, "critical,digitalSignature"},
                                               {NID_ext_key_usage, "clientAuth"},
                                               {NID_authority_key_identifier, "keyid"}},
                                .validity = validity});
}

absl::StatusOr<CertificateInfo> ReadCertificate(const std::string& pem) {
  const Certificate certificate = ParseCertificate(pem);
  if (certificate == nullptr) return absl::InvalidArgumentError("holds no certificate in PEM form");
  X509* const x = certificate.get();
  return CertificateInfo{.name = SubjectField(x, NID_commonName),
                         .role = SubjectField(x, NID_organizationalUnitName),
                         .hosts = DnsNames(x),
                         .validity = {SecondsOf(X509_get0_notBefore(x)), SecondsOf(X509_get0_notAfter(x))}};
}

absl::StatusOr<CertificateInfo> CheckKeyPair(const KeyPair& pair, const std::string& certificate_path,
                                             const std::string& key_path, int64_t now) {
  absl::StatusOr<CertificateInfo> info = ReadCertificate(pair.certificate);
  if (!info.ok()) return Annotate(info.status(), certificate_path);
  const Key key = ParseKey(pair.key);
  if (key == nullptr) {
    return absl::InvalidArgumentError(StrCat(key_path, ": holds no private key in PEM form without a passphrase"));
  }
  if (X509_check_private_key(ParseCertificate(pair.certificate).get(), key.get()) != 1) {
    return absl::InvalidArgumentError(StrCat(key_path, ": is not the key of ", certificate_path));
  }
  if (now < info->validity.not_before || now >= info->validity.not_after) {
    return absl::InvalidArgumentError(StrCat(certificate_path, ": is valid from ", DateText(info->validity.not_before),
                                             " to ", DateText(info->validity.not_after),
                                             ", not now; make a new one with `capsweep certs init`"));
  }
  return info;
}

std::string DateText(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return std::string(text, size);
}

}  // namespace capsweep::security
