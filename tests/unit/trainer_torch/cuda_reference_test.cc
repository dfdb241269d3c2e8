// The phases of the cuda back end's kernels, run on the host, against the reference model in double.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/host_slot.h"
#include "worker/trainer/torch/model_probe.h"

namespace capsweep::trainer::cuda {
namespace {

class CudaReferenceTest : public testing::TestWithParam<SlotCase> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CudaReferenceTest, testing::ValuesIn(kSlotCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(CudaReferenceTest, LossAndEveryGradientAgreeWithTheReference) {
  HostSlot slot(GetParam(), kAmpleShared);
  const ProbeResult reference = ProbeModel(slot.point, slot.library, {slot.flat.begin(), slot.flat.end()});
  HostRun run(96, ThreadOrder::kForward);
  slot.Step(run);
  EXPECT_NEAR(slot.state.progress.train_loss, reference.loss, 2e-6 * std::max(1.0, reference.loss));
  // After one step of Adam from zero moments the first moment is a tenth of the gradient.
  const std::vector<float> first = slot.map.FromKernel(slot.moment1);
  for (const TensorSpec& tensor : slot.map.layout().tensors) {
    if (tensor.frozen) continue;
    double error = 0, size = 0;
    for (int64_t i = tensor.offset; i < tensor.offset + tensor.size(); ++i) {
      const double want = reference.gradients[static_cast<size_t>(i)];
      error += std::pow(10.0 * first[static_cast<size_t>(i)] - want, 2);
      size += want * want;
    }
    EXPECT_LE(std::sqrt(error), 2e-5 * std::sqrt(size) + 1e-8) << tensor.name;
  }
}

}  // namespace
}  // namespace capsweep::trainer::cuda
