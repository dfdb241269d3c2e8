// The one door of both transports: who calls, and whether they may.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/security/tokens.h"
#include "coordinator/service/metrics.h"
#include "coordinator/service/security/audit.h"
#include "coordinator/service/security/rate_limit.h"

namespace capsweep::service {

// What a caller shows. `certificate` is the PEM of a client certificate whose chain TLS has verified.
struct Credentials {
  std::string peer;
  std::string authorization;  // the header, "Bearer TOKEN"
  std::string certificate;
};

struct AccessOptions {
  // False: nobody is asked, everything on the allow-list is allowed (loopback, or a network said to be safe).
  bool enforced = false;
  std::string tokens_file;  // "" = client certificates only
};

// Thread-safe.
class Access {
 public:
  // Errors: those of the tokens file (mode, lines). `audit` and `metrics` must outlive it.
  static absl::StatusOr<std::unique_ptr<Access>> Create(const AccessOptions& options, const Clock* clock,
                                                        AuditLog* audit, Metrics* metrics);

  // `path` as in the allow-list. Unauthenticated: no, or an unknown or outdated, token or certificate.
  // PermissionDenied: the role may not, or nobody may. ResourceExhausted: refused too often of late from this address.
  // Every refusal is counted and audited; a good token passes however many bad ones came from its address.
  absl::StatusOr<Caller> Admit(std::string_view path, const Credentials& credentials);

  // Counts and audits a refusal of the transport's own; returns `status`, or ResourceExhausted as above.
  absl::Status Refuse(std::string_view path, const Caller& caller, absl::Status status);

  // Counts and audits what ended before a call could be admitted: `what` is a path or a few words of ours. Does not
  // count against the address, for a browser's spare connections end like that too.
  void Unheard(std::string_view what, const std::string& peer, const absl::Status& status);

  // Takes up a changed tokens file; a broken one changes nothing and is told in the log. To be called every second or
  // so.
  void ReloadTokens();
  bool enforced() const { return options_.enforced; }

 private:
  struct FileStamp {
    int64_t seconds = 0, nanos = 0, size = 0;
    uint64_t inode = 0;
    friend bool operator==(const FileStamp&, const FileStamp&) = default;
  };
  struct KnownCertificate {
    absl::StatusOr<security::Identity> identity;
    int64_t not_after = 0;
  };

  Access(const AccessOptions& options, const Clock* clock, AuditLog* audit, Metrics* metrics);
  absl::Status LoadTokens();
  FileStamp Stamp() const;
  absl::StatusOr<security::Identity> Identify(const Credentials& credentials);
  absl::StatusOr<security::Identity> FromCertificate(const std::string& pem);

  const AccessOptions options_;
  const Clock* const clock_;
  AuditLog* const audit_;
  Metrics* const metrics_;
  RateLimiter refusals_;

  Mutex mu_;
  std::shared_ptr<const security::TokenTable> tokens_ ABSL_GUARDED_BY(mu_);
  FileStamp stamp_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, KnownCertificate> certificates_ ABSL_GUARDED_BY(mu_);
};

}  // namespace capsweep::service
