// A logical vector of 16 floats on every instruction set: one AVX-512 register, two of AVX2, four of SSE. All
// arithmetic is element by element with explicit fused multiply-adds, so every set with fused multiply-add gives the
// same bits. Per-target include guard: this file is compiled once for each instruction set (Google Highway).
#if defined(CAPSWEEP_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAPSWEEP_CPU_LANES_INL_H_
#undef CAPSWEEP_CPU_LANES_INL_H_
#else
#define CAPSWEEP_CPU_LANES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace capsweep::trainer::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kLanes = 16;
using D = hn::CappedTag<float, kLanes>;
using V = hn::Vec<D>;
inline constexpr int kPart = static_cast<int>(HWY_LANES(float) < kLanes ? HWY_LANES(float) : kLanes);  // lanes a part
inline constexpr int kParts = kLanes / kPart;

struct F {
  V p[kParts];
};

#define CAPSWEEP_EACH_PART _Pragma("GCC unroll 4") for (int part = 0; part < kParts; ++part)

HWY_INLINE F Load(const float* HWY_RESTRICT from) {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::Load(D(), from + part * kPart);
  return r;
}
HWY_INLINE void Store(const F& v, float* HWY_RESTRICT to) {
  CAPSWEEP_EACH_PART hn::Store(v.p[part], D(), to + part * kPart);
}
HWY_INLINE F Set(float value) {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::Set(D(), value);
  return r;
}
HWY_INLINE F Zero() {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::Zero(D());
  return r;
}

#define CAPSWEEP_BINARY(Name)                                      \
  HWY_INLINE F Name(const F& a, const F& b) {                      \
    F r;                                                           \
    CAPSWEEP_EACH_PART r.p[part] = hn::Name(a.p[part], b.p[part]); \
    return r;                                                      \
  }
CAPSWEEP_BINARY(Add)
CAPSWEEP_BINARY(Sub)
CAPSWEEP_BINARY(Mul)
CAPSWEEP_BINARY(Div)
CAPSWEEP_BINARY(Max)
CAPSWEEP_BINARY(Min)
#undef CAPSWEEP_BINARY

#define CAPSWEEP_UNARY(Name)                            \
  HWY_INLINE F Name(const F& a) {                       \
    F r;                                                \
    CAPSWEEP_EACH_PART r.p[part] = hn::Name(a.p[part]); \
    return r;                                           \
  }
CAPSWEEP_UNARY(Sqrt)
CAPSWEEP_UNARY(Abs)
CAPSWEEP_UNARY(Round)
#undef CAPSWEEP_UNARY

// a * b + c, rounded once.
HWY_INLINE F MulAdd(const F& a, const F& b, const F& c) {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::MulAdd(a.p[part], b.p[part], c.p[part]);
  return r;
}
// c - a * b, rounded once.
HWY_INLINE F NegMulAdd(const F& a, const F& b, const F& c) {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::NegMulAdd(a.p[part], b.p[part], c.p[part]);
  return r;
}
// a >= b ? x : y
HWY_INLINE F IfGe(const F& a, const F& b, const F& x, const F& y) {
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::IfThenElse(hn::Ge(a.p[part], b.p[part]), x.p[part], y.p[part]);
  return r;
}

// Lane i from base[offset[i]], and back.
HWY_INLINE F Gather16(const float* HWY_RESTRICT base, const int32_t* HWY_RESTRICT offset) {
  const hn::RebindToSigned<D> di;
  F r;
  CAPSWEEP_EACH_PART r.p[part] = hn::GatherIndex(D(), base, hn::LoadU(di, offset + part * kPart));
  return r;
}
HWY_INLINE void Scatter16(const F& v, float* HWY_RESTRICT base, const int32_t* HWY_RESTRICT offset) {
  const hn::RebindToSigned<D> di;
  CAPSWEEP_EACH_PART hn::ScatterIndex(v.p[part], D(), base, hn::LoadU(di, offset + part * kPart));
}

// The sum of the 16 lanes, by halves: (0+8)+(4+12)… in the same tree everywhere.
HWY_INLINE float SumLanes(const F& v) {
  HWY_ALIGN float lane[kLanes];
  Store(v, lane);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) {
      lane[i] += lane[i + width];
    }
  }
  return lane[0];
}

