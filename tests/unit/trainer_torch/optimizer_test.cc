// The flat optimizers against LibTorch's own, on a small least-squares problem.
#include "worker/trainer/torch/optimizer.h"

#include <torch/torch.h>

#include <memory>

#include "gtest/gtest.h"

namespace capsweep::trainer {
namespace {

// w [12] that should solve A·w = b.
struct Problem {
  torch::Tensor a, b;
  Problem() {
    torch::manual_seed(5);
    a = torch::randn({20, 12});
    b = torch::randn({20});
  }
  torch::Tensor Gradient(const torch::Tensor& w) const { return 2 * torch::mv(a.t(), torch::mv(a, w) - b) / 20; }
};

PointSpec Recipe(Optimizer optimizer, double decay, double clip) {
  PointSpec point;
  point.optimizer = optimizer, point.weight_decay = decay, point.clip_norm = clip, point.momentum = 0.8;
  return point;
}

double LearningRateOf(int t) {
  return 0.02 / t;
}

torch::Tensor TrainedByTorch(const PointSpec& point, int steps) {
  const Problem problem;
  torch::Tensor w = torch::ones({12}).requires_grad_(true);
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  if (point.optimizer == Optimizer::kAdam) {
    optimizer = std::make_unique<torch::optim::Adam>(std::vector<torch::Tensor>{w}, torch::optim::AdamOptions(0.1));
  } else if (point.optimizer == Optimizer::kAdamw) {
    optimizer = std::make_unique<torch::optim::AdamW>(std::vector<torch::Tensor>{w},
                                                      torch::optim::AdamWOptions(0.1).weight_decay(point.weight_decay));
  } else {
    optimizer = std::make_unique<torch::optim::SGD>(
        std::vector<torch::Tensor>{w},
        torch::optim::SGDOptions(0.1).momentum(point.momentum).weight_decay(point.weight_decay));
  }
  for (int t = 1; t <= steps; ++t) {
    for (auto& group : optimizer->param_groups()) {
      if (point.optimizer == Optimizer::kSgd) {
        static_cast<torch::optim::SGDOptions&>(group.options()).lr(LearningRateOf(t));
      } else if (point.optimizer == Optimizer::kAdamw) {
        static_cast<torch::optim::AdamWOptions&>(group.options()).lr(LearningRateOf(t));
      } else {
        static_cast<torch::optim::AdamOptions&>(group.options()).lr(LearningRateOf(t));
      }
    }
    w.mutable_grad() = problem.Gradient(w.detach());
    if (point.clip_norm > 0) torch::nn::utils::clip_grad_norm_(w, point.clip_norm);
    optimizer->step();
  }
  return w.detach();
}

torch::Tensor TrainedFlat(const PointSpec& point, int steps, bool by_factors) {
  const Problem problem;
  torch::Tensor w = torch::ones({12}), grads = torch::zeros({12});
  FlatOptimizer optimizer(point, w, grads);
  for (int t = 1; t <= steps; ++t) {
    grads.copy_(problem.Gradient(w));
    if (by_factors) {
      optimizer.Step(optimizer.Factors(t, LearningRateOf(t)));
    } else {
      optimizer.Step(t, LearningRateOf(t));
    }
  }
  return w;
}

TEST(FlatOptimizerTest, FiftyStepsAgreeWithLibTorch) {
  for (const PointSpec& point :
       {Recipe(Optimizer::kAdam, 0, 0), Recipe(Optimizer::kAdam, 0, 0.5), Recipe(Optimizer::kAdamw, 0.3, 0),
        Recipe(Optimizer::kAdamw, 0.3, 0.5), Recipe(Optimizer::kSgd, 0, 0), Recipe(Optimizer::kSgd, 0.3, 0),
        Recipe(Optimizer::kSgd, 0.3, 0.5)}) {
    const torch::Tensor reference = TrainedByTorch(point, 50);
    for (const bool by_factors : {false, true}) {
      const torch::Tensor flat = TrainedFlat(point, 50, by_factors);
      EXPECT_LT((flat - reference).abs().max().item<float>(), 1e-6) << CanonicalText(point) << by_factors;
    }
    EXPECT_GT((reference - 1).abs().max().item<float>(), 0.01);  // it moved
  }
}

TEST(FlatOptimizerTest, ClippingHoldsTheGlobalNormAndLeavesSmallGradientsAlone) {
  const PointSpec point = [] {
    PointSpec p = Recipe(Optimizer::kSgd, 0, 2);
    p.momentum = 0;
    return p;
  }();
  for (const double size : {1.0, 100.0}) {
    torch::Tensor w = torch::zeros({4}), grads = torch::full({4}, size / 2);  // norm `size`
    FlatOptimizer optimizer(point, w, grads);
    optimizer.Step(1, 1.0);
    EXPECT_NEAR(w.norm().item<float>(), std::min(size, 2.0), 1e-5);
  }
}

}  // namespace
}  // namespace capsweep::trainer
