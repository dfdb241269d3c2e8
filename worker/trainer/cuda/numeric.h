// Arithmetic of the cuda back end that gives the same bits on the host and on every GPU: explicit fused multiply-add,
// IEEE division and square root, and elementary functions of our own. Compile with contraction off (-ffp-contract=off,
// nvcc --fmad=false).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "worker/trainer/host_device.h"

namespace capsweep::trainer::cuda {

// a * b + c, rounded once.
CAPSWEEP_HD float Fma(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

CAPSWEEP_HD float Sqrt(float x) {
#ifdef __CUDA_ARCH__
  return __fsqrt_rn(x);
#else
  return std::sqrt(x);
#endif
}

CAPSWEEP_HD float Divide(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// The larger of two; NaN if one is.
CAPSWEEP_HD float Larger(float a, float b) {
  return a > b || a != a ? a : b;
}

CAPSWEEP_HD bool Finite(double x) {
  return x - x == 0;
}

// exp(x) for x in [-87, 88], saturating outside, NaN for NaN; relative error 1e-7. Reduction by n·ln 2 in two parts,
// then a minimax polynomial of degree 6, the one of the cpu back end.
CAPSWEEP_HD float Exp(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = ::rintf(x * 1.44269504f);
  float r = Fma(-n, 0.693359375f, x);
  r = Fma(n, 2.12194440e-4f, r);
  float poly = 0.0013814610429f;
  poly = Fma(poly, r, 0.0083687109873f);
  poly = Fma(poly, r, 0.0416683889925f);
  poly = Fma(poly, r, 0.1666652113199f);
  poly = Fma(poly, r, 0.4999999403954f);
  poly = Fma(poly, r * r, r + 1.0f);
  const int32_t exponent = x == x ? (static_cast<int32_t>(n) + 127) << 23 : 0x3F800000;
  return poly * std::bit_cast<float>(exponent);
}

// Natural logarithm of a normal x > 0, NaN for NaN; absolute error 2e-7. x = 2^e·m with m in [√½, √2), then the series
// of the inverse hyperbolic tangent of (m - 1) / (m + 1).
CAPSWEEP_HD float Log(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  const int32_t exponent = (bits - 0x3F3504F3) >> 23;  // of √½
  const float m = x == x ? std::bit_cast<float>(bits - exponent * (1 << 23)) : x;
  const float s = Divide(m - 1.0f, m + 1.0f);
  const float s2 = s * s;
  float poly = 0.2222222222f;
  poly = Fma(poly, s2, 0.2857142857f);
  poly = Fma(poly, s2, 0.4f);
  poly = Fma(poly, s2, 0.6666666667f);
  poly = Fma(poly, s2, 2.0f);
  return Fma(static_cast<float>(exponent), 0.69314718056f, poly * s);
}

struct GeluValue {
  float value;  // x·Φ(x), Φ being the normal distribution function
  float slope;  // Φ(x) + x·φ(x)
};

// 1 - Φ(|x|) = exp(-x²/2)·t·P(t) with t = 1 / (1 + 0.28·|x|), the form of Abramowitz and Stegun 7.1.26 with the
// polynomial of the cpu back end; absolute error of Φ 2e-8 before rounding.
CAPSWEEP_HD GeluValue Gelu(float x) {
  const float magnitude = x < 0 ? -x : x;
  const float t = Divide(1.0f, Fma(magnitude, 0.28f, 1.0f));
  const float density = Exp(x * x * -0.5f);
  float poly = -0.1063278764486f;
  poly = Fma(poly, t, 0.3920643329620f);
  poly = Fma(poly, t, -0.2406652420759f);
  poly = Fma(poly, t, 0.2719690501690f);
  poly = Fma(poly, t, 0.0662307813764f);
  poly = Fma(poly, t, 0.1167289316654f);
  const float tail = poly * t * density;
  const float phi = x >= 0 ? 1.0f - tail : tail;
  return {x * phi, Fma(x * 0.3989422804f, density, phi)};
}

}  // namespace capsweep::trainer::cuda