// exp(x) for x in [-87, 88], saturating outside; relative error 1e-7. Reduction by n·ln 2 in two parts, then a minimax
// polynomial of degree 6 (Lawson's weighted least squares).
HWY_INLINE F Exp(const F& x0) {
  const F x = Min(Max(x0, Set(-87.0f)), Set(88.0f));
  const F n = Round(Mul(x, Set(1.44269504f)));
  F r = NegMulAdd(n, Set(0.693359375f), x);
  r = MulAdd(n, Set(2.12194440e-4f), r);
  F poly = Set(0.0013814610429f);
  poly = MulAdd(poly, r, Set(0.0083687109873f));
  poly = MulAdd(poly, r, Set(0.0416683889925f));
  poly = MulAdd(poly, r, Set(0.1666652113199f));
  poly = MulAdd(poly, r, Set(0.4999999403954f));
  poly = MulAdd(poly, Mul(r, r), Add(r, Set(1.0f)));
  F out;
  const hn::RebindToSigned<D> di;
  CAPSWEEP_EACH_PART {
    const auto exponent = hn::ShiftLeft<23>(hn::Add(hn::NearestInt(n.p[part]), hn::Set(di, 127)));
    out.p[part] = hn::Mul(poly.p[part], hn::BitCast(D(), exponent));
  }
  return out;
}

// Natural logarithm of a normal x > 0; absolute error 2e-7. x = 2^e·m with m in [√½, √2), then the series of the
// inverse hyperbolic tangent of (m - 1) / (m + 1).
HWY_INLINE F Log(const F& x) {
  const hn::RebindToSigned<D> di;
  F m, e;
  CAPSWEEP_EACH_PART {
    const auto bits = hn::BitCast(di, x.p[part]);
    const auto shifted = hn::Sub(bits, hn::Set(di, 0x3F3504F3));  // of √½
    const auto exponent = hn::ShiftRight<23>(shifted);
    e.p[part] = hn::ConvertTo(D(), exponent);
    m.p[part] = hn::BitCast(D(), hn::Sub(bits, hn::ShiftLeft<23>(exponent)));
  }
  const F s = Div(Sub(m, Set(1.0f)), Add(m, Set(1.0f)));
  const F s2 = Mul(s, s);
  F poly = Set(0.2222222222f);
  poly = MulAdd(poly, s2, Set(0.2857142857f));
  poly = MulAdd(poly, s2, Set(0.4f));
  poly = MulAdd(poly, s2, Set(0.6666666667f));
  poly = MulAdd(poly, s2, Set(2.0f));
  return MulAdd(e, Set(0.69314718056f), Mul(poly, s));
}

// x·Φ(x) and its derivative Φ(x) + x·φ(x), Φ being the normal distribution function: 1 - Φ(|x|) = exp(-x²/2)·t·P(t)
// with t = 1 / (1 + 0.28·|x|), the form of Abramowitz and Stegun 7.1.26 with a polynomial of our own; absolute error of
// Φ 2e-8 before rounding.
HWY_INLINE void Gelu(const F& x, F& value, F& slope) {
  const F magnitude = Abs(x);
  const F t = Div(Set(1.0f), MulAdd(magnitude, Set(0.28f), Set(1.0f)));
  const F density = Exp(Mul(Mul(x, x), Set(-0.5f)));
  F poly = Set(-0.1063278764486f);
  poly = MulAdd(poly, t, Set(0.3920643329620f));
  poly = MulAdd(poly, t, Set(-0.2406652420759f));
  poly = MulAdd(poly, t, Set(0.2719690501690f));
  poly = MulAdd(poly, t, Set(0.0662307813764f));
  poly = MulAdd(poly, t, Set(0.1167289316654f));
  const F tail = Mul(Mul(poly, t), density);
  const F phi = IfGe(x, Zero(), Sub(Set(1.0f), tail), tail);
  value = Mul(x, phi);
  slope = MulAdd(Mul(x, Set(0.3989422804f)), density, phi);
}

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
