// Useful floating point operations of one training step, by the algebra a contender uses.
#pragma once

#include <string>

#include "common/point.h"

namespace capsweep {

// Forward, gradient of the input and gradient of the weights of every matrix product, 2·M·N·K each; norms, softmax,
// GELU and Adam are not counted. `A` computes every position but the head in mode label; `torch` computes the last
// layer of mode label for the last position, with keys and values; `cpu` without forming them.
inline double StepFlops(const PointSpec& p, const std::string& contender) {
  const double n = static_cast<double>(p.seq_len), b = static_cast<double>(p.width), h = static_cast<double>(p.heads);
  const double inner = h * static_cast<double>(p.head_dim), vocab = static_cast<double>(p.vocab);
  const bool label = p.mode == Mode::kLabel;
  const double attended = p.mode == Mode::kLm ? (n + 1) / 2 : n;
  const double full = n * (8 * inner * b + 4 * attended * inner + 16 * b * b);
  double last = full;
  if (label && contender == "torch") {
    last = n * 4 * inner * b + 4 * inner * b + 4 * n * inner + 16 * b * b;
  } else if (label && contender == "cpu") {
    last = 8 * inner * b + 4 * h * n * b + 16 * b * b;
  }
  const double head = (label ? 1 : n) * 2 * b * vocab;
  return 3 * static_cast<double>(p.batch_size) * (static_cast<double>(p.layers - 1) * full + last + head);
}

}  // namespace capsweep
