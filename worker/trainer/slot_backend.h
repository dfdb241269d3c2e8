// A back end whose slots hold one model each and take turns on one thread. What all such back ends share is here: the
// course of a run, evaluation, checkpoints, times and failures; a back end brings the arithmetic as a SlotModel.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/backend.h"
#include "worker/trainer/data/library.h"
#include "worker/trainer/evaluation.h"

namespace capsweep::trainer {

// Trained state in the layout of MakeLayout.
struct Parameters {
  std::vector<float> weights;        // [layout.total]
  std::vector<float> first_moment;   // [layout.train]
  std::vector<float> second_moment;  // [layout.train]
};

// One model in training, as arithmetic. A pure function of the point and the calls: no clock, no thread, no neighbour.
class SlotModel {
 public:
  virtual ~SlotModel() = default;

  // Optimizer step number t, from 1, on the library's items `chosen`. The mean loss in nats per target, before the
  // update. ResourceExhausted if memory ran out.
  virtual absl::StatusOr<double> Step(std::span<const int64_t> chosen, int64_t t, double lr) = 0;
  // Adds at least one and no more than a few milliseconds' worth of the library's items to `tally`, from item
  // tally.items on.
  virtual absl::Status Evaluate(Tally& tally) = 0;

  virtual absl::StatusOr<Parameters> Save() = 0;
  virtual absl::Status Restore(const Parameters& parameters) = 0;
};

struct SlotBackendTraits {
  std::string name;
  std::string build;  // of trainer and libraries: a checkpoint of another build is refused
  int64_t memory_bytes = 0;
  // A fresh model with the point's initial weights. `library` outlives it.
  std::function<absl::StatusOr<std::unique_ptr<SlotModel>>(const PointSpec& point, const Library& library)> make;
};

std::unique_ptr<Backend> MakeSlotBackend(SlotBackendTraits traits, int slots);

}  // namespace capsweep::trainer
