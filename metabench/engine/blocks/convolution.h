// Direct convolutions, 3x3 with padding 1 and stride 1 or 2, or 1x1: images (n, h, w, c) in memory, weights
// (3, 3, in, out) or (in, out).
//
// Output pixels are grouped by which taps fall inside the image (at most 9 groups), so that nothing is padded and no
// patches are copied; a tile of some pixels x some vectors of channels stays in registers while all taps are added.
#pragma once
#include "shapes.h"

// Coordinates of the output that meet the same taps: `taps` of them from `first` on, and where each begins to read.
struct Group {
  int taps, first;
  std::vector<int> at, from;
};

// Along one axis. `flipped`: for the gradient by the input, the taps in the order in which `flip` packs them.
static std::vector<Group> groups(int out, int in, const Shape& s, bool flipped) {
  std::vector<Group> found;
  const int stride = s.stride;
  for (int o = 0; o < out; o++) {
    int low, high, first;
    if (s.kernel == 1) {
      low = o, high = o + 1, first = 0;
    } else if (!flipped) {
      int begin = o * stride - 1;
      low = std::max(begin, 0), high = std::min(begin + 3, in), first = low - begin;
    } else if (stride == 1) {  // packed 2, 1, 0
      low = std::max(o - 1, 0), high = std::min(o + 2, in), first = low - (o - 1);
    } else if (o % 2 == 0) {  // packed 2, 0, 1: the middle tap alone
      low = o / 2, high = std::min(low + 1, in), first = 2;
    } else {
      low = (o - 1) / 2, high = std::min(low + 2, in), first = 0;
    }
    int taps = std::max(high - low, 0);
    auto same = [&](const Group& each) { return each.taps == taps && each.first == first; };
    auto place = std::find_if(found.begin(), found.end(), same);
    if (place == found.end()) place = found.insert(place, {taps, first, {}, {}});
    place->at.push_back(o), place->from.push_back(low);
  }
  return found;
}

// Some pixels, to each of which the same taps are added: rows of `depth` inputs from `in[pixel] + offset[tap]`,
// against weights (depth, stride of `columns`) from `weights[tap]`.
struct Taps {
  int count = 0;
  long depth = 0;
  long offset[6];
  const T* weights[6];
};

