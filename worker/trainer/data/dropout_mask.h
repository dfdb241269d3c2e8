// Dropout masks as pure functions of where they stand, so that a resumed run drops what an uninterrupted one does.
#pragma once

#include <cstdint>
#include <span>

namespace capsweep::trainer {

struct DropoutKey {
  uint64_t init_seed = 0;
  int64_t step = 0;   // optimizer step, from 1; below 2^46
  int64_t layer = 0;  // below 256
  int place = 0;      // 0 or 1 within a layer
};

// Rows first_row, first_row + row_stride, ... of the mask of a [rows, width] activation, width elements each, into
// `out`: 0 with probability `rate`, else 1 / (1 - rate). A row's bits do not depend on which other rows are asked for.
void FillDropoutMask(const DropoutKey& key, double rate, int64_t first_row, int64_t row_stride, int64_t width,
                     std::span<float> out);

}  // namespace capsweep::trainer
