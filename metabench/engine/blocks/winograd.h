// 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3) (Lavin and Gray 2016, arXiv 1509.09308, section 4.1): a tile of
// 2x2 outputs takes 16 products a pair of channels in place of 36.
//
// With d a tile of 4x4 inputs, g the weights, y the 2x2 outputs, and . element by element (a matrix product over the
// channels): y = A' ((G g G') . (B' d B)) A. The gradient by g is the transposed map, G' ((A y A') . (B' d B)) G; that
// by d is a convolution with turned weights. All are exact but for rounding, which is about that of the plain sum.
#pragma once
#include "convolution.h"

constexpr int TILES = 192;  // at a time at most
constexpr long PAD = 64 / sizeof(T);  // between matrices: else they would fall on the same lines of the cache

enum Space { INPUTS, FLIPPED, SLOPES, ALONG, WEIGHTS, OTHER_WEIGHTS, SUMS, SOME_TILES, SPACES };

static T* workspace(Space which, size_t size) {  // freed with its thread
  static thread_local std::vector<T> kept[SPACES];
  if (kept[which].size() < size) kept[which].resize(size);
  return kept[which].data();
}

// Whether there are so many weights that they fill no cache: each shall meet many tiles when it is read.
static bool wide(const Shape& s) { return (long)s.ic * s.c > 256 * 256; }

// Tiles at a time, whole rows of register tiles: their 16 matrices stay in the cache, or one of them where it is wide.
static int tiles_at_once(const Shape& s) { return wide(s) ? TILES : 48; }

// Whether tiles are the quicker way: channels fill vectors, and not too much of the tiles lies outside.
static bool in_tiles(const Shape& s) {
  return s.kernel == 3 && s.stride == 1 && s.ic % LANES == 0 && s.c % LANES == 0 &&
         std::min(s.h, s.w) >= (wide(s) ? 4 : 6);
}

// The shape of the gradient by the input, as a convolution.
static Shape turned(const Shape& s) { return {s.n, s.h, s.w, s.c, s.ih, s.iw, s.ic, s.stride, s.kernel}; }

// Calls each(number, image, row, column), the last two of the first output, for `count` tiles from `first` on.
template <class Each>
INLINE void some_tiles(const Shape& s, long first, int count, Each each) {
  const int across = (s.w + 1) / 2, down = (s.h + 1) / 2;
  int column = first % across, row = first / across % down;
  long image = first / across / down;
  for (int p = 0; p < count; p++) {
    each(p, image, 2 * row, 2 * column);
    if (++column == across) column = 0, row++;
    if (row == down) row = 0, image++;
  }
}

static long count_tiles(const Shape& s) { return (long)s.n * ((s.h + 1) / 2) * ((s.w + 1) / 2); }

// B' d B of some tiles: 16 matrices (tiles, channels) of what the images x (n, h, w, channels) hold there.
static void take_inputs(const Shape& s, const T* x, long first, int count, const T* zeros, T* to) {
  const long plane = (long)tiles_at_once(s) * s.ic + PAD;
  some_tiles(s, first, count, [&](int p, long image, int row, int column) {
    const T* at[4][4];
    for (int i = 0; i < 4; i++)
      for (int k = 0; k < 4; k++) {
        const int y = row + i - 1, z = column + k - 1;
        const bool inside = y >= 0 && y < s.ih && z >= 0 && z < s.iw;
        at[i][k] = inside ? x + ((image * s.ih + y) * s.iw + z) * s.ic : zeros;
      }
    for (int j = 0; j < s.ic; j += LANES) {
      Vector half[4][4];
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) {
        const Vector d0 = load(at[0][k] + j), d1 = load(at[1][k] + j), d2 = load(at[2][k] + j), d3 = load(at[3][k] + j);
        half[0][k] = d0 - d2, half[1][k] = d1 + d2, half[2][k] = d2 - d1, half[3][k] = d1 - d3;
      }
      T* out = to + p * s.ic + j;
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        store(out + (4 * i + 0) * plane, half[i][0] - half[i][2]);
        store(out + (4 * i + 1) * plane, half[i][1] + half[i][2]);
        store(out + (4 * i + 2) * plane, half[i][2] - half[i][1]);
        store(out + (4 * i + 3) * plane, half[i][1] - half[i][3]);
      }
    }
  });
}

