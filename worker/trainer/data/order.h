// The order in which an epoch shows the library.
#pragma once

#include <array>
#include <cstdint>

#include "worker/trainer/data/philox.h"

namespace capsweep::trainer {

// A pseudo-random permutation of {0..items-1} keyed by (init_seed, epoch). Any place is found in O(1) without a table,
// so that a GPU block can look up its own batch: a balanced Feistel network on the next even power of two, walked until
// the value falls into range (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
class EpochOrder {
 public:
  CAPSWEEP_HD EpochOrder(uint64_t init_seed, int64_t epoch, int64_t items) : items_(static_cast<uint64_t>(items)) {
    while (half_bits_ < 31 && (uint64_t{1} << (2 * half_bits_)) < items_) {
      ++half_bits_;
    }
    for (uint32_t block = 0; block * 4 < kRounds; ++block) {
      const PhiloxWords words = Draw(init_seed, Purpose::kOrder, static_cast<uint64_t>(epoch), block);
      for (uint32_t k = 0; k < 4 && block * 4 + k < kRounds; ++k) {
        round_keys_[block * 4 + k] = words[k];
      }
    }
  }

  // The item shown at `place`, 0 <= place < items.
  CAPSWEEP_HD int64_t At(int64_t place) const {
    uint64_t value = static_cast<uint64_t>(place);
    do {
      value = Permute(value);
    } while (value >= items_);
    return static_cast<int64_t>(value);
  }

 private:
  static constexpr int kRounds = 6;

  // A bijective 32-bit finalizer (the constants of MurmurHash3): every output bit depends on every input bit.
  CAPSWEEP_HD static uint32_t Mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x85EBCA6B;
    x ^= x >> 13;
    x *= 0xC2B2AE35;
    return x ^ (x >> 16);
  }

  CAPSWEEP_HD uint64_t Permute(uint64_t value) const {
    const uint32_t mask = static_cast<uint32_t>((uint64_t{1} << half_bits_) - 1);
    uint32_t left = static_cast<uint32_t>(value >> half_bits_) & mask;
    uint32_t right = static_cast<uint32_t>(value) & mask;
    for (const uint32_t key : round_keys_) {
      const uint32_t next = left ^ (Mix(right ^ key) & mask);
      left = right;
      right = next;
    }
    return (static_cast<uint64_t>(left) << half_bits_) | right;
  }

  uint64_t items_;
  int half_bits_ = 1;
  std::array<uint32_t, kRounds> round_keys_{};
};

}  // namespace capsweep::trainer
