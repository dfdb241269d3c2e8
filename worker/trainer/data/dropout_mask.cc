#include "worker/trainer/data/dropout_mask.h"

#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {

void FillDropoutMask(const DropoutKey& key, double rate, int64_t first_row, int64_t row_stride, int64_t width,
                     std::span<float> out) {
  const auto threshold = static_cast<uint64_t>(rate * 4294967296.0);  // of 2^32 words
  const auto kept = static_cast<float>(1.0 / (1.0 - rate));
  // The generator's counter holds 64 bits of element, 32 of step, and in 24 the place in the model and the step's rest.
  const auto step = static_cast<uint64_t>(key.step);
  const auto rest = static_cast<uint32_t>((step >> 32) << 9 | static_cast<uint64_t>(2 * key.layer + key.place));
  const int64_t blocks = (width + 3) / 4;
  const int64_t rows = static_cast<int64_t>(out.size()) / width;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t first_block = (first_row + row * row_stride) * blocks;
    for (int64_t c = 0; c < width; c += 4) {
      const PhiloxWords words = Draw(key.init_seed, Purpose::kDropout, static_cast<uint64_t>(first_block + c / 4),
                                     static_cast<uint32_t>(step), rest);
      for (int64_t k = 0; k < 4 && c + k < width; ++k) {
        out[static_cast<size_t>(row * width + c + k)] = words[static_cast<size_t>(k)] < threshold ? 0.0f : kept;
      }
    }
  }
}

}  // namespace capsweep::trainer
