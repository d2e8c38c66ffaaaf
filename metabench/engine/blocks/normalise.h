// BatchNorm on the batch, ReLU (or leaky ReLU) and maximum pooling by 2, with first and second derivatives.
//
// Per channel: y = activation(scale z + shift), with scale = gamma r and r = 1 / sqrt(variance + epsilon). The
// activation rises, so the maximum of y is at an extreme of z. An activation's slope is 1 above zero and `slope`
// elsewhere (so NaN passes through). Outputs are made again of z, which is kept.
// Sums are taken over pieces of 64 rows and joined in double.
//
// The second derivative is the directional derivative of the first along u, the cotangent of z's gradient, since the
// Hessian is symmetric. With dy = slope * g, s1 = sum dy, s2 = sum dy xh, xh = r (z - mean), N rows, m1 = mean u,
// m2 = mean xh u, u' = r (u - m1 - xh m2):
//   s2' = sum dy u' = r (sum dy u - m1 s1 - m2 s2),  scale' = ugamma r - gamma r^2 m2,
//   cotangent of z: scale' (dy - s1 / N - xh s2 / N) - gamma r (u' s2 / N + xh s2' / N),
//   cotangent of g: slope * (gamma u' + xh ugamma + ubeta),  of gamma: s2',  of beta: 0.
#pragma once
#include <cmath>

#include "winograd.h"

struct Norm : Shape {
  int pool;
  T slope;
  int ph() const { return pool ? h / 2 : h; }
  int pw() const { return pool ? w / 2 : w; }
  long outputs() const { return (long)n * ph() * pw(); }  // rows of the output
  Norm images(int count) const {
    Norm fewer = *this;
    fewer.n = count;
    return fewer;
  }
};

// What an activation was made of, scale v + shift, by channel: its sign is the slope. `v` is z, or z at the maximum.
struct Before {
  const T *v, *scale, *shift;
  Before from(long at) const { return {v + at, scale, shift}; }
};

INLINE T activated(T y, T slope) { return y <= 0 ? slope * y : y; }
INLINE T through(T y, T slope, T g) { return y <= 0 ? slope * g : g; }

// Adds rows of z to the count, the mean and the summed squares about it (Chan's way).
static void add_moments(const T* z, long rows, int c, long& seen, double* mean, double* squares) {
  std::vector<T> sums(c), spread(c);
  for (long i = 0; i < rows; i += 64) {
    long m = std::min(64L, rows - i);
    const T* q = z + i * c;
    std::fill(sums.begin(), sums.end(), T(0)), std::fill(spread.begin(), spread.end(), T(0));
    for (long r = 0; r < m; r++)
      for (int j = 0; j < c; j++) sums[j] += q[r * c + j];
    for (int j = 0; j < c; j++) sums[j] /= m;
    for (long r = 0; r < m; r++)
      for (int j = 0; j < c; j++) {
        T d = q[r * c + j] - sums[j];
        spread[j] += d * d;
      }
    for (int j = 0; j < c; j++) {
      double d = sums[j] - mean[j], total = seen + m;
      squares[j] += spread[j] + d * d * seen * m / total;
      mean[j] += d * m / total;
    }
    seen += m;
  }
}

// out (or null): activated, and pooled; there `top` is z at the maximum and `place` which of the four, the first of equal ones.
template <int C>
static void activate(const Norm& s, const T* __restrict z, T* __restrict out, T* __restrict top,
                     unsigned char* __restrict place, const T* __restrict scale, const T* __restrict shift) {
  const int c = C ? C : s.c;
  const T slope = s.slope;
  if (!s.pool) {
    for (long r = 0; r < s.outputs(); r++)
      for (int j = 0; j < c; j++) {
        out[r * c + j] = activated(z[r * c + j] * scale[j] + shift[j], slope);
      }
    return;
  }
  for (int b = 0; b < s.n; b++)
    for (int i = 0; i < s.ph(); i++)
      for (int k = 0; k < s.pw(); k++) {
        const T* __restrict q0 = z + (((long)b * s.h + 2 * i) * s.w + 2 * k) * c;
        const T *q1 = q0 + c, *q2 = q0 + (long)s.w * c, *q3 = q2 + c;
        long o = (((long)b * s.ph() + i) * s.pw() + k) * c;
        for (int j = 0; j < c; j++) {
          T sign = scale[j] < 0 ? T(-1) : T(scale[j] > 0);  // at 0 all are equal
          T best = q0[j];
          unsigned char at = 0;
          if (sign * q1[j] > sign * best) best = q1[j], at = 1;
          if (sign * q2[j] > sign * best) best = q2[j], at = 2;
          if (sign * q3[j] > sign * best) best = q3[j], at = 3;
          top[o + j] = best, place[o + j] = at;
          if (out) out[o + j] = activated(best * scale[j] + shift[j], slope);
        }
      }
}

