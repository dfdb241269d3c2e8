// A back end on one thread whose slots are Slots. It keeps the rules that all such back ends share; an engine brings
// the arithmetic.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/slot.h"

namespace capsweep::trainer {

class SlotEngine {
 public:
  virtual ~SlotEngine() = default;

  virtual const std::string& name() const = 0;
  virtual const std::string& build() const = 0;  // of trainer and libraries: other builds' checkpoints are refused
  virtual int64_t memory_bytes() const = 0;
  virtual int Slots(const PointSpec& shape) const = 0;
  // OK, or Unimplemented names the field that keeps this engine from training the point.
  virtual absl::Status Serves(const PointSpec& point) const = 0;

  // A fresh model with the point's initial weights. `library` outlives it. All models alive have one shape.
  virtual absl::StatusOr<std::unique_ptr<SlotModel>> Make(int slot, const PointSpec& point, const Library& library) = 0;

  // Whether the models of this shape train in lockstep, by Step below, and not each by its own.
  virtual bool Lockstep(const PointSpec& /*shape*/) const { return false; }
  struct SlotStep {
    int slot;
    StepOrder order;
    double loss;  // out
  };
  virtual void Step(std::span<SlotStep> /*steps*/) {}
};

std::unique_ptr<Backend> MakeSlotBackend(std::unique_ptr<SlotEngine> engine);

}  // namespace capsweep::trainer
