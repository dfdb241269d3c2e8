// Adam (Kingma and Ba, 2015) with its usual constants, and what of it depends on the step alone. Every back end does
// the arithmetic on its own weights.
#pragma once

#include <cmath>
#include <cstdint>

namespace capsweep::trainer {

inline constexpr double kBeta1 = 0.9;
inline constexpr double kBeta2 = 0.999;
inline constexpr double kEpsilon = 1e-8;

// With moments m and v: w -= rate * m / (sqrt(v) * correction2 + epsilon).
struct AdamFactors {
  double rate;         // lr / (1 - beta1^t)
  double correction2;  // 1 / sqrt(1 - beta2^t)
};

// Of update number t, from 1.
inline AdamFactors MakeAdamFactors(int64_t t, double lr) {
  const auto n = static_cast<double>(t);
  return {lr / (1.0 - std::pow(kBeta1, n)), 1.0 / std::sqrt(1.0 - std::pow(kBeta2, n))};
}

}  // namespace capsweep::trainer
