// Exact parameter counts (docs/science.md, section "Models").
#pragma once

#include <cstdint>

#include "common/point.h"

namespace capsweep {

struct ParamCount {
  int64_t total = 0;
  int64_t train = 0;  // without frozen tensors
};

// xt: V·B + N·B + L·(4·B·H·d + 8B² + 5B + 2B) + B + B·V; a frozen MLP leaves out L·(8B² + 5B).
ParamCount CountParams(const PointSpec& point);

// GPT-2 with tied embedding and biases: V·d + S·d + L·(12d² + 13d) + 2d (Morris et al. 2025, table 1).
int64_t CountGpt2Params(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width);

// PyTorch TransformerDecoderLayer called as (x, x) (Capacity Matters, 2506.14704), feed-forward size ff.
int64_t CountTorchDecoderParams(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width, int64_t ff);

}  // namespace capsweep
