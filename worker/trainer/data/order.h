// The order in which an epoch shows the library.
#pragma once

#include <array>
#include <cstdint>

namespace capsweep::trainer {

// A pseudo-random permutation of {0..items-1} keyed by (init_seed, epoch). Any place is found in O(1) without a table,
// so that a GPU block can look up its own batch: a balanced Feistel network on the next even power of two, walked until
// the value falls into range (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
class EpochOrder {
 public:
  EpochOrder(uint64_t init_seed, int64_t epoch, int64_t items);

  // The item shown at `place`, 0 <= place < items.
  int64_t At(int64_t place) const;

 private:
  static constexpr int kRounds = 6;
  uint64_t Permute(uint64_t value) const;

  uint64_t items_;
  int half_bits_ = 1;
  std::array<uint32_t, kRounds> round_keys_{};
};

}  // namespace capsweep::trainer
