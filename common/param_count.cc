#include "common/param_count.h"

namespace capsweep {

namespace {

int64_t CountMlpFamily(const PointSpec& p) {
  const int64_t m = MlpWidth(p), n = p.seq_len, outputs = p.loss == Loss::kMse ? 1 : p.vocab;
  const bool vectors = p.tokens == Tokens::kVectors;
  const int64_t input = vectors ? n * p.vector_dim * m : p.vocab * p.width + n * p.width * m;
  return input + m + MaxTargets(p) * outputs * m;
}

int64_t CountKsFamily(const PointSpec& p) {
  const int64_t b = p.width, m = MlpWidth(p), outputs = p.loss == Loss::kMse ? 1 : p.vocab;
  const int64_t input = p.tokens == Tokens::kVectors ? p.vector_dim * b + b : p.vocab * b;
  const int64_t positions = p.positions == Positions::kAbsolute ? p.seq_len * b : 0;
  return input + positions + 2 * p.layers * (2 * b * m + m + b) + 2 * b * b + b * outputs + outputs;
}

}  // namespace

ParamCount CountParams(const PointSpec& p) {
  const int64_t v = p.vocab, n = p.seq_len, b = p.width, inner = p.heads * p.head_dim, m = MlpWidth(p);
  const int64_t mlp = 2 * b * m + m + b;
  const int64_t positions = p.positions == Positions::kAbsolute ? n * b : 0;
  ParamCount count;
  switch (p.family) {
    case Family::kXt:
      count.total = v * b + positions + p.layers * (4 * b * inner + mlp + 2 * b) + b + b * v;
      break;
    case Family::kGpt2:
      count.total = v * b + positions + p.layers * (4 * b * b + 4 * b + mlp + 4 * b) + 2 * b;
      break;
    case Family::kMlp:
      count.total = CountMlpFamily(p);
      break;
    case Family::kKs:
      count.total = CountKsFamily(p);
      break;
  }
  count.train = p.freeze_mlp ? count.total - p.layers * mlp : count.total;
  return count;
}

int64_t CountGpt2Params(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width) {
  PointSpec p;
  p.family = Family::kGpt2;
  p.vocab = vocab;
  p.seq_len = seq_len;
  p.layers = layers;
  p.width = width;
  return CountParams(p).total;
}

int64_t CountTorchDecoderParams(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width, int64_t ff) {
  const int64_t layer = 8 * width * width + 8 * width + 2 * width * ff + ff + width + 6 * width;
  return vocab * width + seq_len * width + layers * layer + width * vocab + vocab;
}

}  // namespace capsweep
