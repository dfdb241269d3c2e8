#include "worker/trainer/cpu/kernels.h"

// Sets that would give the same code as one that stays.
#define HWY_DISABLED_TARGETS (HWY_AVX3_DL | HWY_SSSE3)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/trainer/cpu/kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "worker/trainer/cpu/xt-inl.h"

HWY_BEFORE_NAMESPACE();
namespace capsweep::trainer::cpu {
namespace HWY_NAMESPACE {

// Adam (Kingma and Ba, 2015) with its usual constants.
void UpdateWeights(const ModelView& m, const AdamStep& adam) {
  const F beta1 = Set(0.9f), rest1 = Set(0.1f), beta2 = Set(0.999f), rest2 = Set(0.001f);
  const F rate = Set(adam.rate), correction = Set(adam.correction2), epsilon = Set(1e-8f);
  for (int64_t i = 0; i < m.at.train; i += kLanes) {
    const F g = Load(m.grads + i);
    const F first = MulAdd(beta1, Load(m.moment1 + i), Mul(rest1, g));
    const F second = MulAdd(beta2, Load(m.moment2 + i), Mul(rest2, Mul(g, g)));
    const F scale = MulAdd(Sqrt(second), correction, epsilon);
    Store(first, m.moment1 + i);
    Store(second, m.moment2 + i);
    Store(NegMulAdd(rate, Div(first, scale), Load(m.weights + i)), m.weights + i);
  }
}

float Train(const ModelView& m, const Items& items, const AdamStep* adam) {
  const Shape& s = m.shape;
  XtPass pass(m);
  std::fill_n(m.grads, m.at.train, 0.0f);
  std::fill_n(m.work.lane_bias, s.layers * s.hidden * kLanes, 0.0f);
  std::fill_n(m.work.lane_gain, s.layers * s.width * kLanes, 0.0f);
  pass.Fold();
  const float terms = static_cast<float>(items.count * s.targets);
  F loss = Zero();
  for (int64_t first = 0; first < items.count; first += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, items.count - first);
    if (first == 0 || !m.whole_table) {
      pass.FillTable(items, first, count);
    }
    pass.Begin(items, first, count);
    pass.Forward();
    loss = Add(loss, pass.LossBackward(terms));
    pass.Backward();
    if (!m.whole_table) {
      pass.FinishTable();
    }
  }
  if (m.whole_table) {
    pass.FinishTable();
  }
  pass.Unfold();
  if (adam != nullptr) {
    UpdateWeights(m, *adam);
  }
  return SumLanes(loss) / terms;
}

void Evaluate(const ModelView& m, const Items& items, float* nll, uint8_t* right) {
  const int64_t targets = m.shape.targets;
  XtPass pass(m);
  pass.Fold();
  for (int64_t first = 0; first < items.count; first += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, items.count - first);
    if (first == 0 || !m.whole_table) {
      pass.FillTable(items, first, count);
    }
    pass.Begin(items, first, count);
    pass.Forward();
    pass.Judge(count, nll + first * targets, right + first * targets);
  }
}

const char* Target() {
  return kParts == 1 ? "avx512" : kParts == 2 ? "avx2" : "baseline";
}

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace capsweep::trainer::cpu {

HWY_EXPORT(Train);
HWY_EXPORT(Evaluate);
HWY_EXPORT(Target);

float TrainKernel(const ModelView& model, const Items& items, const AdamStep* adam) {
  return HWY_DYNAMIC_DISPATCH(Train)(model, items, adam);
}
void EvaluateKernel(const ModelView& model, const Items& items, float* nll, uint8_t* right) {
  HWY_DYNAMIC_DISPATCH(Evaluate)(model, items, nll, right);
}
const char* KernelTarget() {
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace capsweep::trainer::cpu
#endif  // HWY_ONCE
