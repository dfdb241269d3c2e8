// What a back end is: a set of slots that load points, train them for a while, show where they are, and let go of them.
// Each lives in a folder, cpu/, cuda/ and torch/, and is one line in trainer_main.cc.
//
// Determinism: a point's result is a pure function of (point, device kind, back end and its build). It must not depend
// on the slot, its neighbours, how Run was sliced, refills, or a Save/Restore in between.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/point.h"
#include "common/result.h"

namespace capsweep::trainer {

// Where a slot stands. `result` is filled once `finished`.
struct SlotView {
  bool finished = false;
  absl::Status failure;  // not OK: the slot failed (NaN loss, out of memory, …); neighbours are untouched
  FailureCause cause = FailureCause::kInternal;
  int64_t step = 0;
  int64_t budget_steps = 0;
  int64_t epoch = 0;      // whole epochs done
  double train_loss = 0;  // nats per target, mean over the last epoch; 0 before the first one ended
  Evaluation last;        // latest evaluation; epoch 0 if none yet
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  // OK if this back end can train the point on its device; Unimplemented says why not.
  virtual absl::Status CanTrain(const PointSpec& point) const = 0;
  // How many points of this shape can train at once on the device (≥ 1).
  virtual int Slots(const PointSpec& shape) const = 0;

  // Whether the point, of this shape (its ShapeKey), may be loaded beside what is loaded now.
  virtual bool Takes(const PointSpec& point, std::string_view shape) const = 0;
  // True only if it takes no point whatever until one is unloaded: a queue need not be searched for one.
  virtual bool Full() const { return false; }

  // Puts a point into a free slot, from the start or from a checkpoint of the same point and back end.
  // ResourceExhausted if it does not fit into memory.
  virtual absl::Status Load(int slot, const PointSpec& point, const Checkpoint* checkpoint) = 0;
  // Advances every loaded, unfinished slot; returns after about `budget` or when a slot finished or failed.
  virtual void Run(Duration budget) = 0;
  virtual SlotView Look(int slot) const = 0;
  // The measurement of a finished slot (without the provenance the trainer adds: version, host facts).
  virtual absl::StatusOr<PointResult> Result(int slot) const = 0;
  // Saved state from which Load continues with the same bits as an uninterrupted run.
  virtual absl::StatusOr<Checkpoint> Save(int slot) = 0;
  virtual void Unload(int slot) = 0;

  // Not OK: the device is sick, nothing that is loaded can go on, and nothing else can begin in this process.
  virtual absl::Status Health() const { return absl::OkStatus(); }
};

// Of the back ends whose kernels know one family and recipe: OK, or Unimplemented names the field they do not serve.
absl::Status CheckKernelsServe(const PointSpec& point, std::string_view backend);

// What a device is, for hello and for provenance.
struct DeviceFacts {
  std::string kind;  // "cpu" or the GPU's model
  std::string name;  // CPU model or GPU name with its index
  int64_t memory_bytes = 0;
  std::string torch_version;
  std::string blas;
  int64_t threads = 1;
};

}  // namespace capsweep::trainer
