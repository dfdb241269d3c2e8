// The model of the torch back end in double precision, for checks of gradients and logits, without LibTorch in sight.
#pragma once

#include <vector>

#include "common/point.h"
#include "worker/trainer/data/library.h"

namespace capsweep::trainer {

struct ProbeResult {
  double loss = 0;                // mean nats per target over the whole library
  std::vector<double> logits;     // [D·T, V]
  std::vector<double> gradients;  // [layout.train], d loss / d weight
};

// One forward and backward pass over the whole library with the given weights [layout.total]. `trim` as in XtModel.
// Throws c10::Error where LibTorch does.
ProbeResult ProbeModel(const PointSpec& point, const Library& library, const std::vector<double>& weights,
                       bool trim = true);

}  // namespace capsweep::trainer
