#include "coordinator/service/security/access.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>

#include "common/security/certificates.h"
#include "common/security/secret_file.h"
#include "common/status.h"
#include "common/text.h"
#include "coordinator/service/security/allow_list.h"

namespace capsweep::service {
namespace {

using security::Identity;
using security::Role;

constexpr std::string_view kBearer = "bearer ";
constexpr size_t kKnownCertificates = 4096;
constexpr size_t kMaxAddresses = 4096;
// Of refused calls, per address. They cost little; this bounds what they can write and how often they can guess.
constexpr double kRefusalsPerSecond = 0.5;
constexpr double kRefusalBurst = 30;

bool IsBearer(std::string_view header) {
  return header.size() > kBearer.size() &&
         std::equal(kBearer.begin(), kBearer.end(), header.begin(),
                    [](char want, char got) { return want == (got >= 'A' && got <= 'Z' ? got - 'A' + 'a' : got); });
}

std::string RolesText(const AllowedCall& call) {
  std::string text;
  for (const Role role : call.roles) {
    StrAppend(&text, text.empty() ? "" : " or ", security::ToWord(role));
  }
  return text;
}

absl::StatusOr<Identity> IdentityIn(const security::CertificateInfo& info) {
  Identity identity{.name = info.name};
  if (info.name.empty() || !security::FromWord(info.role, identity.role)) {
    return absl::UnauthenticatedError(
        "the client certificate names no role: its subject needs one OU of worker, operator or reader, and a CN");
  }
  return identity;
}

}  // namespace

Access::Access(const AccessOptions& options, const Clock* clock, AuditLog* audit, Metrics* metrics)
    : options_(options),
      clock_(clock),
      audit_(audit),
      metrics_(metrics),
      refusals_(kRefusalsPerSecond, kRefusalBurst, kMaxAddresses, clock) {}

absl::StatusOr<std::unique_ptr<Access>> Access::Create(const AccessOptions& options, const Clock* clock,
                                                       AuditLog* audit, Metrics* metrics) {
  std::unique_ptr<Access> access(new Access(options, clock, audit, metrics));
  if (!options.tokens_file.empty()) {
    RETURN_IF_ERROR(access->LoadTokens());
  }
  return access;
}

Access::FileStamp Access::Stamp() const {
  struct stat info;
  if (stat(options_.tokens_file.c_str(), &info) != 0) {
    return {};
  }
  return {info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size, info.st_ino};
}

absl::Status Access::LoadTokens() {
  const FileStamp stamp = Stamp();  // before reading: a change meanwhile is then seen the next time
  ASSIGN_OR_RETURN(const std::string text, security::ReadSecretFile(options_.tokens_file));
  ASSIGN_OR_RETURN(security::TokenTable table, security::TokenTable::Parse(text, options_.tokens_file));
  MutexLock lock(&mu_);
  tokens_ = std::make_shared<const security::TokenTable>(std::move(table));
  stamp_ = stamp;
  return absl::OkStatus();
}

void Access::ReloadTokens() {
  if (options_.tokens_file.empty()) {
    return;
  }
  const FileStamp now = Stamp();
  {
    MutexLock lock(&mu_);
    if (now == stamp_) {
      return;
    }
    stamp_ = now;
  }
  if (const absl::Status status = LoadTokens(); !status.ok()) {
    spdlog::error("the tokens stay as they were: {}", std::string(status.message()));
  } else {
    spdlog::info("the tokens of {} are taken up anew", options_.tokens_file);
  }
}

absl::StatusOr<Identity> Access::FromCertificate(const std::string& pem) {
  MutexLock lock(&mu_);
  auto found = certificates_.find(pem);
  if (found == certificates_.end()) {
    if (certificates_.size() >= kKnownCertificates) {
      certificates_.clear();
    }
    const absl::StatusOr<security::CertificateInfo> info = security::ReadCertificate(pem);
    KnownCertificate known{absl::UnauthenticatedError("the client certificate cannot be read"), 0};
    if (info.ok()) {
      known = {IdentityIn(*info), info->validity.not_after};
    }
    found = certificates_.emplace(pem, std::move(known)).first;
  }
  // TLS looked when the connection was made, which may be long ago.
  if (found->second.identity.ok() && clock_->WallMillis() / 1000 >= found->second.not_after) {
    return absl::UnauthenticatedError("the client certificate has expired; make a new one with `capsweep certs init`");
  }
  return found->second.identity;
}

absl::StatusOr<Identity> Access::Identify(const Credentials& credentials) {
  if (credentials.authorization.empty()) {
    if (credentials.certificate.empty()) {
      return absl::UnauthenticatedError(
          "this call needs a token (--token-file, or the header 'Authorization: Bearer TOKEN') or a client "
          "certificate");
    }
    return FromCertificate(credentials.certificate);
  }
  if (!IsBearer(credentials.authorization)) {
    return absl::UnauthenticatedError("the Authorization header must be 'Bearer TOKEN'");
  }
  std::shared_ptr<const security::TokenTable> tokens;
  {
    MutexLock lock(&mu_);
    tokens = tokens_;
  }
  std::optional<Identity> found;
  if (tokens != nullptr) {
    found = tokens->Find(std::string_view(credentials.authorization).substr(kBearer.size()));
  }
  if (!found.has_value()) {
    return absl::UnauthenticatedError("this coordinator does not know the token (any more)");
  }
  return *std::move(found);
}

absl::StatusOr<Caller> Access::Admit(std::string_view path, const Credentials& credentials) {
  const AllowedCall* const allowed = FindAllowed(path);
  Caller caller{.peer = credentials.peer};
  if (allowed == nullptr) {
    return Refuse(path, caller, absl::PermissionDeniedError(StrCat("nobody may call ", path)));
  }
  if (!options_.enforced || allowed->open) {
    caller.name = "local";
    return caller;
  }
  absl::StatusOr<Identity> identity = Identify(credentials);
  if (!identity.ok()) {
    return Refuse(path, caller, identity.status());
  }
  caller.name = identity->name;
  caller.role = std::string(security::ToWord(identity->role));
  if (std::find(allowed->roles.begin(), allowed->roles.end(), identity->role) == allowed->roles.end()) {
    return Refuse(path, caller,
                  absl::PermissionDeniedError(StrCat("'", caller.name, "' is a ", caller.role,
                                                     "; this call is for the ", "role ", RolesText(*allowed))));
  }
  return caller;
}

absl::Status Access::Refuse(std::string_view path, const Caller& caller, absl::Status status) {
  metrics_->CountRefusal(status.code());
  if (!refusals_.Allow(AddressOf(caller.peer))) {
    status = absl::ResourceExhaustedError(
        StrCat("too many refused calls from ", AddressOf(caller.peer), "; wait a minute, then call with a good token"));
  }
  // A path that is not ours is the caller's text.
  audit_->Refused(caller, FindAllowed(path) == nullptr ? "unknown call" : std::string(path), status);
  return status;
}

void Access::Unheard(std::string_view what, const std::string& peer, const absl::Status& status) {
  metrics_->CountRefusal(status.code());
  audit_->Refused({.peer = peer}, std::string(what), status);
}

}  // namespace capsweep::service
