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

// All rows of one group of columns: blocks of kRows, then what is left: up to kExact rows in one block, more by halves.
template <int kRows, int kCols, bool kScalarA, Start kStart>
HWY_INLINE void Columns(In a, In b, Out c, int64_t rows, const Depth& depth) {
  constexpr int kExact = kCols > 2 ? kRows : 0;
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    Block<kRows, kCols, kScalarA, kStart>(a.base + i * a.row, a.row, a.col, b.base, b.row, b.col, c.base + i * c.row,
                                          c.row, c.col, depth);
  }
  if constexpr (kRows > 1) {
    constexpr int kNext = kRows <= kExact ? kRows - 1 : kRows / 2;
    if (i < rows) {
      Columns<kNext, kCols, kScalarA, kStart>({a.base + i * a.row, a.row, a.col}, b, {c.base + i * c.row, c.row, c.col},
                                              rows - i, depth);
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
  if constexpr (kWide > 2) {
    for (; (rows == 5 || rows == 6) && j + kWide <= cols; j += kWide) {  // heads, often: one block in all registers
      Columns<6, kWide, kScalarA, kStart>(a, right(j), out(j), rows, depth);
    }
  }
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

// TransposeRows: for c in 0..15, sink(c, r, v) is given a part of column c, the elements row(r)[c], row(r + 1)[c], …;
// row(r) is a pointer to sixteen floats, r in 0..15.
#if HWY_TARGET == HWY_SCALAR
template <class Row, class Sink>
HWY_INLINE void TransposeRows(const Row& row, const Sink& sink) {
  for (int r = 0; r < kLanes; ++r) {
    for (int c = 0; c < kLanes; ++c) sink(c, r, hn::Load(D(), row(r) + c));
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

// A vector whose 128-bit block number k holds row(first + 4k)[c .. c + 3]. Loading by blocks leaves half of the
// shuffles to the loads.
template <class Tag, class Row>
HWY_INLINE hn::Vec<Tag> LoadBlocks(Tag tag, const Row& row, int first, int c) {
  if constexpr (hn::MaxLanes(Tag()) <= 4) {
    return hn::Load(tag, row(first) + c);
  } else {
    const hn::Half<Tag> half;
    constexpr int kRows = static_cast<int>(hn::MaxLanes(Tag())) / 2;
    return hn::Combine(tag, LoadBlocks(half, row, first + kRows, c), LoadBlocks(half, row, first, c));
  }
}

template <class Row, class Sink>
HWY_INLINE void TransposeRows(const Row& row, const Sink& sink) {
  for (int part = 0; part < kParts; ++part) {
    const int r = part * kPart;
    for (int c = 0; c < kLanes; c += 4) {
      V v0 = LoadBlocks(D(), row, r, c), v1 = LoadBlocks(D(), row, r + 1, c);
      V v2 = LoadBlocks(D(), row, r + 2, c), v3 = LoadBlocks(D(), row, r + 3, c);
      TransposeBlocks(v0, v1, v2, v3);
      sink(c, r, v0);
      sink(c + 1, r, v1);
      sink(c + 2, r, v2);
      sink(c + 3, r, v3);
    }
  }
}
#endif

// Lanes to rows: of x [features][16], features f + r of lane c to sink(c, f + r, v); features are padded to a multiple
// of 16 with zeros.
template <class Sink>
HWY_INLINE void LanesToRows(const float* HWY_RESTRICT x, int64_t features, const Sink& sink) {
  HWY_ALIGN static constexpr float kZeros[kLanes] = {};
  for (int64_t f = 0; f < features; f += kLanes) {
    TransposeRows([=](int r) { return f + r < features ? x + (f + r) * kLanes : kZeros; },
                  [&](int c, int r, V v) { sink(c, f + r, v); });
  }
}
// To rows one after the other, [16][padded].
HWY_INLINE void LanesToRows(const float* HWY_RESTRICT x, int64_t features, float* HWY_RESTRICT out, int64_t padded) {
  LanesToRows(x, features, [=](int c, int64_t f, V v) { hn::Store(v, D(), out + c * padded + f); });
}

// Rows to lanes: row(r) [padded] for r in 0..15 -> x [features][16].
template <class Row>
HWY_INLINE void RowsToLanes(const Row& row, float* HWY_RESTRICT x, int64_t features) {
  for (int64_t f = 0; f < features; f += kLanes) {
    TransposeRows([&](int r) { return row(r) + f; },
                  [=](int c, int r, V v) {
                    if (f + c < features) hn::Store(v, D(), x + (f + c) * kLanes + r);
                  });
  }
}
// The same from rows one after the other.
HWY_INLINE void RowsToLanes(const float* HWY_RESTRICT in, int64_t padded, float* HWY_RESTRICT x, int64_t features) {
  RowsToLanes([=](int r) { return in + r * padded; }, x, features);
}

}  // namespace HWY_NAMESPACE
}  // namespace capsweep::trainer::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
