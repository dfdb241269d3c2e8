// The adviser of sweeps with measure: adaptive: their planner's questions as fits of ecm/.
#pragma once

#include "absl/status/statusor.h"
#include "coordinator/plan/adaptive.h"

namespace capsweep::service {

// Pure. One thread; milliseconds with log_quadratic, about half a second for 100 cells with softmin. The results count
// as one group, whatever back end they are of.
absl::StatusOr<plan::AdaptiveAnswer> Advise(const plan::AdaptiveQuestion& question);

}  // namespace capsweep::service
