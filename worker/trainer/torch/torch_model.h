// One point in training with LibTorch.
#pragma once

#include <torch/types.h>

#include <memory>

#include "common/point.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/slot.h"

namespace capsweep::trainer {

// `library` outlives the model. `graphs`: steps of whole batches are made fit for a CUDA graph. Throws where LibTorch
// does; the model itself does not.
std::unique_ptr<SlotModel> MakeTorchModel(const PointSpec& point, const Library& library, torch::Device device,
                                          bool graphs);

}  // namespace capsweep::trainer
