// The fitter's own generator: the same numbers on every platform and standard library, so that a fit is a pure function
// of its input and FitSettings::seed.
#pragma once

#include <cstdint>

namespace capsweep::ecm {

// SplitMix64 (Steele, Lea, Flood 2014). Independent streams come from different (seed, stream) pairs.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : state_(Mix(seed) ^ Mix(stream + 0x632be59bd9b4e019ULL)) {}

  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15ULL); }
  // Uniform on [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  // Uniform on 0 … n − 1; n > 0.
  int Below(int n) { return static_cast<int>(Uniform() * n); }

 private:
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace capsweep::ecm
