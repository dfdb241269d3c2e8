// How long a point will train, from its shape and budget alone. Pure; calibrated per device kind by what was measured.
#pragma once

#include "common/point.h"

namespace capsweep {

// Floating point operations of one optimizer step (forward, backward, Adam) with the algebra the back ends use
// (last-position trim in label mode).
double FlopsPerStep(const PointSpec& point);

// Seconds on one reference CPU core with the torch back end: a fixed cost per step plus FLOPs over a sustained rate,
// plus evaluations. Upper bound: early stops are not foreseen.
double EstimateSeconds(const PointSpec& point);

// Bytes a trainer needs for one slot of this point: weights, gradients, Adam state, activations, library.
double EstimateBytes(const PointSpec& point);

}  // namespace capsweep
