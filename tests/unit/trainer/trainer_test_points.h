// Points and helpers shared by the trainer's tests.
#pragma once

#include <memory>
#include <string>

#include "common/point.h"
#include "gtest/gtest.h"
#include "worker/trainer/torch/torch_backend.h"

namespace capsweep::trainer {

// A point that trains in well under a second.
inline PointSpec SmallPoint() {
  PointSpec point;
  point.heads = 2;
  point.width = 8;
  point.dataset_size = 50;
  point.batch_size = 16;
  point.epochs = 12;
  point.eval_every = 4;
  point.patience = 0;
  return point;
}

inline std::unique_ptr<Backend> TorchOnCpu(int slots = 1) {
  auto backend = MakeTorchBackend("cpu", slots);
  EXPECT_TRUE(backend.ok()) << backend.status();
  return *std::move(backend);
}

// Trains what is loaded in `slot` to its end, in slices of the given length.
inline PointResult TrainToEnd(Backend& backend, int slot, Duration slice = std::chrono::milliseconds(50)) {
  while (!backend.Look(slot).finished && backend.Look(slot).failure.ok()) {
    backend.Run(slice);
  }
  EXPECT_TRUE(backend.Look(slot).failure.ok()) << backend.Look(slot).failure;
  auto result = backend.Result(slot);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

inline PointResult TrainPoint(const PointSpec& point) {
  auto backend = TorchOnCpu();
  const absl::Status loaded = backend->Load(0, point, nullptr);
  EXPECT_TRUE(loaded.ok()) << loaded;
  return TrainToEnd(*backend, 0);
}

// The result as text without times and without what is said about the host and the way: equal texts are equal bits.
inline std::string Bits(PointResult result) {
  result.seconds = result.seconds_train = result.seconds_eval = 0;
  result.resumed_from_step = 0;
  result.device_kind = result.device_name = result.version = result.torch_version = result.blas = "";
  return ResultToJson(result);
}

}  // namespace capsweep::trainer
