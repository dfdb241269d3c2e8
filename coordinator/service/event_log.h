// What happens to points, attempts, workers and sweeps, for the log.
#pragma once

#include "coordinator/core/events.h"

namespace capsweep::service {

// One line for each change of the batch that is worth one: rows of `events` (info), attempts that failed or lost their
// worker (warning), attempts given out and results taken (debug). Fields: event, subject, point, attempt, worker,
// device, outcome, cause. Cheap where the level is off.
void LogBatch(const core::Persist& batch);

}  // namespace capsweep::service