// A' m A of some tiles, into the outputs.
static void give_outputs(const Shape& s, const T* from, long first, int count, T* out) {
  const long plane = (long)tiles_at_once(s) * s.c + PAD;
  some_tiles(s, first, count, [&](int p, long image, int row, int column) {
    T* at = out + ((image * s.h + row) * s.w + column) * s.c;
    const bool right = column + 1 < s.w, below = row + 1 < s.h;
    for (int j = 0; j < s.c; j += LANES) {
      const T* m = from + p * s.c + j;
      Vector half[2][4];
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) {
        const Vector m0 = load(m + k * plane), m1 = load(m + (4 + k) * plane), m2 = load(m + (8 + k) * plane);
        half[0][k] = m0 + m1 + m2, half[1][k] = m1 - m2 - load(m + (12 + k) * plane);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; i++) {
        if (i && !below) break;
        T* to = at + (long)i * s.w * s.c + j;
        store(to, half[i][0] + half[i][1] + half[i][2]);
        if (right) store(to + s.c, half[i][1] - half[i][2] - half[i][3]);
      }
    }
  });
}

// A y A' of some tiles: 16 matrices (tiles, channels) of gradients by the outputs.
static void take_slopes(const Shape& s, const T* z, long first, int count, const T* zeros, T* to) {
  const long plane = (long)tiles_at_once(s) * s.c + PAD;
  some_tiles(s, first, count, [&](int p, long image, int row, int column) {
    const T* at = z + ((image * s.h + row) * s.w + column) * s.c;
    const bool right = column + 1 < s.w, below = row + 1 < s.h;
    const T* y[2][2] = {{at, right ? at + s.c : zeros},
                        {below ? at + (long)s.w * s.c : zeros, right && below ? at + (s.w + 1L) * s.c : zeros}};
    for (int j = 0; j < s.c; j += LANES) {
      Vector half[4][2];
#pragma GCC unroll 2
      for (int k = 0; k < 2; k++) {
        const Vector y0 = load(y[0][k] + j), y1 = load(y[1][k] + j);
        half[0][k] = y0, half[1][k] = y0 + y1, half[2][k] = y0 - y1, half[3][k] = -y1;
      }
      T* out = to + p * s.c + j;
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        store(out + (4 * i + 0) * plane, half[i][0]);
        store(out + (4 * i + 1) * plane, half[i][0] + half[i][1]);
        store(out + (4 * i + 2) * plane, half[i][0] - half[i][1]);
        store(out + (4 * i + 3) * plane, -half[i][1]);
      }
    }
  });
}

// G g G': 16 matrices (in, out) of weights (3, 3, in, out).
static void take_weights(const Shape& s, const T* w, T* to) {
  const long plane = (long)s.ic * s.c;
  for (long j = 0; j < plane; j += LANES) {
    Vector half[4][3];
#pragma GCC unroll 3
    for (int k = 0; k < 3; k++) {
      const Vector g0 = load(w + k * plane + j), g1 = load(w + (3 + k) * plane + j), g2 = load(w + (6 + k) * plane + j);
      half[0][k] = g0, half[1][k] = (g0 + g1 + g2) / 2, half[2][k] = (g0 - g1 + g2) / 2, half[3][k] = g2;
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      store(to + (4 * i + 0) * plane + j, half[i][0]);
      store(to + (4 * i + 1) * plane + j, (half[i][0] + half[i][1] + half[i][2]) / 2);
      store(to + (4 * i + 2) * plane + j, (half[i][0] - half[i][1] + half[i][2]) / 2);
      store(to + (4 * i + 3) * plane + j, half[i][2]);
    }
  }
}

// G' m G: the weights' gradient (3, 3, in, out) of 16 matrices (in, out).
static void give_weights(const Shape& s, const T* from, T* w) {
  const long plane = (long)s.ic * s.c;
  for (long j = 0; j < plane; j += LANES) {
    Vector half[3][4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      const T* m = from + k * plane + j;
      const Vector m0 = load(m), m1 = load(m + 4 * plane), m2 = load(m + 8 * plane), m3 = load(m + 12 * plane);
      half[0][k] = m0 + (m1 + m2) / 2, half[1][k] = (m1 - m2) / 2, half[2][k] = (m1 + m2) / 2 + m3;
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
      store(w + (3 * i + 0) * plane + j, half[i][0] + (half[i][1] + half[i][2]) / 2);
      store(w + (3 * i + 1) * plane + j, (half[i][1] - half[i][2]) / 2);
      store(w + (3 * i + 2) * plane + j, (half[i][1] + half[i][2]) / 2 + half[i][3]);
    }
  }
}

