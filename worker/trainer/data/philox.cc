#include "worker/trainer/data/philox.h"

#include <cmath>

namespace capsweep::trainer {
namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;

// 53 random bits as a double in (0, 1]: never 0, so that the logarithm is finite.
double UnitInterval(uint32_t high, uint32_t low) {
  const uint64_t bits = ((static_cast<uint64_t>(high) << 32) | low) >> 11;
  return static_cast<double>(bits + 1) * 0x1.0p-53;
}

}  // namespace

PhiloxWords Philox4x32(PhiloxWords counter, std::array<uint32_t, 2> key) {
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

PhiloxWords Draw(uint64_t seed, Purpose purpose, uint64_t index, uint32_t sub, uint32_t redraw) {
  return Philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), sub,
                     (static_cast<uint32_t>(purpose) << 24) | redraw},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

double Normal(uint64_t seed, Purpose purpose, uint64_t index, uint32_t sub) {
  const PhiloxWords words = Draw(seed, purpose, index / 2, sub);
  const double radius = std::sqrt(-2.0 * std::log(UnitInterval(words[0], words[1])));
  const double angle = kTwoPi * UnitInterval(words[2], words[3]);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace capsweep::trainer
