// The reference back end: LibTorch modules and autograd, one model at a time, every family and option. This header is
// free of LibTorch.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"

namespace capsweep::trainer {

// `device`: "cpu" or "cuda:N". Unimplemented if LibTorch has no CUDA, NotFound if there is no such GPU. `slots`: how
// many models take turns on the device; more than one gains no speed and is there for tests of the interface. Makes
// LibTorch use one thread in the whole process. The back end belongs to the thread that calls it.
absl::StatusOr<std::unique_ptr<Backend>> MakeTorchBackend(const std::string& device, int slots = 1);

// Whether steps of whole batches are made fit for a CUDA graph. kAlways lets a CPU show that they stay the same steps.
enum class StepGraphs { kWherePossible, kAlways };
absl::StatusOr<std::unique_ptr<Backend>> MakeTorchBackend(const std::string& device, int slots, StepGraphs graphs);

// What LibTorch computes with on this device.
absl::StatusOr<DeviceFacts> TorchDeviceFacts(const std::string& device);

}  // namespace capsweep::trainer
