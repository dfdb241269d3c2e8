// What the benchmarks share.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/point.h"
#include "common/result.h"
#include "nlohmann/json.hpp"

namespace capsweep::bench {

// Microseconds of one fdatasync in this folder: it decides every figure of what is durable.
absl::StatusOr<double> FsyncMicros(const std::string& folder);

// A result of the point that a coordinator accepts: nothing memorized.
PointResult NoOpResult(const PointSpec& point, double seconds = 0);

// Where a figure comes from: {"build", "commit" (with "-dirty" where the tree had changes), "cpu", "cores",
// "memory_gib", "system", "time"}.
nlohmann::json Provenance();

// Debian's Abseil looks for lock cycles under a global lock at every lock that gRPC takes; the programs switch it off,
// and so must what is to keep up with them.
void NoLockChecks();

}  // namespace capsweep::bench
