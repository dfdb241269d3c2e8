// The cpu back end: own SIMD kernels, one model per core.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"

namespace capsweep::trainer {

// `device`: "cpu"; Unimplemented for any other. `slots`: how many models take turns where lanes are samples; more
// than one gains no speed. The back end belongs to the thread that calls it.
absl::StatusOr<std::unique_ptr<Backend>> MakeCpuBackend(const std::string& device, int slots = 1);

}  // namespace capsweep::trainer
