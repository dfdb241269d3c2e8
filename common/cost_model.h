// How long a point will train, from its shape and budget alone. Pure; calibrated per device kind by what was measured.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/point.h"

namespace capsweep {

// Floating point operations of one optimizer step (forward, backward, Adam) with the algebra the back ends use
// (in label mode the last layer for the last position only, without keys and values).
double FlopsPerStep(const PointSpec& point);

// Seconds on one reference CPU core with the back end that serves the point there: cpu, or torch if the point asks for
// it. Upper bound: early stops are not foreseen.
double EstimateSeconds(const PointSpec& point);

// How many models of a shape (a ShapeKey) one CPU core trains in lockstep, one in each lane of its vectors: 16 for the
// tiniest, else 1. A fixed rule, taken from measurements (docs/performance.md) and never from timing at run time: the
// trainer packs by it and the coordinator fills packs by it. 1 for text that is no shape.
int32_t PackLanes(std::string_view shape_key);

// Bytes a trainer needs for one slot of this point: weights, gradients, Adam state, activations, library.
double EstimateBytes(const PointSpec& point);

}  // namespace capsweep
