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

std::array<double, 2> NormalPair(uint64_t seed, Purpose purpose, uint64_t block, uint32_t sub) {
  const PhiloxWords words = Draw(seed, purpose, block, sub);
  const double radius = std::sqrt(-2.0 * std::log(UnitInterval(words[0], words[1])));
  const double angle = kTwoPi * UnitInterval(words[2], words[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

double Normal(uint64_t seed, Purpose purpose, uint64_t index, uint32_t sub) {
  return NormalPair(seed, purpose, index / 2, sub)[index % 2];
}

}  // namespace capsweep::trainer
