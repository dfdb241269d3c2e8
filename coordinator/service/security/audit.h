// Who did what, and who was refused, as rows of `events`. What anybody can cause is counted rather than written down
// call by call, so that a flood fills neither the disk nor memory.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "coordinator/core/events.h"

namespace capsweep::service {

// Whose call it was.
struct Caller {
  std::string name;  // of the token or certificate; "local" where nobody is asked
  std::string role;  // word of the role; "" where nobody is asked
  std::string peer;  // "10.0.0.7:4711", "unix", "unknown"
};

// The peer without its port: what limits and counts go by.
std::string AddressOf(const std::string& peer);

// Thread-safe.
class AuditLog {
 public:
  AuditLog(const Clock* clock, std::function<void(core::Audit)> write) : clock_(clock), write_(std::move(write)) {}
  ~AuditLog();  // writes what is counted

  // A verb that changes something, done or not. Successes have a row each (kind `call`); failures (`call_failed`) of
  // one caller, verb and code are counted after the first of a minute.
  void Called(const Caller& caller, const std::string& verb, const std::string& target, const absl::Status& status);
  // A call that was not let in (kind `refused`), counted likewise by address, verb and code.
  void Refused(const Caller& caller, const std::string& verb, const absl::Status& status);
  // Writes the counts whose minute is over. To be called every few seconds.
  void WriteCounts();

  // Rows a minute that anyone could cause without a success.
  static constexpr size_t kMaxCounted = 64;

 private:
  struct Counted {
    Instant since{};
    int64_t more = 0;  // beyond the one that was written
    core::Audit row;
  };

  void Count(core::Audit row, const std::string& key);
  void WriteCountsLocked(bool all) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Clock* const clock_;
  const std::function<void(core::Audit)> write_;
  Mutex mu_;
  absl::flat_hash_map<std::string, Counted> counted_ ABSL_GUARDED_BY(mu_);
};

}  // namespace capsweep::service
