// What the coordinator counts about itself. Counted where it happens, read when /metrics is asked for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/metrics.h"
#include "coordinator/core/events.h"

namespace capsweep::service {

inline constexpr size_t kStatusCodes = 17;  // of absl and gRPC alike

// Thread-safe.
struct Metrics {
  Counter attempts_started;
  std::array<Counter, 6> attempts_ended;  // by core::AttemptOutcome
  Histogram commit_seconds{LatencyBounds()};
  Histogram sync_seconds{LatencyBounds()};  // calls that are answered without being held open
  Histogram fsync_seconds{LatencyBounds()};
  std::atomic<int64_t> open_syncs{0};
  std::array<Counter, kStatusCodes> syncs;       // by status code
  std::array<Counter, kStatusCodes> refusals;    // by status code
  std::array<Counter, kStatusCodes> http_verbs;  // users' verbs by status code
  std::array<Counter, kStatusCodes> grpc_verbs;
  std::array<Counter, 6> http_requests;        // by hundreds of the HTTP status
  std::atomic<int64_t> certificate_expiry{0};  // seconds since 1970; 0 = no TLS

  void CountRefusal(absl::StatusCode code) { refusals[static_cast<size_t>(code) % kStatusCodes].Add(); }
  // Looks at what an effect of the core puts on disk.
  void CountMutations(const core::Persist& batch);
};

class Engine;

// The text of /metrics.
std::string MetricsPage(const Engine& engine, const Metrics& metrics);

}  // namespace capsweep::service
