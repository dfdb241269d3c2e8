// The saved state of a half-trained slot as bytes. One format for all back ends:
//   "capsweep-checkpoint\n" | format version | back end | build | point key | run state | weights | moments | SHA-256
// Integers and floats are little-endian; the digest is the 64 hex digits of everything before it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/training_run.h"

namespace capsweep::trainer {

struct CheckpointContent {
  std::string backend;
  std::string build;  // version of trainer and libraries: other builds may round differently
  std::string point_key;
  RunState run;
  std::vector<float> weights;        // [layout.total]
  std::vector<float> first_moment;   // [layout.train]
  std::vector<float> second_moment;  // [layout.train]

  friend bool operator==(const CheckpointContent&, const CheckpointContent&) = default;
};

std::string EncodeCheckpoint(const CheckpointContent& content);

// DataLoss for anything that is not a whole, unchanged checkpoint of this format version.
absl::StatusOr<CheckpointContent> DecodeCheckpoint(std::string_view bytes);

// OK if `content` continues this point on this back end and build with vectors of the right sizes; else
// FailedPrecondition naming what differs.
absl::Status CheckResumable(const CheckpointContent& content, const PointSpec& point, std::string_view backend,
                            std::string_view build);

}  // namespace capsweep::trainer
