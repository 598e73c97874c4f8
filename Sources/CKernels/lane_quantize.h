// Rows to bytes, and the norm before it, over the sixteen lanes of a path's lanes.h. Same operations in the
// same order as scalar/row_operations.c. Paths whose products take unsigned by signed bytes define ROW_OFFSET
// as 128.
#pragma once

#ifndef ROW_OFFSET
#define ROW_OFFSET 0
#endif

// Values as they are stored: 128 more, as unsigned bytes, is the top bit turned over.
V_INLINE vi row_bytes(vi value) {
#if ROW_OFFSET
  return v_int_flip(value);
#else
  return value;
#endif
}

V_INLINE float quantization_factor(float max, float *scale) {
  if (max < CK_TINY_MAX) {
    *scale = 1.0f;
    return 0.0f;
  }
  *scale = max / 127.0f;
  return 127.0f / max;
}

V_INLINE float largest(const float *x, const float *center, size_t cols) {
  vf max0 = v_set(0), max1 = v_set(0);
  size_t i = 0;
  for (; i + 32 <= cols; i += 32) {
    vf a = v_load(x + i), b = v_load(x + i + 16);
    if (center) {
      a = v_sub(a, v_load(center + i));
      b = v_sub(b, v_load(center + i + 16));
    }
    max0 = v_max(v_abs(v_finite(a)), max0);
    max1 = v_max(v_abs(v_finite(b)), max1);
  }
  for (; i < cols; i += 16) {
    vf a = v_load_to(x + i, cols - i);
    if (center) a = v_sub(a, v_load_to(center + i, cols - i));
    max0 = v_max(v_abs(v_finite(a)), max0);
  }
  return v_maximum(v_max(max0, max1));
}

// One row to bytes; returns the scale and, through `sum`, the sum of the values.
V_INLINE float quantize_row(const float *x, size_t cols, int8_t *q, size_t q_count, int32_t *sum) {
  float scale;
  vf factor = v_set(quantization_factor(largest(x, NULL, cols), &scale));
  vi total = v_int_zero();
  size_t i = 0;
  for (; i + 16 <= cols; i += 16) {
    vi value = v_int(v_mul(v_finite(v_load(x + i)), factor));
    if (sum) total = v_int_add(total, value);
    v_store_bytes(q + i, row_bytes(value));
  }
  if (i < cols) {
    vi value = v_int(v_mul(v_finite(v_load_first(x + i, cols - i)), factor));
    if (sum) total = v_int_add(total, value);
    v_store_bytes_first(q + i, row_bytes(value), cols - i);
  }
  if (q_count > cols) memset(q + cols, ROW_OFFSET, q_count - cols);
  if (sum) *sum = v_int_sum(total);
  return scale;
}

static void quantize_rows(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *q,
                          size_t q_stride, float *scale) {
  for (size_t row = 0; row < rows; row++) {
    scale[row] = quantize_row(x + row * x_stride, cols, q + row * q_stride, q_stride, NULL);
  }
}

// Mean and reciprocal standard deviation of one row.
V_INLINE void moments(const float *x, size_t cols, float eps, vf *mean, vf *inverse) {
  vf sum0 = v_set(0), sum1 = v_set(0);
  for (size_t i = 0; i < cols; i += 32) {
    sum0 = v_add(sum0, v_load_to(x + i, cols - i));
    if (i + 16 < cols) sum1 = v_add(sum1, v_load_to(x + i + 16, cols - i - 16));
  }
  float average = v_sum(v_add(sum0, sum1)) / (float)cols;
  vf m = v_set(average), square0 = v_set(0), square1 = v_set(0);
  size_t i = 0;
  for (; i + 32 <= cols; i += 32) {
    vf a = v_sub(v_load(x + i), m), b = v_sub(v_load(x + i + 16), m);
    square0 = v_fma(a, a, square0);
    square1 = v_fma(b, b, square1);
  }
  if (i < cols) {
    // Lanes past the end must add nothing: give them the mean.
    float tail[32];
    for (size_t j = 0; j < 32; j++) tail[j] = i + j < cols ? x[i + j] : average;
    vf a = v_sub(v_load(tail), m), b = v_sub(v_load(tail + 16), m);
    square0 = v_fma(a, a, square0);
    square1 = v_fma(b, b, square1);
  }
  float variance = v_sum(v_add(square0, square1)) / (float)cols;
  *mean = m;
  *inverse = v_set(1.0f / ck_sqrt(variance + eps));
}

V_INLINE void norm_row(const float *x, size_t cols, const float *gamma, const float *beta, float eps,
                       float *out) {
  vf mean, inverse;
  moments(x, cols, eps, &mean, &inverse);
  size_t i = 0;
  for (; i + 16 <= cols; i += 16) {
    v_store(out + i, v_fma(v_mul(v_sub(v_load(x + i), mean), inverse), v_load(gamma + i), v_load(beta + i)));
  }
  if (i < cols) {
    size_t left = cols - i;
    vf value = v_mul(v_sub(v_load_first(x + i, left), mean), inverse);
    v_store_first(out + i, v_fma(value, v_load_first(gamma + i, left), v_load_first(beta + i, left)), left);
  }
}

static void norm_quantize_rows(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                               const float *beta, float eps, int8_t *q, size_t q_stride, float *scale,
                               float *scratch) {
  for (size_t row = 0; row < rows; row++) {
    norm_row(x + row * x_stride, cols, gamma, beta, eps, scratch);
    scale[row] = quantize_row(scratch, cols, q + row * q_stride, q_stride, NULL);
  }
}
