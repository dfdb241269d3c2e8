// A checkpoint. An even first byte: the bytes as they are; odd: with magic and checksum around them. What decodes is
// offered to the point that it claims to be of.
#include "common/hash.h"
#include "common/text.h"
#include "tests/fuzz/target.h"
#include "worker/trainer/checkpoint.h"

using namespace capsweep;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  std::string bytes(fuzz::Text(data + 1, size - 1));
  if ((data[0] & 1) != 0) {
    bytes = StrCat("capsweep-checkpoint\n", bytes);
    bytes += Sha256Hex(bytes);
  }
  absl::StatusOr<trainer::CheckpointContent> content = trainer::DecodeCheckpoint(bytes);
  if (!content.ok()) {
    return 0;
  }
  fuzz::Require(trainer::EncodeCheckpoint(*content) == bytes, "a checkpoint has one form");
  PointSpec point;
  content->point_key = PointKey(point);
  (void)trainer::CheckResumable(*content, point, content->backend, content->build);
  return 0;
}
