// The matrix products of training, all as one blocked kernel over logical vectors:
//   c[i][j] (+)= Σ_k a[i][k] · b[k][j]
// with b and c vectors and a either scalars (weights, or one lane of an activation) or vectors. Every output is one
// chain of fused multiply-adds in the order of k, whatever the block sizes: they differ between instruction sets, the
// bits do not.
#if defined(CAPSWEEP_CPU_MATRIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CAPSWEEP_CPU_MATRIX_INL_H_
#undef CAPSWEEP_CPU_MATRIX_INL_H_
#else
#define CAPSWEEP_CPU_MATRIX_INL_H_
#endif

#include "worker/trainer/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace capsweep::trainer::cpu {
namespace HWY_NAMESPACE {

// Where a matrix stands: element (i, k) at base[i * row + k * col]; strides in floats.
template <class T>
struct View {
  T* base;
  int64_t row;
  int64_t col;
};
using In = View<const float>;
using Out = View<float>;

// k runs over outer × inner; the second stride of each operand belongs to the inner loop and is View::col (of a) and
// View::row (of b).
struct Depth {
  int64_t inner;
  int64_t outer = 1;
  int64_t a_outer = 0;  // strides of the outer loop, in floats
  int64_t b_outer = 0;
};

enum class Start { kZero, kAdd };

// Accumulators that fit the registers: 32 of AVX-512 or 16 of the others, with room for operands.
inline constexpr int kBlock = kParts == 1 ? 16 : kParts == 2 ? 4 : 2;

template <int kRows, int kCols, bool kScalarA, Start kStart>
HWY_INLINE void Block(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_col, const float* HWY_RESTRICT b,
                      int64_t b_row, int64_t b_col, float* HWY_RESTRICT c, int64_t c_row, int64_t c_col,
                      const Depth& depth) {
  F acc[kRows][kCols];
  _Pragma("GCC unroll 16") for (int i = 0; i < kRows; ++i) {
    _Pragma("GCC unroll 16") for (int j = 0; j < kCols; ++j) {
      acc[i][j] = kStart == Start::kAdd ? Load(c + i * c_row + j * c_col) : Zero();
    }
  }
  for (int64_t outer = 0; outer < depth.outer; ++outer) {
    const float* HWY_RESTRICT ak = a + outer * depth.a_outer;
    const float* HWY_RESTRICT bk = b + outer * depth.b_outer;
    for (int64_t k = 0; k < depth.inner; ++k, ak += a_col, bk += b_row) {
      F right[kCols];
      _Pragma("GCC unroll 16") for (int j = 0; j < kCols; ++j) right[j] = Load(bk + j * b_col);
      _Pragma("GCC unroll 16") for (int i = 0; i < kRows; ++i) {
        const F left = kScalarA ? Set(ak[i * a_row]) : Load(ak + i * a_row);
        _Pragma("GCC unroll 16") for (int j = 0; j < kCols; ++j) acc[i][j] = MulAdd(left, right[j], acc[i][j]);
      }
    }
  }
  _Pragma("GCC unroll 16") for (int i = 0; i < kRows; ++i) {
    _Pragma("GCC unroll 16") for (int j = 0; j < kCols; ++j) Store(acc[i][j], c + i * c_row + j * c_col);
  }
}

// All rows of one group of columns: blocks of kRows, then halves of that for the rest.
template <int kRows, int kCols, bool kScalarA, Start kStart>
HWY_INLINE void Columns(In a, In b, Out c, int64_t rows, const Depth& depth) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    Block<kRows, kCols, kScalarA, kStart>(a.base + i * a.row, a.row, a.col, b.base, b.row, b.col, c.base + i * c.row,
                                          c.row, c.col, depth);
  }
  if constexpr (kRows > 1) {
    if (i < rows) {
      Columns<kRows / 2, kCols, kScalarA, kStart>({a.base + i * a.row, a.row, a.col}, b,
                                                  {c.base + i * c.row, c.row, c.col}, rows - i, depth);
    }
  }
}

