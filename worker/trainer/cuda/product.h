// Matrix products of a thread block in register tiles. Every element of a product is one sum in the order of the depth,
// one fused multiply-add a term: its bits depend neither on the tile nor on the number of threads.
#pragma once

#include <cstdint>

#include "worker/trainer/cuda/numeric.h"
#include "worker/trainer/host_device.h"

namespace capsweep::trainer::cuda {

// A thread's place in its block.
struct Place {
  int32_t thread, threads;

  // The place for work that begins after `jobs` pieces have been dealt out: the idle threads come first.
  CAPSWEEP_HD Place After(int32_t jobs) const {
    const int32_t moved = thread - jobs % threads;
    return {moved < 0 ? moved + threads : moved, threads};
  }
};

struct alignas(16) Float4 {
  float x, y, z, w;
};
CAPSWEEP_HD Float4 Load4(const float* p) {
  return *reinterpret_cast<const Float4*>(p);
}
CAPSWEEP_HD void Store4(float* p, const Float4& v) {
  *reinterpret_cast<Float4*>(p) = v;
}
// a * b + c in every part.
CAPSWEEP_HD Float4 Fma4(float a, const Float4& b, const Float4& c) {
  return {Fma(a, b.x, c.x), Fma(a, b.y, c.y), Fma(a, b.z, c.z), Fma(a, b.w, c.w)};
}
CAPSWEEP_HD Float4 Add4(const Float4& a, const Float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// One of `samples * heads` matrices: where it begins and how far its rows are apart.
struct Matrices {
  float* data;
  int32_t row;         // floats from row to row
  int32_t sample = 0;  // floats from sample to sample
  int32_t head = 0;    // floats from head to head

  CAPSWEEP_HD float* At(int32_t s, int32_t h) const { return data + s * sample + h * head; }
};

struct Extent {
  int32_t samples, heads;  // a product for each
  int32_t rows, cols, depth;
  int32_t full_rows;  // samples * rows of a full chunk: how many the threads are to share decides the tiles
};

// How the tiles of a product are dealt out: kRows rows times 4 columns. Rows of a tile lie `row_tiles` apart, so that
// threads side by side read rows side by side. Eight column tiles wide, so that the threads of a warp share operands.
template <int kRows>
struct Tiles {
  int32_t row_tiles, col_tiles, across, count;

  CAPSWEEP_HD explicit Tiles(const Extent& e)
      : row_tiles((e.rows + kRows - 1) / kRows),
        col_tiles((e.cols + 3) / 4),
        across(col_tiles % 8 == 0 ? 8 : col_tiles),
        count(e.samples * e.heads * row_tiles * col_tiles) {}

  struct Tile {
    int32_t sample, head, row, col;  // row and column in tiles
  };
  CAPSWEEP_HD Tile At(int32_t index, int32_t heads) const {
    const int32_t within = index % (row_tiles * col_tiles), matrix = index / (row_tiles * col_tiles);
    const int32_t band = within / (row_tiles * across), in_band = within % (row_tiles * across);
    return {matrix / heads, matrix % heads, in_band / across, band * across + in_band % across};
  }
};

CAPSWEEP_HD int32_t Smaller(int32_t a, int32_t b) {
  return a < b ? a : b;
}

// Tall tiles, which load less per multiplication, unless many threads would then have none.
CAPSWEEP_HD bool TallTiles(const Extent& e, int32_t threads) {
  return e.heads * e.full_rows * ((e.cols + 3) / 4) > threads;
}

// ---- a[row][k] * b[col][k]; depth a multiple of 4. store(sample, head, row, col, value) ----
template <int kRows, class Store>
CAPSWEEP_HD int32_t RowsByRowsTiles(Place at, const Extent& e, const Matrices& a, const Matrices& b,
                                    const Store& store) {
  const Tiles<kRows> tiles(e);
  for (int32_t t = at.thread; t < tiles.count; t += at.threads) {
    const auto tile = tiles.At(t, e.heads);
    const float* pa = a.At(tile.sample, tile.head);
    const float* pb = b.At(tile.sample, tile.head);
    int32_t ra[kRows], cb[4];
    CAPSWEEP_UNROLL
    for (int i = 0; i < kRows; ++i) ra[i] = Smaller(tile.row + i * tiles.row_tiles, e.rows - 1) * a.row;
    CAPSWEEP_UNROLL
    for (int j = 0; j < 4; ++j) cb[j] = Smaller(tile.col + j * tiles.col_tiles, e.cols - 1) * b.row;
    float sum[kRows][4] = {};
    CAPSWEEP_UNROLL_2
    for (int32_t k = 0; k < e.depth; k += 4) {
      Float4 va[kRows], vb[4];
      CAPSWEEP_UNROLL
      for (int i = 0; i < kRows; ++i) va[i] = Load4(pa + ra[i] + k);
      CAPSWEEP_UNROLL
      for (int j = 0; j < 4; ++j) vb[j] = Load4(pb + cb[j] + k);
      CAPSWEEP_UNROLL
      for (int i = 0; i < kRows; ++i) {
        CAPSWEEP_UNROLL
        for (int j = 0; j < 4; ++j) {
          sum[i][j] = Fma(va[i].x, vb[j].x, sum[i][j]);
          sum[i][j] = Fma(va[i].y, vb[j].y, sum[i][j]);
          sum[i][j] = Fma(va[i].z, vb[j].z, sum[i][j]);
          sum[i][j] = Fma(va[i].w, vb[j].w, sum[i][j]);
        }
      }
    }
    CAPSWEEP_UNROLL
    for (int i = 0; i < kRows; ++i) {
      CAPSWEEP_UNROLL
      for (int j = 0; j < 4; ++j) {
        const int32_t row = tile.row + i * tiles.row_tiles, col = tile.col + j * tiles.col_tiles;
        if (row < e.rows && col < e.cols) store(tile.sample, tile.head, row, col, sum[i][j]);
      }
    }
  }
  return tiles.count;
}
template <class Store>
CAPSWEEP_HD int32_t RowsByRows(Place at, const Extent& e, const Matrices& a, const Matrices& b, const Store& store) {
  return TallTiles(e, at.threads) ? RowsByRowsTiles<4>(at, e, a, b, store) : RowsByRowsTiles<1>(at, e, a, b, store);
}

// ---- a[row][k] * b[k][col]; cols a multiple of 4. store4(sample, head, row, col, four values) ----
template <int kRows, class Store4>
CAPSWEEP_HD int32_t RowsByColumnsTiles(Place at, const Extent& e, const Matrices& a, const Matrices& b,
                                       const Store4& store4) {
  const Tiles<kRows> tiles(e);
  for (int32_t t = at.thread; t < tiles.count; t += at.threads) {
    const auto tile = tiles.At(t, e.heads);
    const float* pa = a.At(tile.sample, tile.head);
    const float* pb = b.At(tile.sample, tile.head) + 4 * tile.col;
    int32_t ra[kRows];
    CAPSWEEP_UNROLL
    for (int i = 0; i < kRows; ++i) ra[i] = Smaller(tile.row + i * tiles.row_tiles, e.rows - 1) * a.row;
    Float4 sum[kRows] = {};
    const int32_t whole = e.depth / 4 * 4;
    CAPSWEEP_UNROLL_2
    for (int32_t k = 0; k < whole; k += 4) {
      Float4 va[kRows];
      CAPSWEEP_UNROLL
      for (int i = 0; i < kRows; ++i) va[i] = Load4(pa + ra[i] + k);
      const Float4 b0 = Load4(pb + k * b.row), b1 = Load4(pb + (k + 1) * b.row);
      const Float4 b2 = Load4(pb + (k + 2) * b.row), b3 = Load4(pb + (k + 3) * b.row);
      CAPSWEEP_UNROLL
      for (int i = 0; i < kRows; ++i) {
        sum[i] = Fma4(va[i].x, b0, sum[i]);
        sum[i] = Fma4(va[i].y, b1, sum[i]);
        sum[i] = Fma4(va[i].z, b2, sum[i]);
        sum[i] = Fma4(va[i].w, b3, sum[i]);
      }
    }
    for (int32_t k = whole; k < e.depth; ++k) {
      const Float4 vb = Load4(pb + k * b.row);
      CAPSWEEP_UNROLL
      for (int i = 0; i < kRows; ++i) sum[i] = Fma4(pa[ra[i] + k], vb, sum[i]);
    }
    CAPSWEEP_UNROLL
    for (int i = 0; i < kRows; ++i) {
      const int32_t row = tile.row + i * tiles.row_tiles;
      if (row < e.rows) store4(tile.sample, tile.head, row, 4 * tile.col, sum[i]);
    }
  }
  return tiles.count;
}
template <class Store4>
CAPSWEEP_HD int32_t RowsByColumns(Place at, const Extent& e, const Matrices& a, const Matrices& b,
                                  const Store4& store4) {
  return TallTiles(e, at.threads) ? RowsByColumnsTiles<4>(at, e, a, b, store4)
                                  : RowsByColumnsTiles<1>(at, e, a, b, store4);
}

// ---- c[row][col] (+)= a[k][row] * b[k][col]; cols a multiple of 4, a's rows readable up to the next multiple ----
template <bool kAdd>
CAPSWEEP_HD int32_t ColumnsByColumns(Place at, const Extent& e, const Matrices& a, const Matrices& b,
                                     const Matrices& c) {
  const int32_t row_tiles = (e.rows + 3) / 4, col_tiles = e.cols / 4,
                count = e.samples * e.heads * row_tiles * col_tiles;
  const int32_t across = col_tiles % 8 == 0 ? 8 : col_tiles;
  for (int32_t t = at.thread; t < count; t += at.threads) {
    const int32_t within = t % (row_tiles * col_tiles), matrix = t / (row_tiles * col_tiles);
    const int32_t s = matrix / e.heads, h = matrix % e.heads;
    const int32_t band = within / (row_tiles * across), in_band = within % (row_tiles * across);
    const int32_t row = 4 * (in_band / across), col = 4 * (band * across + in_band % across);
    const float* pa = a.At(s, h) + row;
    const float* pb = b.At(s, h) + col;
    float* pc = c.At(s, h) + row * c.row + col;
    Float4 sum[4] = {};
    if (kAdd) {
      CAPSWEEP_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (row + i < e.rows) sum[i] = Load4(pc + i * c.row);
      }
    }
    CAPSWEEP_UNROLL_2
    for (int32_t k = 0; k < e.depth; ++k) {
      const Float4 va = Load4(pa + k * a.row), vb = Load4(pb + k * b.row);
      sum[0] = Fma4(va.x, vb, sum[0]);
      sum[1] = Fma4(va.y, vb, sum[1]);
      sum[2] = Fma4(va.z, vb, sum[2]);
      sum[3] = Fma4(va.w, vb, sum[3]);
    }
    CAPSWEEP_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (row + i < e.rows) Store4(pc + i * c.row, sum[i]);
    }
  }
  return count;
}

// c[col] += sum of a[k][col] over k.
CAPSWEEP_HD int32_t AddColumnSums(Place at, int32_t cols, int32_t depth, const float* a, int32_t a_row, float* c) {
  for (int32_t t = at.thread; t < cols / 4; t += at.threads) {
    Float4 sum = Load4(c + 4 * t);
    CAPSWEEP_UNROLL_2
    for (int32_t k = 0; k < depth; ++k) sum = Add4(sum, Load4(a + k * a_row + 4 * t));
    Store4(c + 4 * t, sum);
  }
  return cols / 4;
}

}  // namespace capsweep::trainer::cuda
