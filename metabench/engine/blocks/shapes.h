// Numbers, vectors of them, and the sizes of a convolution: what all else is written with.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

using T = REAL;  // float or double: one library each
#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__  // 32 registers of 64 bytes; with AVX2 16 of 32
constexpr int BYTES = 64, WIDEST = 4;
#else
constexpr int BYTES = 32, WIDEST = 2;
#endif
constexpr int LANES = BYTES / sizeof(T);
// Rows of a tile by its vectors of channels: what fits into the registers beside the operands.
constexpr int tile_rows(int vectors) { return vectors == WIDEST ? 6 : 8; }

typedef T Vector __attribute__((vector_size(BYTES)));
typedef T Unaligned __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
INLINE Vector load(const T* from) { return *(const Unaligned*)from; }
INLINE void store(T* to, Vector value) { *(Unaligned*)to = value; }

struct Shape {  // of a convolution's input (n, ih, iw, ic) and output (n, h, w, c)
  int n, ih, iw, ic, h, w, c, stride, kernel;  // 3, with padding 1; or 1, with stride 1
  long pixels() const { return (long)h * w; }
  long row() const { return pixels() * c; }        // one output image
  long input() const { return (long)ih * iw * ic; }  // one input image
  long weights() const { return (long)kernel * kernel * ic * c; }
};
