// Convolution 3x3 or 1x1, BatchNorm on the batch, ReLU (or leaky) and perhaps maximum pooling by 2 as one block: its value,
// its gradient and the gradient of its gradient. function.py calls these three for blocks that follow one another, one
// thread a call; each takes their tensors and sizes as an array of 64-bit words, in the order of its struct. A few images
// at a time go through all that can be done with them, so that they stay in the cache.
#include "normalise.h"

struct Sizes {
  // kind: 1 where it is pooled, plus 2 where the kernel is 1x1
  long n, ih, iw, ic, h, w, c, stride, kind;
  double epsilon, slope;
  Norm norm() const {
    const int kernel = kind & 2 ? 1 : 3;
    return {{(int)n, (int)ih, (int)iw, (int)ic, (int)h, (int)w, (int)c, (int)stride, kernel}, (int)kind & 1, (T)slope};
  }
};

static int piece(const Norm& s) {
  const long some = wide(s) && in_tiles(s) ? tiles_at_once(s) / count_tiles(s.images(1)) : 0;
  return (int)std::clamp(std::max(98304 / s.row(), some), 1L, (long)s.n);
}

static const T* flipped(const Shape& s, const T* w) {  // ready for the gradient by the input
  T* to = workspace(FLIPPED, s.weights());
  flip(s, w, to);
  return prepared(turned(s), to, WEIGHTS);
}

// A block's input: x, or where `source` is given what it is an activation of.
struct Input {
  const T *x, *source;
  const T* piece(const Shape& some, long first) const {
    const T* at = x + first * some.input();
    return source ? made_again({at, source, source + some.ic}, source[2 * some.ic], some) : at;
  }
};

struct Forward {
  Sizes sizes;
  const T *x, *source, *w, *gamma, *beta;  // source: see Input
  T *z, *out, *top;  // out may be null
  unsigned char* place;
  T *mean, *r;
  T* own;  // what outputs are made again of: scale and shift by channel, and the slope
};

static void forward(const Forward* a) {
  Norm s = a->sizes.norm();
  std::vector<double> mean(s.c), squares(s.c);
  T *scale = a->own, *shift = scale + s.c;
  scale[2 * s.c] = s.slope;
  long seen = 0;
  const T* w = prepared(s, a->w, WEIGHTS);
  const Input input{a->x, a->source};
  for (int b = 0, by = piece(s); b < s.n; b += by) {
    Norm some = s.images(std::min(by, s.n - b));
    convolved(some, input.piece(some, b), w, nullptr, nullptr, a->z + b * s.row(), false);
    add_moments(a->z + b * s.row(), some.n * s.pixels(), s.c, seen, mean.data(), squares.data());
  }
  for (int j = 0; j < s.c; j++) {
    double r = 1 / std::sqrt(squares[j] / seen + a->sizes.epsilon);
    a->mean[j] = mean[j], a->r[j] = r;
    scale[j] = a->gamma[j] * r, shift[j] = a->beta[j] - a->gamma[j] * r * mean[j];
  }
  if (a->out || s.pool) BY_CHANNELS(activate, s, a->z, a->out, a->top, a->place, scale, shift);
}

// The activation that a block makes again: of what was pooled, or of the convolution.
static Before before(const Norm& s, const T* own, const T* z, const T* top) { return {s.pool ? top : z, own, own + s.c}; }

struct Backward {
  Sizes sizes;
  T* g;
  const T *gy, *gz, *top;  // gradients by the output, to be added to g, and by z that come from elsewhere, or null
  const unsigned char* place;
  const T *z, *gamma, *mean, *r, *x, *w;
  T *dx, *dw, *dgamma, *dbeta;  // dx may be null
  const T *own, *source;        // see Forward and Input
};

// Of `spread_slopes`, which makes z's gradient: that is quicker made again than kept.
static std::vector<T> slope_coefficients(const Norm& s, const T* gamma, const T* mean, const T* r, const T* dgamma,
                                         const T* dbeta) {
  const long c = s.c;
  const double rows = (double)s.n * s.pixels();
  std::vector<T> k(3 * c);
  for (long j = 0; j < c; j++) {
    double scale = (double)gamma[j] * r[j], along = dgamma[j] / rows * r[j];
    k[j] = scale, k[2 * c + j] = -scale * along;
    k[c + j] = scale * (along * mean[j] - dbeta[j] / rows);
  }
  return k;
}

static void backward(const Backward* a) {
  Norm s = a->sizes.norm();
  const long c = s.c, out_row = (long)s.ph() * s.pw() * c;
  if (a->gy)
    for (long i = 0, m = s.n * out_row; i < m; i++) a->g[i] += a->gy[i];
  std::vector<double> s1(c), s2(c);
  const Before y = before(s, a->own, a->z, a->top);
  const Input input{a->x, a->source};
  BY_CHANNELS(sum_slopes, s, a->g, y, s.pool ? a->top : a->z, s1.data(), s2.data());
  for (long j = 0; j < c; j++) {
    a->dgamma[j] = (s2[j] - a->mean[j] * s1[j]) * a->r[j], a->dbeta[j] = s1[j];
  }
  const auto k = slope_coefficients(s, a->gamma, a->mean, a->r, a->dgamma, a->dbeta);
  const T* w = a->dx ? flipped(s, a->w) : nullptr;
  WeightGradient dw(s, a->dw);
  for (int b = 0, by = piece(s); b < s.n; b += by) {
    Norm some = s.images(std::min(by, s.n - b));
    const T* z = a->z + b * s.row();
    T* dz = workspace(SLOPES, by * s.row());
    const unsigned char* place = s.pool ? a->place + b * out_row : nullptr;
    BY_CHANNELS(spread_slopes, some, a->g + b * out_row, y.from(b * out_row), place, z, dz, k.data());
    if (a->gz)
      for (long i = 0, m = some.n * s.row(); i < m; i++) dz[i] += a->gz[b * s.row() + i];
    if (w) convolved(some, dz, w, nullptr, nullptr, a->dx + b * s.input(), true);
    dw.add(some, input.piece(some, b), dz);
  }
  dw.finish();
}

