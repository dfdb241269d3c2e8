#include "coordinator/service/security/audit.h"

#include <algorithm>

#include "common/text.h"

namespace capsweep::service {
namespace {

constexpr Duration kWindow = std::chrono::seconds(60);
constexpr char kOthers[] = "others";

std::string Who(const Caller& caller) {
  return caller.role.empty() ? StrCat(caller.name.empty() ? "somebody" : caller.name, " at ", caller.peer)
                             : StrCat(caller.role, " ", caller.name, " at ", caller.peer);
}

// One line, bounded: messages quote what callers sent.
std::string Short(std::string_view text) {
  constexpr size_t kMost = 300;
  std::string out(text.substr(0, std::min(text.size(), kMost)));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text.size() > kMost ? out + "…" : out;
}

std::string Outcome(const absl::Status& status) {
  return status.ok() ? "OK"
                     : StrCat(absl::StatusCodeToString(status.code()), ": ", Short(std::string(status.message())));
}

}  // namespace

std::string AddressOf(const std::string& peer) {
  const size_t colon = peer.rfind(':');
  const bool has_port = colon != std::string::npos && colon + 1 < peer.size() &&
                        peer.find_first_not_of("0123456789", colon + 1) == std::string::npos &&
                        (peer.find(':') == colon || peer[colon - 1] == ']');
  return has_port ? peer.substr(0, colon) : peer;
}

AuditLog::~AuditLog() {
  MutexLock lock(&mu_);
  WriteCountsLocked(/*all=*/true);
}

void AuditLog::Called(const Caller& caller, const std::string& verb, const std::string& target,
                      const absl::Status& status) {
  core::Audit row{
      .kind = status.ok() ? "call" : "call_failed",
      .subject = verb,
      .message = StrCat(Who(caller), ": ", target.empty() ? "" : StrCat(Short(target), ": "), Outcome(status))};
  if (status.ok()) {
    write_(std::move(row));
  } else {
    Count(std::move(row), StrCat("call_failed ", caller.name, " ", AddressOf(caller.peer), " ", verb, " ",
                                 static_cast<int>(status.code())));
  }
}

void AuditLog::Refused(const Caller& caller, const std::string& verb, const absl::Status& status) {
  Count({.kind = "refused", .subject = verb, .message = StrCat(Who(caller), ": ", Outcome(status))},
        StrCat("refused ", caller.name, " ", AddressOf(caller.peer), " ", verb, " ", static_cast<int>(status.code())));
}

void AuditLog::Count(core::Audit row, const std::string& key) {
  MutexLock lock(&mu_);
  WriteCountsLocked(/*all=*/false);
  if (const auto found = counted_.find(key); found != counted_.end()) {
    ++found->second.more;
    return;
  }
  if (counted_.size() < kMaxCounted) {
    counted_.emplace(key, Counted{clock_->Now(), 0, row});
    write_(std::move(row));
    return;
  }
  Counted& others = counted_.try_emplace(kOthers, Counted{clock_->Now(), 0, {}}).first->second;
  others.row = {.kind = "refused", .subject = "calls", .message = "others, of many callers and verbs"};
  ++others.more;
}

void AuditLog::WriteCounts() {
  MutexLock lock(&mu_);
  WriteCountsLocked(/*all=*/false);
}

void AuditLog::WriteCountsLocked(bool all) {
  const Instant now = clock_->Now();
  absl::erase_if(counted_, [&](auto& entry) {
    Counted& counted = entry.second;
    if (!all && now - counted.since < kWindow) {
      return false;
    }
    if (counted.more > 0) {
      StrAppend(&counted.row.message, " (", counted.more, " more within a minute)");
      write_(std::move(counted.row));
    }
    return true;
  });
}

}  // namespace capsweep::service
