// What the cuda back end does beyond the rules of all back ends: shapes side by side, memory, a sick device. The GPU is
// the host's.
#include "worker/trainer/cuda/cuda_backend.h"

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/host_gpu.h"
#include "tests/unit/trainer/trainer_test_points.h"

namespace capsweep::trainer {
namespace {

using cuda::HostGpuOptions;

std::unique_ptr<Backend> Make(const HostGpuOptions& options = {}) {
  return MakeGpuBackend(cuda::MakeHostGpu(options));
}

TEST(CudaBackendTest, ShapesTrainSideBySideAndKeepTheirBits) {
  const auto backend = Make();
  const std::vector<PointSpec> points = OnePointPerMode();
  for (size_t i = 0; i < points.size(); ++i) {
    ASSERT_TRUE(backend->Takes(points[i], ShapeKey(points[i]))) << i;
    ASSERT_TRUE(backend->Load(static_cast<int>(i), points[i], nullptr).ok());
  }
  EXPECT_FALSE(backend->Takes(points[0], ShapeKey(points[0])));  // the host's GPU runs four blocks at once
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(Bits(TrainToEnd(*backend, static_cast<int>(i))), Bits(TrainPoint(points[i], "cuda"))) << i;
  }
}

TEST(CudaBackendTest, RefilledSlotTrainsLikeAFreshOne) {
  const auto backend = Make();
  PointSpec other = SmallPoint();
  other.init_seed = 9, other.width = 20;
  ASSERT_TRUE(backend->Load(0, other, nullptr).ok());
  ASSERT_TRUE(backend->Load(1, SmallPoint(), nullptr).ok());
  TrainToEnd(*backend, 0);
  backend->Unload(0);
  ASSERT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 0)), Bits(TrainPoint(SmallPoint(), "cuda")));
}

TEST(CudaBackendTest, LengthOfALaunchDoesNotChangeTheBits) {
  const std::string wanted = Bits(TrainPoint(SmallPoint(), "cuda"));
  for (const uint64_t looks : {20, 100, 100000}) {
    const auto backend = Make({.looks_per_launch = looks});
    ASSERT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());
    EXPECT_EQ(Bits(TrainToEnd(*backend, 0)), wanted) << looks;
  }
}

// Longer than the rates that the device holds at a time, and resumed behind them.
TEST(CudaBackendTest, LongRunKeepsItsBitsWhereverItIsCut) {
  PointSpec point = SmallPoint();
  point.heads = 1, point.head_dim = 1, point.width = 2, point.seq_len = 2, point.vocab = 8, point.layers = 1;
  point.dataset_size = 4, point.batch_size = 4, point.epochs = 0, point.steps = 9000, point.eval_every = 5000;
  point.lr = 1e-5;
  const auto whole = Make({.looks_per_launch = 100000}), cut = Make({.looks_per_launch = 3000}), rest = Make();
  ASSERT_TRUE(whole->Load(0, point, nullptr).ok());
  ASSERT_TRUE(cut->Load(0, point, nullptr).ok());
  while (cut->Look(0).step < 8500) cut->Run(Duration::zero());
  const auto checkpoint = cut->Save(0);
  ASSERT_TRUE(checkpoint.ok());
  ASSERT_TRUE(rest->Load(0, point, &*checkpoint).ok());
  const std::string wanted = Bits(TrainToEnd(*whole, 0));
  EXPECT_EQ(Bits(TrainToEnd(*rest, 0)), wanted);
  EXPECT_EQ(Bits(TrainToEnd(*cut, 0)), wanted);
}

TEST(CudaBackendTest, SlotUnderWayCanBeTakenOut) {
  const auto backend = Make();
  ASSERT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());
  ASSERT_TRUE(backend->Load(1, SmallPoint(), nullptr).ok());
  backend->Run(Duration::zero());
  backend->Unload(0);
  EXPECT_EQ(Bits(TrainToEnd(*backend, 1)), Bits(TrainPoint(SmallPoint(), "cuda")));
}

TEST(CudaBackendTest, MemoryThatRunsOutIsSaidAndTheOthersGoOn) {
  const auto backend = Make({.memory_bytes = 7 << 20});  // the arrays of tasks and states take most of it
  int loaded = 0;
  absl::Status status;
  while (loaded < 4096 && (status = backend->Load(loaded, SmallPoint(), nullptr)).ok()) ++loaded;
  ASSERT_GT(loaded, 0);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_TRUE(backend->Health().ok());
  EXPECT_EQ(Bits(TrainToEnd(*backend, 0)), Bits(TrainPoint(SmallPoint(), "cuda")));
  backend->Unload(0);
  EXPECT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());  // what a slot had is free again
}

TEST(CudaBackendTest, SickDeviceIsReported) {
  const auto backend = Make({.sick_after_launches = 3});
  ASSERT_TRUE(backend->Load(0, SmallPoint(), nullptr).ok());
  for (int i = 0; i < 10; ++i) backend->Run(Duration::zero());
  EXPECT_TRUE(absl::IsInternal(backend->Health())) << backend->Health();
  EXPECT_FALSE(backend->Look(0).finished);
  EXPECT_FALSE(backend->Save(0).ok());
}

TEST(CudaBackendTest, LargeModelsAreLeftToTorch) {
  PointSpec large = SmallPoint();
  large.width = 4096, large.heads = 32, large.head_dim = 128, large.layers = 8;
  EXPECT_TRUE(absl::IsUnimplemented(Make()->CanTrain(large)));
}

TEST(CudaBackendTest, OtherDevicesAreLeftToOtherBackends) {
  EXPECT_TRUE(absl::IsUnimplemented(MakeCudaBackend("cpu").status()));
}

// No host has that many GPUs. What is missing depends on the host and the build, and must be named: an nvcc for the
// kernels, a driver, a GPU, or a GPU of that number.
TEST(CudaBackendTest, WhatAGpuLacksIsNamed) {
  const absl::Status status = MakeCudaBackend("cuda:4711").status();
  ASSERT_FALSE(status.ok());
  const std::string message(status.message().data(), status.message().size());
  const bool named = message.find("nvcc") != std::string::npos || message.find("driver") != std::string::npos ||
                     message.find("GPU") != std::string::npos;
  EXPECT_TRUE(named) << message;
}

}  // namespace
}  // namespace capsweep::trainer