// s1 = sum dy, s2 = sum dy z, z being that at the outputs.
template <int C>
static void sum_slopes(const Norm& s, const T* __restrict g, const Before& before, const T* __restrict z,
                       double* __restrict s1, double* __restrict s2) {
  const int c = C ? C : s.c;
  const T slope = s.slope;
  const T *__restrict v = before.v, *__restrict scale = before.scale, *__restrict shift = before.shift;
  std::vector<T> piece(2 * c);
  T *p1 = piece.data(), *p2 = p1 + c;
  for (long i = 0; i < s.outputs(); i += 64) {
    std::fill(piece.begin(), piece.end(), T(0));
    for (long r = i; r < std::min(i + 64, s.outputs()); r++)
      for (int j = 0; j < c; j++) {
        T d = through(v[r * c + j] * scale[j] + shift[j], slope, g[r * c + j]);
        p1[j] += d, p2[j] += d * z[r * c + j];
      }
    for (int j = 0; j < c; j++) s1[j] += p1[j], s2[j] += p2[j];
  }
}

// Calls each(at in z, at in the output or -1 beyond the pooled, which of the four) for every pixel.
template <class Each>
INLINE void pooled_pixels(const Norm& s, int c, Each each) {
  const int ph = s.ph(), pw = s.pw();
  for (int b = 0; b < s.n; b++)
    for (int i = 0; i < s.h; i++)
      for (int k = 0; k < s.w; k++) {
        bool inside = i < 2 * ph && k < 2 * pw;
        each((((long)b * s.h + i) * s.w + k) * c, inside ? (((long)b * ph + i / 2) * pw + k / 2) * c : -1L,
             (unsigned char)((i & 1) * 2 + (k & 1)));
      }
}

// dz = a dy + b + d z, coefficients by channel.
template <int C>
static void spread_slopes(const Norm& s, const T* __restrict g, const Before& before,
                          const unsigned char* __restrict place, const T* __restrict z, T* __restrict dz,
                          const T* __restrict a) {
  const int c = C ? C : s.c;
  const T slope = s.slope;
  const T *__restrict v = before.v, *__restrict scale = before.scale, *__restrict shift = before.shift;
  const T *__restrict b = a + c, *__restrict d = b + c;
  if (!s.pool) {
    for (long r = 0; r < s.outputs(); r++)
      for (int j = 0; j < c; j++) {
        long q = r * c + j;
        dz[q] = a[j] * through(v[q] * scale[j] + shift[j], slope, g[q]) + (b[j] + d[j] * z[q]);
      }
    return;
  }
  pooled_pixels(s, c, [&](long q, long o, unsigned char me) __attribute__((always_inline)) {
    if (o < 0)
      for (int j = 0; j < c; j++) dz[q + j] = b[j] + d[j] * z[q + j];
    else
      for (int j = 0; j < c; j++) {
        T dy = place[o + j] == me ? through(v[o + j] * scale[j] + shift[j], slope, g[o + j]) : 0;
        dz[q + j] = a[j] * dy + (b[j] + d[j] * z[q + j]);
      }
  });
}

