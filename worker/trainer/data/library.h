// The library of a point: the items a model has to memorize (docs/science.md, section "Task").
#pragma once

#include <cstdint>
#include <memory>
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
  std::vector<int32_t> tokens;         // [D, N]; empty with tokens: vectors
  std::vector<float> vectors;          // [D, N, vector_dim], on [0, 1); only with tokens: vectors
  std::vector<int32_t> target_tokens;  // [D, T]
  // The items after the library, which are evaluated and never trained; null without any.
  std::shared_ptr<const Library> heldout;
};

// A pure function of the fields of mode and data, and of the file where the point names one. Nested: the items of a
// smaller library are the first items of a larger one of the same seed, and held-out items are those that follow.
//   label: one label per item, uniform on the vocabulary.    seq: seq_len independent uniform tokens per item.
//   lm: the item itself; position t predicts token t from BOS and tokens 0..t-1. With `determined`, targets start at
//   the smallest t at which all prefixes of the library of length t differ.
// InvalidArgument, naming field and fix: no position is left in lm; the distribution does not give so many different
// items within 100 redraws per item; the file cannot be read, has another hash or does not fit the point.
absl::StatusOr<Library> MakeLibrary(const PointSpec& point);

}  // namespace capsweep::trainer