struct Second {
  Sizes sizes;
  const T *ux, *uw, *ugamma, *ubeta;  // cotangents of dx, dw, dgamma, dbeta: any may be null
  const T* g;
  const unsigned char* place;
  const T *z, *gamma, *mean, *r, *dgamma, *dbeta, *x, *w;
  T *of_z, *of_g, *of_gamma, *of_x, *of_w;  // of_x goes with uw, of_w with ux; else null
  const T *own, *source, *top;              // see Forward and Input
};

static void second(const Second* a) {
  Norm s = a->sizes.norm();
  const long c = s.c;
  const double rows = (double)s.n * s.pixels();
  const long out_row = (long)s.ph() * s.pw() * c;
  const Before y = before(s, a->own, a->z, a->top);
  const Input input{a->x, a->source};
  T* u = workspace(ALONG, s.n * s.row());  // along ux and uw, z moves so
  const T *w = prepared(s, a->w, WEIGHTS), *uw = prepared(s, a->uw, OTHER_WEIGHTS);
  std::vector<double> t(3 * c);
  std::vector<T> k(7 * c);
  for (int b = 0, by = piece(s); b < s.n; b += by) {
    Norm some = s.images(std::min(by, s.n - b));
    const T *x = uw ? input.piece(some, b) : nullptr, *ux = a->ux ? a->ux + b * s.input() : nullptr;
    T* along = u + b * s.row();
    if (ux && uw)
      convolved(some, ux, w, x, uw, along, false);
    else if (uw)
      convolved(some, x, uw, nullptr, nullptr, along, false);
    else if (ux)
      convolved(some, ux, w, nullptr, nullptr, along, false);
    else
      memset(along, 0, sizeof(T) * some.n * s.row());
    const unsigned char* place = s.pool ? a->place + b * out_row : nullptr;
    BY_CHANNELS(sum_second, some, along, a->z + b * s.row(), a->mean, a->g + b * out_row, y.from(b * out_row), place,
                t.data());
  }
  for (long j = 0; j < c; j++) {
    double r = a->r[j], gamma = a->gamma[j], mean = a->mean[j], s1 = a->dbeta[j], s2 = a->dgamma[j];
    double m1 = t[j] / rows, m2 = r * t[c + j] / rows, ugamma = a->ugamma ? a->ugamma[j] : 0;
    double of_gamma = r * (t[2 * c + j] - m1 * s1 - m2 * s2), scale = ugamma * r - gamma * r * r * m2;
    double xh = -scale * s2 / rows - gamma * r * of_gamma / rows + gamma * r * r * m2 * s2 / rows;
    double g_xh = ugamma - gamma * r * m2;
    a->of_gamma[j] = of_gamma;
    k[j] = scale, k[2 * c + j] = xh * r, k[3 * c + j] = -gamma * r * r * s2 / rows;
    k[c + j] = -scale * s1 / rows + gamma * r * r * m1 * s2 / rows - xh * r * mean;
    k[4 * c + j] = gamma * r, k[5 * c + j] = g_xh * r;
    k[6 * c + j] = -gamma * r * m1 + (a->ubeta ? a->ubeta[j] : 0) - g_xh * r * mean;
  }
  BY_CHANNELS(spread_second, s, u, a->z, a->g, y, a->place, a->of_z, a->of_g, k.data());
  if (!a->of_x && !a->of_w) return;
  const T* turned_uw = a->of_x ? flipped(s, a->uw) : nullptr;
  WeightGradient of_w(s, a->of_w);
  const auto again = slope_coefficients(s, a->gamma, a->mean, a->r, a->dgamma, a->dbeta);
  for (int b = 0, by = piece(s); b < s.n; b += by) {
    Norm some = s.images(std::min(by, s.n - b));
    T* dz = workspace(SLOPES, by * s.row());
    const unsigned char* place = s.pool ? a->place + b * out_row : nullptr;
    BY_CHANNELS(spread_slopes, some, a->g + b * out_row, y.from(b * out_row), place, a->z + b * s.row(), dz,
                again.data());
    if (a->of_x) convolved(some, dz, turned_uw, nullptr, nullptr, a->of_x + b * s.input(), true);
    if (a->of_w) of_w.add(some, a->ux + b * s.input(), dz);
  }
  of_w.finish();
}

// Blocks in the order in which their results are needed: gradients go from the last to the first.
#define FOR_ALL(FUNCTION, STRUCT) \
  extern "C" void blocks_##FUNCTION(const STRUCT* blocks, long count) { \
    for (long i = 0; i < count; i++) FUNCTION(blocks + i); \
  }
FOR_ALL(forward, Forward)
FOR_ALL(backward, Backward)
FOR_ALL(second, Second)
