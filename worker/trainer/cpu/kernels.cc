#include "worker/trainer/cpu/kernels.h"

#include "worker/trainer/flush_denormals.h"

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
  const F rate = Load(adam.rate), correction = Load(adam.correction2), epsilon = Set(1e-8f);
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

void ClearGrads(const ModelView& m) {
  std::fill_n(m.grads, m.at.train, 0.0f);
  std::fill_n(m.work.lane_bias, m.shape.layers * m.shape.hidden * kLanes, 0.0f);
  std::fill_n(m.work.lane_gain, m.shape.layers * m.shape.width * kLanes, 0.0f);
}

// Takes the items through the forward pass, some sixteens at a time: visit(first item, count) after each.
template <class Visit>
void ForChunks(XtPass<false>& pass, const ModelView& m, const Items& items, float terms, const Visit& visit) {
  const int64_t chunk = m.shape.together * kLanes;
  for (int64_t first = 0; first < items.count; first += chunk) {
    const int64_t count = std::min(chunk, items.count - first);
    if (first == 0 || !m.whole_table) {
      pass.FillTable(items, first, count);
    }
    pass.Begin(items, first, count, terms);
    pass.Forward();
    visit(first, count);
  }
}

float Train(const ModelView& m, const Items& items, const AdamStep* adam) {
  XtPass<false> pass(m);
  ClearGrads(m);
  pass.Fold();
  F loss = Zero();
  ForChunks(pass, m, items, static_cast<float>(items.count * m.shape.targets), [&](int64_t, int64_t) {
    loss = Add(loss, pass.LossBackward());
    pass.Backward();
    if (!m.whole_table) {
      pass.FinishTable();
    }
  });
  if (m.whole_table) {
    pass.FinishTable();
  }
  pass.Unfold();
  if (adam != nullptr) {
    UpdateWeights(m, *adam);
  }
  return SumLanes(loss);
}

void TrainModels(const ModelView& m, const LaneItems& items, const AdamStep* adam, float* loss_of_lane) {
  XtPass<true> pass(m);
  ClearGrads(m);
  pass.Fold();
  pass.FillTable(items.lane[0], 0, 0);
  int64_t samples = 0;
  for (const Items& own : items.lane) samples = std::max(samples, own.count);
  F loss = Zero();
  for (int64_t first = 0; first < samples; first += m.shape.together) {
    pass.BeginModels(items, first, std::min(m.shape.together, samples - first));
    pass.Forward();
    loss = Add(loss, pass.LossBackward());
    pass.Backward();
  }
  pass.FinishTable();
  pass.Unfold();
  if (adam != nullptr) {
    UpdateWeights(m, *adam);
  }
  HWY_ALIGN float lanes[kLanes];
  Store(loss, lanes);
  std::copy_n(lanes, kLanes, loss_of_lane);
}

void Evaluate(const ModelView& m, const Items& items, float* nll, uint8_t* right) {
  const int64_t targets = m.shape.targets;
  XtPass<false> pass(m);
  pass.Fold();
  ForChunks(pass, m, items, 1.0f,
            [&](int64_t first, int64_t count) { pass.Judge(count, nll + first * targets, right + first * targets); });
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
HWY_EXPORT(TrainModels);
HWY_EXPORT(Evaluate);
HWY_EXPORT(Target);

float TrainKernel(const ModelView& model, const Items& items, const AdamStep* adam) {
  const FlushDenormals flush;
  return HWY_DYNAMIC_DISPATCH(Train)(model, items, adam);
}
void TrainModelsKernel(const ModelView& model, const LaneItems& items, const AdamStep* adam, float* loss) {
  const FlushDenormals flush;
  HWY_DYNAMIC_DISPATCH(TrainModels)(model, items, adam, loss);
}
void EvaluateKernel(const ModelView& model, const Items& items, float* nll, uint8_t* right) {
  const FlushDenormals flush;
  HWY_DYNAMIC_DISPATCH(Evaluate)(model, items, nll, right);
}
const char* KernelTarget() {
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace capsweep::trainer::cpu
#endif  // HWY_ONCE
