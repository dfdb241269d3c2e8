// The cuda back end on a real GPU: its kernels must give the bits that they give on the host. All of these need a GPU;
// without one they skip and print why. What is said without a GPU is tested in tests/unit/trainer.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/host_gpu.h"
#include "tests/unit/trainer/trainer_test_points.h"
#include "worker/trainer/cuda/cuda_backend.h"

namespace capsweep::trainer {
namespace {

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto gpu = cuda::OpenGpu(0); !gpu.ok()) GTEST_SKIP() << "needs a GPU: " << gpu.status();
  }
  static std::unique_ptr<Backend> Make() {
    auto backend = MakeCudaBackend("cuda:0");
    EXPECT_TRUE(backend.ok()) << backend.status();
    return *std::move(backend);
  }
  static PointResult Train(const PointSpec& point) {
    const auto backend = Make();
    EXPECT_TRUE(backend->Load(0, point, nullptr).ok());
    return TrainToEnd(*backend, 0);
  }
};

// Shapes with kernels of their own, and others.
std::vector<PointSpec> Points() {
  std::vector<PointSpec> points = OnePointPerMode();
  for (const Mode mode : {Mode::kLabel, Mode::kSeq}) {
    PointSpec tiny = SmallPoint();
    tiny.mode = mode, tiny.heads = 1, tiny.head_dim = 8, tiny.width = 8, tiny.seq_len = 8, tiny.vocab = 16;
    PointSpec small = tiny;
    small.heads = 4, small.width = 32, small.seq_len = 16, small.vocab = 64;
    PointSpec middle = tiny;
    middle.heads = 8, middle.width = 64, middle.seq_len = 64, middle.vocab = 256, middle.epochs = 1;
    points.insert(points.end(), {tiny, small, middle});
  }
  PointSpec wide = SmallPoint();
  wide.heads = 5, wide.head_dim = 64, wide.width = 128, wide.seq_len = 16, wide.epochs = 1;
  points.push_back(wide);
  return points;
}

TEST_F(GpuTest, EveryKernelGivesTheBitsOfTheHost) {
  for (const PointSpec& point : Points()) {
    EXPECT_EQ(Bits(Train(point)), Bits(TrainPoint(point, "cuda"))) << PointToJson(point);
  }
}

TEST_F(GpuTest, ShapesSideBySideKeepTheirBits) {
  const auto backend = Make();
  const std::vector<PointSpec> points = Points();
  for (size_t i = 0; i < points.size(); ++i) {
    ASSERT_TRUE(backend->Load(static_cast<int>(i), points[i], nullptr).ok());
  }
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(Bits(TrainToEnd(*backend, static_cast<int>(i))), Bits(Train(points[i]))) << i;
  }
}

TEST_F(GpuTest, FullDeviceGivesEveryOneItsBits) {
  const auto backend = Make();
  PointSpec point = SmallPoint();
  const int slots = backend->Slots(point);
  EXPECT_GT(slots, 1);
  for (int i = 0; i < slots; ++i) {
    point.init_seed = static_cast<uint64_t>(i);
    ASSERT_TRUE(backend->Takes(point, ShapeKey(point)));
    ASSERT_TRUE(backend->Load(i, point, nullptr).ok());
  }
  EXPECT_FALSE(backend->Takes(point, ShapeKey(point)));
  for (int i = 0; i < slots; ++i) {
    const PointResult result = TrainToEnd(*backend, i);
    if (i % 50 != 0) continue;
    point.init_seed = static_cast<uint64_t>(i);
    EXPECT_EQ(Bits(result), Bits(TrainPoint(point, "cuda"))) << i;
  }
}

TEST_F(GpuTest, ResumedRunGivesTheSameBits) {
  PointSpec point = SmallPoint();
  point.epochs = 3000;
  const auto first = Make(), second = Make();
  ASSERT_TRUE(first->Load(0, point, nullptr).ok());
  first->Run(Duration::zero());
  const auto checkpoint = first->Save(0);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_FALSE(first->Look(0).finished);
  ASSERT_TRUE(second->Load(0, point, &*checkpoint).ok());
  EXPECT_EQ(Bits(TrainToEnd(*second, 0)), Bits(Train(point)));
}

TEST_F(GpuTest, NanLossLeavesNeighboursAlone) {
  const PointSpec point = SmallPoint();
  PointSpec wild = point;
  wild.lr = 1e30;
  const auto backend = Make();
  ASSERT_TRUE(backend->Load(0, wild, nullptr).ok());
  ASSERT_TRUE(backend->Load(1, point, nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(Train(point)));
  EXPECT_EQ(backend->Look(0).cause, FailureCause::kNanLoss);
}

}  // namespace
}  // namespace capsweep::trainer
