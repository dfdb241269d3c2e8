#include "common/param_count.h"

namespace capsweep {

ParamCount CountParams(const PointSpec& p) {
  const int64_t v = p.vocab, n = p.seq_len, b = p.width, inner = p.heads * p.head_dim;
  const int64_t mlp = 8 * b * b + 5 * b;
  const int64_t layer = 4 * b * inner + mlp + 2 * b;
  ParamCount count;
  count.total = v * b + n * b + p.layers * layer + b + b * v;
  count.train = p.freeze_mlp ? count.total - p.layers * mlp : count.total;
  return count;
}

int64_t CountGpt2Params(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width) {
  return vocab * width + seq_len * width + layers * (12 * width * width + 13 * width) + 2 * width;
}

int64_t CountTorchDecoderParams(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width, int64_t ff) {
  const int64_t layer = 8 * width * width + 8 * width + 2 * width * ff + ff + width + 6 * width;
  return vocab * width + seq_len * width + layers * layer + width * vocab + vocab;
}

}  // namespace capsweep
