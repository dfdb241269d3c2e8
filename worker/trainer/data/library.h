// The library of a point: the random items a model has to memorize (docs/science.md, section "Task").
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/point.h"

namespace capsweep::trainer {

// Immutable once made. Tokens are in 0..vocab-1.
struct Library {
  int64_t items = 0;                   // D
  int64_t seq_len = 0;                 // N
  int64_t targets = 0;                 // T, target tokens per item
  int64_t first_target = 0;            // input position of the first target; > 0 only in lm
  int64_t redraws = 0;                 // draws thrown away because the item existed already
  std::vector<int32_t> tokens;         // [D, N]
  std::vector<int32_t> target_tokens;  // [D, T]
};

// A pure function of (mode, vocab, seq_len, lm_targets, dataset_size, data_seed). Nested: the items of a smaller
// library are the first items of a larger one of the same seed.
//   label: one label per item, uniform on the vocabulary.    seq: seq_len independent uniform tokens per item.
//   lm: the item itself; position t predicts token t from BOS and tokens 0..t-1. With `determined`, targets start at
//   the
//       smallest t at which all prefixes of length t differ. InvalidArgument if no position is left.
absl::StatusOr<Library> MakeLibrary(const PointSpec& point);

}  // namespace capsweep::trainer
