#include "worker/trainer/torch/optimizer.h"

#include <utility>

#include "worker/trainer/adam.h"

namespace capsweep::trainer {

FlatOptimizer::FlatOptimizer(const PointSpec& point, torch::Tensor weights, torch::Tensor grads)
    : kind_(point.optimizer),
      momentum_(point.momentum),
      weight_decay_(point.weight_decay),
      clip_norm_(point.clip_norm),
      weights_(std::move(weights)),
      grads_(std::move(grads)),
      first_(torch::zeros_like(weights_)),
      second_(torch::zeros_like(weights_)),
      scratch_(torch::empty_like(weights_)) {}

void FlatOptimizer::Step(int64_t t, double lr) {
  Clip();
  if (kind_ == Optimizer::kSgd) {
    UpdateVelocity();
    weights_.add_(first_, -lr);
    return;
  }
  const AdamFactors factors = MakeAdamFactors(t, lr);
  UpdateAdamMoments();
  if (weight_decay_ != 0) {
    weights_.mul_(1.0 - lr * weight_decay_);
  }
  torch::sqrt_out(scratch_, second_).mul_(factors.correction2).add_(kEpsilon);
  weights_.addcdiv_(first_, scratch_, -factors.rate);
}

torch::Tensor FlatOptimizer::Factors(int64_t t, double lr) const {
  const AdamFactors factors = MakeAdamFactors(t, lr);
  const double rate = kind_ == Optimizer::kSgd ? lr : factors.rate;
  return torch::tensor({static_cast<float>(factors.correction2), static_cast<float>(-rate),
                        static_cast<float>(1.0 - lr * weight_decay_)});
}

void FlatOptimizer::Step(const torch::Tensor& factors) {
  Clip();
  if (kind_ == Optimizer::kSgd) {
    UpdateVelocity();
    weights_.add_(torch::mul_out(scratch_, first_, factors[1]));
    return;
  }
  UpdateAdamMoments();
  if (weight_decay_ != 0) {
    weights_.mul_(factors[2]);
  }
  torch::sqrt_out(scratch_, second_).mul_(factors[0]).add_(kEpsilon);
  torch::div_out(scratch_, first_, scratch_).mul_(factors[1]);
  weights_.add_(scratch_);
}

void FlatOptimizer::Clip() {
  if (clip_norm_ > 0) {
    grads_.mul_((clip_norm_ / (grads_.norm() + 1e-6)).clamp_max(1.0));
  }
}

void FlatOptimizer::UpdateAdamMoments() {
  first_.mul_(kBeta1).add_(grads_, 1.0 - kBeta1);
  second_.mul_(kBeta2).addcmul_(grads_, grads_, 1.0 - kBeta2);
}

void FlatOptimizer::UpdateVelocity() {
  first_.mul_(momentum_).add_(grads_);
  if (weight_decay_ != 0) {
    first_.add_(weights_, weight_decay_);
  }
}

}  // namespace capsweep::trainer