// out = the convolution of x with the weights that `take_weights` made u of, plus that of x2 where there is one.
static void convolve_tiles(const Shape& s, const T* x, const T* u, const T* x2, const T* u2, T* out) {
  const long some = tiles_at_once(s), sources = x2 ? 2 : 1;
  const long inputs = 16 * (some * s.ic + PAD), outputs = 16 * (some * s.c + PAD);
  T *v = workspace(SOME_TILES, sources * inputs + outputs), *m = v + sources * inputs;
  const std::vector<T> zeros(s.ic);
  for (long first = 0, all = count_tiles(s); first < all; first += some) {
    const int count = std::min(some, all - first);
    take_inputs(s, x, first, count, zeros.data(), v);
    if (x2) take_inputs(s, x2, first, count, zeros.data(), v + inputs);
    for (int f = 0; f < 16; f++) {
      Taps taps{(int)sources, s.ic, {0, inputs}, {u + f * (long)s.ic * s.c, u2 ? u2 + f * (long)s.ic * s.c : nullptr}};
      const T* in[TILES];
      T* to[TILES];
      for (int p = 0; p < count; p++) in[p] = v + f * inputs / 16 + p * s.ic, to[p] = m + f * outputs / 16 + p * s.c;
      across(
          s.c, [&](long column, auto wide) { tiles<wide.value>(count, in, taps, column, s.c, to); }, [](long) {});
    }
    give_outputs(s, m, first, count, out);
  }
}

// Adds to the 16 matrices of which `give_weights` makes the gradient by the weights: see add_weight_gradient.
static void add_tile_gradient(const Shape& s, const T* x, const T* z, T* sums) {
  const long some = tiles_at_once(s), inputs = 16 * (some * s.ic + PAD), outputs = 16 * (some * s.c + PAD);
  T *v = workspace(SOME_TILES, inputs + outputs), *slopes = v + inputs;
  const std::vector<T> zeros(std::max(s.ic, s.c));
  for (long first = 0, all = count_tiles(s); first < all; first += some) {
    const int count = std::min(some, all - first);
    take_inputs(s, x, first, count, zeros.data(), v);
    take_slopes(s, z, first, count, zeros.data(), slopes);
    for (int f = 0; f < 16; f++) {
      const T *in[TILES], *slope[TILES];
      for (int p = 0; p < count; p++) {
        in[p] = v + f * inputs / 16 + p * s.ic, slope[p] = slopes + f * outputs / 16 + p * s.c;
      }
      T* to = sums + f * (long)s.ic * s.c;
      across(
          s.c,
          [&](long column, auto wide) {
            outer_tiles<wide.value>(s.ic, count, in, 0, slope, to + column, s.c, column);
          },
          [](long) {});
    }
  }
}

// The weights as `convolved` reads them.
static const T* prepared(const Shape& s, const T* w, Space space) {
  if (!w || !in_tiles(s)) return w;
  T* matrices = workspace(space, 16L * s.ic * s.c);
  take_weights(s, w, matrices);
  return matrices;
}

// `convolve` by the quicker way, with prepared weights; `flipped`: those that `flip` made, prepared for the turned shape.
static void convolved(const Shape& s, const T* x, const T* w, const T* x2, const T* w2, T* out, bool flipped) {
  if (in_tiles(s))
    convolve_tiles(flipped ? turned(s) : s, x, w, x2, w2, out);
  else
    convolve(s, x, w, x2, w2, out, flipped);
}

// The gradient by the weights by the quicker way, of some images after the other; `to` null: there is to be none.
struct WeightGradient {
  Shape s;
  T *to, *sums;
  WeightGradient(const Shape& s, T* to) : s(s), to(to), sums(in_tiles(s) ? workspace(SUMS, 16L * s.ic * s.c) : to) {
    if (to) memset(sums, 0, sizeof(T) * (in_tiles(s) ? 16L * s.ic * s.c : s.weights()));
  }
  void add(const Shape& some, const T* x, const T* z) {
    (in_tiles(s) ? add_tile_gradient : add_weight_gradient)(some, x, z, sums);
  }
  void finish() {
    if (to && in_tiles(s)) give_weights(s, sums, to);
  }
};
