// The model of the torch back end in double precision, for checks of gradients and logits, without LibTorch in sight.
#pragma once

#include <cstdint>
#include <vector>

#include "common/point.h"
#include "worker/trainer/data/library.h"

namespace capsweep::trainer {

struct ProbeResult {
  double loss = 0;                // mean over targets of the whole library, as in training
  std::vector<double> logits;     // [D·T, V], as they are counted with
  std::vector<double> gradients;  // [layout.train], d loss / d weight
};

// One forward and backward pass over the whole library with the given weights [layout.total]. `trim` as in MakeModel.
// `dropout_step`: with the dropout of that training step, from 1; 0: without. Throws c10::Error where LibTorch does.
ProbeResult ProbeModel(const PointSpec& point, const Library& library, const std::vector<double>& weights,
                       bool trim = true, int64_t dropout_step = 0);

}  // namespace capsweep::trainer
