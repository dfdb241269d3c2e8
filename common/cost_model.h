// How long a point will train, from its shape and budget alone. Pure; calibrated per device kind by what was measured.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/point.h"

namespace capsweep {

// What a back end computes of the last layer in mode label: every position; the last one, with keys and values of all;
// or the last one without forming keys and values (docs/science.md), which is done for xt alone. In ks, what of the
// blocks after the attention: every position, or the last one.
enum class Algebra { kPlain, kTrimmed, kAbsorbed };

// Floating point operations of the matrix products of one optimizer step: forward, gradient of the inputs and gradient
// of the weights. Norms, softmax, GELU and Adam are not counted.
double ProductFlopsPerStep(const PointSpec& point, Algebra algebra);

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
