// Exact parameter counts (docs/science.md, section "Models").
#pragma once

#include <cstdint>

#include "common/point.h"

namespace capsweep {

struct ParamCount {
  int64_t total = 0;
  int64_t train = 0;  // without frozen tensors
};

// With m = MlpWidth (4B unless it is given) and positions: absolute (else without N·B):
//   xt    V·B + N·B + L·(4·B·H·d + 2·B·m + m + B + 2B) + B + B·V; a frozen MLP leaves out L·(2·B·m + m + B).
//   gpt2  V·B + N·B + L·(4·B² + 4B + 2·B·m + m + B + 4B) + 2B, head tied to the embedding, biases everywhere.
//   mlp   V·B + N·B·m + m + T·V·m: embedded tokens concatenated, one hidden layer, head without bias.
//   ks    V·B (+ N·B) + 2·L·(2·B·m + m + B) + 2B² + B·V + V (Kajitsuka and Sato, ICLR 2025, equation 165).
// With tokens: vectors, d = vector_dim: mlp has N·d·m for V·B + N·B·m, ks has d·B + B for V·B.
// With loss: mse the head of mlp and ks has one output in place of V.
ParamCount CountParams(const PointSpec& point);

// GPT-2 with tied embedding and biases: V·d + S·d + L·(12d² + 13d) + 2d (Morris et al. 2025, table 1).
int64_t CountGpt2Params(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width);

// PyTorch TransformerDecoderLayer called as (x, x) (Capacity Matters, 2506.14704), feed-forward size ff.
int64_t CountTorchDecoderParams(int64_t vocab, int64_t seq_len, int64_t layers, int64_t width, int64_t ff);

}  // namespace capsweep
