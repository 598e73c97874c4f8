// Float products, distances, blurring and half precision in plain C. A product against rows of b, and a
// distance, sums in 16 lanes (lane i takes depth i, i + 16, ...), folded 16 -> 8 -> 4 -> 2 -> 1; one against
// columns of b sums in depth order. All steps are fused but a blur's.
//
//   nt:  a [r][k ...] . b [c][k ...]      nn:  out [r][c ...] += a [r][k] * b [k][c ...]
#include "../internal.h"

static float folded(float lane[16]) {
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
  }
  return lane[0];
}

static void gemm_f32_nt(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                        size_t cols, size_t depth, const float *bias, int accumulate, float *out,
                        size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t c = 0; c < cols; c++) {
      float lane[16] = {0};
      for (size_t k = 0; k < depth; k++) {
        lane[k % 16] = ck_fma(a[row * a_stride + k], b[c * b_stride + k], lane[k % 16]);
      }
      float value = folded(lane);
      if (bias) value = value + bias[c];
      float *slot = &out[row * out_stride + c];
      *slot = accumulate ? *slot + value : value;
    }
  }
}

static void squared_distances(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                              size_t cols, size_t depth, float *out, size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t c = 0; c < cols; c++) {
      float lane[16] = {0};
      for (size_t k = 0; k < depth; k++) {
        float difference = a[row * a_stride + k] - b[c * b_stride + k];
        lane[k % 16] = ck_fma(difference, difference, lane[k % 16]);
      }
      out[row * out_stride + c] = folded(lane);
    }
  }
}

static void blur_line(const float *x, size_t step, size_t count, const float *taps, size_t radius,
                      float *out) {
  for (size_t i = 0; i < count; i++) {
    const float *place = x + i;
    float sum = *place;
    for (size_t d = 1; d <= radius; d++) {
      float both = *(place - d * step) + *(place + d * step), part = both * taps[d];
      sum = sum + part;
    }
    out[i] = sum;
  }
}

static void gemm_f32_nn(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                        size_t cols, size_t depth, int accumulate, float *out, size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t c = 0; c < cols; c++) {
      float total = 0;
      for (size_t k = 0; k < depth; k++) total = ck_fma(a[row * a_stride + k], b[k * b_stride + c], total);
      float *slot = &out[row * out_stride + c];
      *slot = accumulate ? *slot + total : total;
    }
  }
}

// Source: IEEE 754 binary16. Ties to even; overflow to infinity; a NaN keeps its top bits and becomes quiet.
static uint16_t half_one(float x) {
  uint32_t bits = ck_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 leaves the result in the last ten bits, rounded by the adder.
    float shifted = ck_float(magnitude) + 0.5f;
    return (uint16_t)(sign | (ck_bits(shifted) - 0x3f000000u));
  }
  uint32_t odd = (magnitude >> 13) & 1;
  return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

static float single_one(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  if (magnitude > 0x7c00u) return ck_float(sign | 0x7fc00000u | (magnitude << 13));
  if (magnitude == 0x7c00u) return ck_float(sign | 0x7f800000u);
  if (magnitude < 0x400u) return ck_float(sign | ck_bits((float)magnitude * 0x1p-24f));
  return ck_float(sign | ((magnitude << 13) + 0x38000000u));
}

static void to_half(const float *x, size_t count, uint16_t *out) {
  for (size_t i = 0; i < count; i++) out[i] = half_one(x[i]);
}

static void from_half(const uint16_t *x, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) out[i] = single_one(x[i]);
}

void ck_fill_floats__scalar(ck_table *table);

void ck_fill_floats__scalar(ck_table *table) {
  table->gemm_f32_nt = gemm_f32_nt;
  table->gemm_f32_nn = gemm_f32_nn;
  table->squared_distances = squared_distances;
  table->blur_line = blur_line;
  table->to_half = to_half;
  table->from_half = from_half;
}
