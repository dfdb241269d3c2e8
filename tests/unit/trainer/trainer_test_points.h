// Points and helpers shared by the trainer's tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/point.h"
#include "gtest/gtest.h"
#include "tests/support/host_gpu.h"
#include "worker/trainer/cpu/cpu_backend.h"
#include "worker/trainer/cuda/cuda_backend.h"
#ifdef CAPSWEEP_HAS_TORCH
#include "worker/trainer/torch/torch_backend.h"
#endif

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

inline std::vector<PointSpec> OnePointPerMode() {
  PointSpec label = SmallPoint();
  PointSpec seq = SmallPoint();
  seq.mode = Mode::kSeq, seq.seq_len = 4, seq.layers = 2;
  PointSpec lm = SmallPoint();
  lm.mode = Mode::kLm, lm.freeze_mlp = true;
  PointSpec wide = SmallPoint();  // the cpu back end trains it alone, the others in a pack
  wide.width = 20, wide.tokens = Tokens::kZipf, wide.zipf_s = 0.7, wide.warmup = 0.3;
  return {label, seq, lm, wide};
}

// The back ends of this build: the sanitizers see all but LibTorch. cuda trains on the host here.
inline std::vector<std::string> BackendsHere() {
#ifdef CAPSWEEP_HAS_TORCH
  return {"cpu", "cuda", "torch"};
#else
  return {"cpu", "cuda"};
#endif
}

// A back end on the CPU by its name.
inline std::unique_ptr<Backend> BackendNamed(const std::string& name, int slots = 1) {
  if (name == "cuda") {
    return MakeGpuBackend(cuda::MakeHostGpu());
  }
#ifdef CAPSWEEP_HAS_TORCH
  auto backend = name == "cpu" ? MakeCpuBackend("cpu", slots) : MakeTorchBackend("cpu", slots);
#else
  auto backend = MakeCpuBackend("cpu", slots);
#endif
  EXPECT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->name(), name);
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

inline PointResult TrainPoint(const PointSpec& point, const std::string& name) {
  auto backend = BackendNamed(name);
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