// t1 = sum u, t2 = sum (z - mean) u, t3 = sum dy u.
template <int C>
static void sum_second(const Norm& s, const T* __restrict u, const T* __restrict z, const T* __restrict mean,
                       const T* __restrict g, const Before& before, const unsigned char* __restrict place,
                       double* __restrict sums) {
  const int c = C ? C : s.c, ph = s.ph(), pw = s.pw();
  const T slope = s.slope;
  const T *__restrict v = before.v, *__restrict scale = before.scale, *__restrict shift = before.shift;
  std::vector<T> piece(3 * c);
  T *p1 = piece.data(), *p2 = p1 + c, *p3 = p2 + c;
  for (int b = 0; b < s.n; b++)
    for (int i = 0; i < s.h; i++) {
      std::fill(piece.begin(), piece.end(), T(0));
      for (int k = 0; k < s.w; k++) {
        const long q = (((long)b * s.h + i) * s.w + k) * c;
        for (int j = 0; j < c; j++) p1[j] += u[q + j], p2[j] += (z[q + j] - mean[j]) * u[q + j];
        if (!s.pool)
          for (int j = 0; j < c; j++) p3[j] += through(v[q + j] * scale[j] + shift[j], slope, g[q + j]) * u[q + j];
        else if (i < 2 * ph && k < 2 * pw) {
          const long o = (((long)b * ph + i / 2) * pw + k / 2) * c;
          const unsigned char me = (i & 1) * 2 + (k & 1);
          for (int j = 0; j < c; j++)
            p3[j] += place[o + j] == me ? through(v[o + j] * scale[j] + shift[j], slope, g[o + j]) * u[q + j] : 0;
        }
      }
      for (int j = 0; j < 3 * c; j++) sums[j] += piece[j];
    }
}

// Cotangents: of z = k0 dy + k1 + k2 z + k3 u, of g = slope * (k4 u + k5 z + k6), coefficients by channel.
template <int C>
static void spread_second(const Norm& s, const T* __restrict u, const T* __restrict z, const T* __restrict g,
                          const Before& before, const unsigned char* __restrict place, T* __restrict of_z,
                          T* __restrict of_g, const T* __restrict k) {
  const int c = C ? C : s.c;
  const T slope = s.slope;
  const T *__restrict v = before.v, *__restrict scale = before.scale, *__restrict shift = before.shift;
  const T *__restrict k0 = k, *__restrict k1 = k + c, *__restrict k2 = k1 + c, *__restrict k3 = k2 + c;
  const T *__restrict k4 = k3 + c, *__restrict k5 = k4 + c, *__restrict k6 = k5 + c;
  if (!s.pool) {
    for (long r = 0; r < s.outputs(); r++)
      for (int j = 0; j < c; j++) {
        const long q = r * c + j;
        const T m = through(v[q] * scale[j] + shift[j], slope, 1);
        of_z[q] = m * k0[j] * g[q] + k1[j] + k2[j] * z[q] + k3[j] * u[q];
        of_g[q] = m * (k4[j] * u[q] + k5[j] * z[q] + k6[j]);
      }
    return;
  }
  pooled_pixels(s, c, [&](long q, long o, unsigned char me) __attribute__((always_inline)) {
    if (o < 0)
      for (int j = 0; j < c; j++) of_z[q + j] = k1[j] + k2[j] * z[q + j] + k3[j] * u[q + j];
    else
      for (int j = 0; j < c; j++) {
        const bool chosen = place[o + j] == me;
        const T m = through(v[o + j] * scale[j] + shift[j], slope, 1), rest = k1[j] + k2[j] * z[q + j] + k3[j] * u[q + j];
        const T value = m * (k4[j] * u[q + j] + k5[j] * z[q + j] + k6[j]);
        of_z[q + j] = chosen ? rest + m * k0[j] * g[o + j] : rest;
        of_g[o + j] = chosen ? value : of_g[o + j];
      }
  });
}

// Some images of a block's input, of what they are activations of.
static const T* made_again(const Before& before, T slope, const Shape& some) {
  T* to = workspace(INPUTS, some.n * some.input());
  const T *__restrict v = before.v, *__restrict scale = before.scale, *__restrict shift = before.shift;
  T* __restrict at = to;
  for (long r = 0, c = some.ic; r < some.n * some.ih * (long)some.iw; r++)
    for (long j = 0; j < c; j++) at[r * c + j] = activated(v[r * c + j] * scale[j] + shift[j], slope);
  return to;
}

#define BY_CHANNELS(FUNCTION, ...)                      \
  (s.c == 64   ? FUNCTION<64>(__VA_ARGS__)              \
   : s.c == 32 ? FUNCTION<32>(__VA_ARGS__)              \
               : FUNCTION<0>(__VA_ARGS__))