template <int ROWS, int VECTORS>
INLINE void tile(const T* const* in, const Taps& taps, long column, long columns, T* const* out) {
  Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sum[r][v] = Vector{};
  for (int t = 0; t < taps.count; t++) {
    const T* x[ROWS];
    const T* w = taps.weights[t] + column;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) x[r] = in[r] + taps.offset[t];
    for (long k = 0; k < taps.depth; k++, w += columns) {
      Vector weight[VECTORS];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) weight[v] = load(w + v * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        Vector value = Vector{} + x[r][k];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[r][v] += value * weight[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) store(out[r] + column + v * LANES, sum[r][v]);
}

// ROWS at a time, and then whatever is left by the tile that has so many.
#define IN_TILES(CALL)                                                                                            \
  constexpr int ROWS = tile_rows(VECTORS);                                                                        \
  long r = 0;                                                                                                     \
  for (; r + ROWS <= rows; r += ROWS) CALL(ROWS);                                                                 \
  switch (rows - r) {                                                                                             \
    case 1: CALL(1); break;                                                                                       \
    case 2: CALL(2); break;                                                                                       \
    case 3: CALL(3); break;                                                                                       \
    case 4: CALL(4); break;                                                                                       \
    case 5: CALL(5); break;                                                                                       \
    case 6: if constexpr (ROWS > 6) CALL(6); break;                                                               \
    case 7: if constexpr (ROWS > 6) CALL(7); break;                                                               \
  }

template <int VECTORS>
static void tiles(int rows, const T* const* in, const Taps& taps, long column, long columns, T* const* out) {
#define TILE(N) tile<N, VECTORS>(in + r, taps, column, columns, out + r)
  IN_TILES(TILE)
}

// All columns: the widest tiles first; a rest narrower than a vector one by one.
template <class Wide, class Single>
INLINE void across(long columns, Wide wide, Single single) {
  long column = 0;
  if constexpr (WIDEST == 4)
    for (; column + 4 * LANES <= columns; column += 4 * LANES) wide(column, std::integral_constant<int, 4>());
  for (; column + 2 * LANES <= columns; column += 2 * LANES) wide(column, std::integral_constant<int, 2>());
  for (; column + LANES <= columns; column += LANES) wide(column, std::integral_constant<int, 1>());
  for (; column < columns; column++) single(column);
}

// Calls `each(first input, first output)` for pairs of pixels of n images, one group of rows and columns.
template <class Each>
INLINE void pixel_pairs(int n, int ih, int iw, int ic, int h, int w, int c, const Group& rows, const Group& columns,
                        Each each) {
  for (int b = 0; b < n; b++)
    for (size_t i = 0; i < rows.at.size(); i++)
      for (size_t j = 0; j < columns.at.size(); j++)
        each((((long)b * ih + rows.from[i]) * iw + columns.from[j]) * ic,
             (((long)b * h + rows.at[i]) * w + columns.at[j]) * c);
}

// out (n, h, w, c) = the convolution of x with w, plus that of x2 with w2 where there are such. `flipped`: the
// gradient by the input instead; x is then the gradient by the output, w what `flip` made, and the shape is turned.
static void convolve(const Shape& s, const T* x, const T* w, const T* x2, const T* w2, T* out, bool flipped) {
  const int ih = flipped ? s.h : s.ih, iw = flipped ? s.w : s.iw, ic = flipped ? s.c : s.ic;
  const int h = flipped ? s.ih : s.h, wide = flipped ? s.iw : s.w, c = flipped ? s.ic : s.c;
  constexpr int BATCH = 96;
  const T* in[BATCH];
  T* to[BATCH];
  auto across_rows = groups(h, ih, s, flipped), across_columns = groups(wide, iw, s, flipped);
  for (auto& rows : across_rows)
    for (auto& columns : across_columns) {
      Taps taps;
      taps.depth = (long)columns.taps * ic;  // neighbours along a row lie side by side
      for (int source = 0; source < (x2 ? 2 : 1) && columns.taps; source++)
        for (int k = 0; k < rows.taps; k++) {
          taps.offset[taps.count] = (source ? x2 - x : 0) + (long)k * iw * ic;
          taps.weights[taps.count++] = (source ? w2 : w) + ((rows.first + k) * (long)s.kernel + columns.first) * ic * c;
        }
      int pixels = 0;
      auto flush = [&] {
        across(
            c, [&](long column, auto v) { tiles<v.value>(pixels, in, taps, column, c, to); },
            [&](long column) {
              for (int i = 0; i < pixels; i++) {
                T sum = 0;
                for (int t = 0; t < taps.count; t++)
                  for (long k = 0; k < taps.depth; k++)
                    sum += in[i][taps.offset[t] + k] * taps.weights[t][k * c + column];
                to[i][column] = sum;
              }
            });
        pixels = 0;
      };
      pixel_pairs(s.n, ih, iw, ic, h, wide, c, rows, columns, [&](long from, long at) {
        in[pixels] = x + from, to[pixels++] = out + at;
        if (pixels == BATCH) flush();
      });
      flush();
    }
}

template <int ROWS, int VECTORS>
INLINE void outer_tile(int pixels, const T* const* x, long row, const T* const* z, T* to, long columns, long column) {
  Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) sum[r][v] = load(to + r * columns + v * LANES);
  for (int i = 0; i < pixels; i++) {
    Vector slope[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) slope[v] = load(z[i] + column + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      Vector value = Vector{} + x[i][row + r];
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[r][v] += value * slope[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) store(to + r * columns + v * LANES, sum[r][v]);
}

template <int VECTORS>
static void outer_tiles(long rows, int pixels, const T* const* x, long row, const T* const* z, T* to, long columns,
                        long column) {
#define OUTER_TILE(N) outer_tile<N, VECTORS>(pixels, x, row + r, z, to + r * columns, columns, column)
  IN_TILES(OUTER_TILE)
}

// Adds the gradient by the weights to `to` (3, 3, in, out): of n images x, and z the gradient by the output.
static void add_weight_gradient(const Shape& s, const T* x, const T* z, T* to) {
  constexpr int BATCH = 64;
  const T *in[BATCH], *slope[BATCH];
  auto across_rows = groups(s.h, s.ih, s, false), across_columns = groups(s.w, s.iw, s, false);
  for (auto& rows : across_rows)
    for (auto& columns : across_columns) {
      int pixels = 0;
      long depth = (long)columns.taps * s.ic;
      auto flush = [&] {
        for (int k = 0; k < rows.taps; k++) {
          T* at = to + ((rows.first + k) * (long)s.kernel + columns.first) * s.ic * s.c;
          long row = (long)k * s.iw * s.ic;
          across(
              s.c,
              [&](long column, auto v) {
                outer_tiles<v.value>(depth, pixels, in, row, slope, at + column, s.c, column);
              },
              [&](long column) {
                for (long r = 0; r < depth; r++)
                  for (int i = 0; i < pixels; i++) at[r * s.c + column] += in[i][row + r] * slope[i][column];
              });
        }
        pixels = 0;
      };
      pixel_pairs(s.n, s.ih, s.iw, s.ic, s.h, s.w, s.c, rows, columns, [&](long from, long at) {
        in[pixels] = x + from, slope[pixels++] = z + at;
        if (pixels == BATCH) flush();
      });
      flush();
    }
}

// Weights (3, 3, in, out) as the gradient by the input reads them: (tap, tap, out, in), taps in packed order.
static void flip(const Shape& s, const T* w, T* to) {
  const int orders[2][3] = {{2, 1, 0}, {2, 0, 1}};
  const int* order = orders[s.stride == 2];
  for (int a = 0; a < s.kernel; a++)
    for (int b = 0; b < s.kernel; b++) {
      const long taken = s.kernel == 1 ? 0 : order[a] * 3L + order[b];
      const T* from = w + taken * s.ic * s.c;
      T* at = to + (a * (long)s.kernel + b) * s.ic * s.c;
      for (int first = 0; first < s.ic; first += 16)  // 16 x out of them are in the cache
        for (int o = 0; o < s.c; o++)
          for (int i = first; i < std::min(first + 16, s.ic); i++) at[(long)o * s.ic + i] = from[(long)i * s.c + o];
    }
}
