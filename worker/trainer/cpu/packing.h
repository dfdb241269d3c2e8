// Which packing serves a shape, by the rule that the coordinator knows too.
#pragma once

#include "common/cost_model.h"
#include "common/point.h"
#include "worker/trainer/cpu/cpu_model.h"

namespace capsweep::trainer::cpu {

inline Packing PackingOf(const PointSpec& point) {
  return PackLanes(ShapeKey(point)) == kLaneCount ? Packing::kModels : Packing::kSamples;
}

}  // namespace capsweep::trainer::cpu
