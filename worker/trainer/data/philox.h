// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011. A draw is a pure function of where it stands, so every back end, host or kernel, gets the same
// integers in any order and from any number of threads.
#pragma once

#include <array>
#include <cstdint>

#include "worker/trainer/host_device.h"

namespace capsweep::trainer {

using PhiloxWords = std::array<uint32_t, 4>;

// The bare block function: ten rounds over a 128-bit counter with a 64-bit key.
CAPSWEEP_HD PhiloxWords Philox4x32(PhiloxWords counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// What a draw is for. Part of the counter, so that streams of one seed never overlap. The numbers are part of a point's
// identity: never change or reuse one. Initial weights use kInit + the tensor's role.
enum class Purpose : uint32_t { kTokens = 1, kTargets = 2, kOrder = 3, kVectors = 4, kDropout = 5, kInit = 32 };

// The block at (seed, purpose, index, sub, redraw). `sub` counts blocks within an index (or layers); redraw < 2^24.
CAPSWEEP_HD PhiloxWords Draw(uint64_t seed, Purpose purpose, uint64_t index, uint32_t sub = 0, uint32_t redraw = 0) {
  return Philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), sub,
                     (static_cast<uint32_t>(purpose) << 24) | redraw},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

// Uniform on {0..range-1} from one word by multiply and shift; the bias is below range / 2^32.
inline uint32_t UniformBelow(uint32_t word, uint32_t range) {
  return static_cast<uint32_t>((static_cast<uint64_t>(word) * range) >> 32);
}

// Standard normal number `index` of a stream, by Box-Muller in double: even and odd indices are the cosine and the sine
// of one block.
double Normal(uint64_t seed, Purpose purpose, uint64_t index, uint32_t sub);
// Both numbers of block `index / 2`: {Normal(2 * block), Normal(2 * block + 1)} for the work of one.
std::array<double, 2> NormalPair(uint64_t seed, Purpose purpose, uint64_t block, uint32_t sub);

}  // namespace capsweep::trainer
