// The optimizers of the torch back end on flat weights, with clipping.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "common/point.h"

namespace capsweep::trainer {

// adam: docs/science.md, section "Training". adamw: before it w -= lr * weight_decay * w (Loshchilov and Hutter, 2019).
// sgd: v = momentum * v + g + weight_decay * w; w -= lr * v, with v in the first moment and the second left at 0.
// clip_norm: first the gradient is scaled by min(1, clip_norm / (|g| + 1e-6)), as torch's clip_grad_norm_ does.
class FlatOptimizer {
 public:
  // Works on these two tensors [layout.train] and changes both.
  FlatOptimizer(const PointSpec& point, torch::Tensor weights, torch::Tensor grads);

  // Update number t, from 1.
  void Step(int64_t t, double lr);

  // The same by factors [3] on the device: a captured step must find them where they change.
  torch::Tensor Factors(int64_t t, double lr) const;
  void Step(const torch::Tensor& factors);

  torch::Tensor& first_moment() { return first_; }
  torch::Tensor& second_moment() { return second_; }

 private:
  void Clip();
  void UpdateAdamMoments();
  void UpdateVelocity();

  Optimizer kind_;
  double momentum_, weight_decay_, clip_norm_;
  torch::Tensor weights_, grads_, first_, second_, scratch_;  // each [layout.train]
};

}  // namespace capsweep::trainer
