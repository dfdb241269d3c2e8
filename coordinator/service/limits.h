// What one message may hold. Documented in docs/protocol.md; beyond them a call is INVALID_ARGUMENT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "common/text.h"

namespace capsweep::service {

inline constexpr int kMaxDevices = 1024;
inline constexpr int kMaxSlots = 65'536;
inline constexpr int kMaxHeldPerDevice = 4096;
inline constexpr int kMaxReports = 4096;  // each of results, failures, handed_back
inline constexpr int kMaxLabels = 64;
inline constexpr size_t kMaxNameBytes = 128;  // worker ids, kinds, versions
inline constexpr size_t kMaxHostBytes = 255;
inline constexpr size_t kMaxProvenanceBytes = 256;  // each text of a result
inline constexpr size_t kMaxFreeTextBytes = 2048;   // reasons and failure messages: cut, not refused
inline constexpr int kMaxCurveRows = 100'000;
inline constexpr double kMaxWaitSeconds = 3600;

inline constexpr size_t kMaxReplyBytes = 3 << 20;  // of replies with rows or assignments; the rest of 4 MiB is headroom
inline constexpr int64_t kMaxPageRows = 10'000;
inline constexpr double kMaxQuerySeconds = 10;
inline constexpr size_t kMaxSqlBytes = 64 << 10;
inline constexpr size_t kMaxSweepFileBytes = 1 << 20;
inline constexpr size_t kMaxFitBytes = 3 << 20;
inline constexpr int32_t kMaxPriority = 1000;  // also of the negative

// The refusal of a field beyond its limits.
inline absl::Status Bad(std::string_view field, std::string_view what) {
  return absl::InvalidArgumentError(StrCat(field, ": ", what));
}

}  // namespace capsweep::service