// a: [rows, depth], b: [depth, cols] vectors, c: [rows, cols] vectors.
template <bool kScalarA, Start kStart>
HWY_NOINLINE void Product(In a, In b, Out c, int64_t rows, int64_t cols, Depth depth) {
  constexpr int kWide = kBlock >= 16 ? 4 : kBlock >= 4 ? 2 : 1;
  const auto right = [&](int64_t j) { return In{b.base + j * b.col, b.row, b.col}; };
  const auto out = [&](int64_t j) { return Out{c.base + j * c.col, c.row, c.col}; };
  int64_t j = 0;
  for (; j + kWide <= cols; j += kWide) {
    Columns<kBlock / kWide, kWide, kScalarA, kStart>(a, right(j), out(j), rows, depth);
  }
  if constexpr (kWide > 2) {
    for (; j + 2 <= cols; j += 2) {
      Columns<kBlock / 2, 2, kScalarA, kStart>(a, right(j), out(j), rows, depth);
    }
  }
  for (; j < cols; ++j) {
    Columns<kBlock, 1, kScalarA, kStart>(a, right(j), out(j), rows, depth);
  }
}

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void Transpose16(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  for (int r = 0; r < kLanes; ++r) {
    for (int c = 0; c < kLanes; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}
#else
// 4×4 blocks: the four rows of `v` become the four columns of every 128-bit block.
HWY_INLINE void TransposeBlocks(V& v0, V& v1, V& v2, V& v3) {
  const hn::RepartitionToWide<hn::RebindToUnsigned<D> > wide;
  const V a0 = hn::InterleaveLower(D(), v0, v1), a1 = hn::InterleaveUpper(D(), v0, v1);
  const V b0 = hn::InterleaveLower(D(), v2, v3), b1 = hn::InterleaveUpper(D(), v2, v3);
  const auto w = [&](V v) { return hn::BitCast(wide, v); };
  v0 = hn::BitCast(D(), hn::InterleaveLower(wide, w(a0), w(b0)));
  v1 = hn::BitCast(D(), hn::InterleaveUpper(wide, w(a0), w(b0)));
  v2 = hn::BitCast(D(), hn::InterleaveLower(wide, w(a1), w(b1)));
  v3 = hn::BitCast(D(), hn::InterleaveUpper(wide, w(a1), w(b1)));
}

// Block number b of `v` goes to to + b * stride.
template <class Tag>
HWY_INLINE void StoreBlocks(Tag tag, hn::Vec<Tag> v, float* HWY_RESTRICT to, int64_t stride) {
  if constexpr (hn::MaxLanes(Tag()) <= 4) {
    hn::Store(v, tag, to);
  } else {
    const hn::Half<Tag> half;
    StoreBlocks(half, hn::LowerHalf(half, v), to, stride);
    StoreBlocks(half, hn::UpperHalf(half, v), to + static_cast<int64_t>(hn::MaxLanes(Tag())) / 8 * stride, stride);
  }
}

// to[c * to_stride + r] = from[r * from_stride + c] for r, c in 0..15.
HWY_INLINE void Transpose16(const float* HWY_RESTRICT from, int64_t from_stride, float* HWY_RESTRICT to,
                            int64_t to_stride) {
  for (int r = 0; r < kLanes; r += 4) {
    for (int part = 0; part < kParts; ++part) {
      const float* at = from + r * from_stride + part * kPart;
      V v0 = hn::Load(D(), at), v1 = hn::Load(D(), at + from_stride);
      V v2 = hn::Load(D(), at + 2 * from_stride), v3 = hn::Load(D(), at + 3 * from_stride);
      TransposeBlocks(v0, v1, v2, v3);
      float* out = to + part * kPart * to_stride + r;
      StoreBlocks(D(), v0, out, 4 * to_stride);
      StoreBlocks(D(), v1, out + to_stride, 4 * to_stride);
      StoreBlocks(D(), v2, out + 2 * to_stride, 4 * to_stride);
      StoreBlocks(D(), v3, out + 3 * to_stride, 4 * to_stride);
    }
  }
}
#endif

// Lanes to rows: x [features][16] -> out [16][padded]; features beyond `features` up to the next multiple of 16 are
// read (as what stands in x) and must be overwritten or ignored by the caller unless x is padded.
HWY_INLINE void LanesToRows(const float* HWY_RESTRICT x, int64_t features, float* HWY_RESTRICT out, int64_t padded) {
  int64_t f = 0;
  for (; f + kLanes <= features; f += kLanes) {
    Transpose16(x + f * kLanes, kLanes, out + f, padded);
  }
  if (f < features) {
    HWY_ALIGN float tail[kLanes * kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      Store(f + i < features ? Load(x + (f + i) * kLanes) : Zero(), tail + i * kLanes);
    }
    Transpose16(tail, kLanes, out + f, padded);
  }
}

// Rows to lanes: in [16][padded] -> x [features][16].
HWY_INLINE void RowsToLanes(const float* HWY_RESTRICT in, int64_t padded, float* HWY_RESTRICT x, int64_t features) {
  int64_t f = 0;
  for (; f + kLanes <= features; f += kLanes) {
    Transpose16(in + f, padded, x + f * kLanes, kLanes);
  }
  if (f < features) {
    HWY_ALIGN float tail[kLanes * kLanes];
    Transpose16(in + f, padded, tail, kLanes);
    for (int64_t i = 0; f + i < features; ++i) {
      Store(Load(tail + i * kLanes), x + (f + i) * kLanes);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
