// Between the layout that all back ends share (MakeLayout) and the one of the kernels (ParameterPlan).
#pragma once

#include <span>
#include <vector>

#include "common/point.h"
#include "worker/trainer/course.h"
#include "worker/trainer/cuda/shape.h"
#include "worker/trainer/model/layout.h"

namespace capsweep::trainer::cuda {

RunShape ShapeOf(const PointSpec& point);

class ParameterMap {
 public:
  explicit ParameterMap(const PointSpec& point);

  int64_t total() const { return plan_.total; }  // floats of a block in the kernels' layout
  int64_t train() const { return plan_.train; }  // of them, those that are trained
  const ParamLayout& layout() const { return layout_; }

  // `flat`: [layout.total] or, the trained ones alone, [layout.train]. What fills rows up is zero.
  std::vector<float> ToKernel(std::span<const float> flat) const;
  // `block`: [total()] or [train()].
  std::vector<float> FromKernel(std::span<const float> block) const;

 private:
  template <class F>
  void Visit(bool trained_only, const F& visit) const;

  RunShape shape_;
  Sizes<RunShape> sizes_;
  ParameterPlan<RunShape> plan_;
  ParamLayout layout_;
};

// Adam's factors of `count` steps from `first`, [count][2]: lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t), t = step + 1.
std::vector<float> MakeRates(const PointSpec& point, int64_t first, int64_t count);

}  // namespace capsweep::trainer::cuda
