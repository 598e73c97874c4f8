// Every row operation once, over the sixteen lanes of a path's lanes.h. Same operations in the same order as
// scalar/row_operations.c: sums over a row run in 32 lanes (two vectors), then fold by halves, so that
// results agree bit for bit and never depend on how many rows a call has.
#pragma once

#include "lane_quantize.h"

static void norm_rows(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                      const float *beta, float eps, float *out, size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    norm_row(x + row * x_stride, cols, gamma, beta, eps, out + row * out_stride);
  }
}

// Four rows at a time: their bytes of one depth group lie side by side.
static void pack_rows(const float *x, size_t x_stride, size_t rows, size_t row_begin, size_t row_end,
                      size_t cols, const float *center, int8_t *weight, float *scale, int32_t *sum,
                      size_t depth) {
  size_t last = (row_end + 15) / 16 * 16, end = ck_min_size(rows, row_end);
  for (size_t row = row_begin; row < last; row += 4) {
    const float *source[4];
    size_t used[4];
    vf factor[4];
    vi total[4], q[4];
    V_EACH4 {
      size_t at = row + (size_t)j;
      used[j] = at < end ? cols : 0;
      source[j] = at < end ? x + at * x_stride : x;
      factor[j] = v_set(quantization_factor(largest(source[j], center, used[j]), &scale[at]));
      total[j] = v_int_zero();
    }
    int8_t *panel = weight + (row / 16) * 16 * depth + (row % 16) * 4;
    for (size_t k = 0; k < depth; k += 16) {
      V_EACH4 {
        q[j] = v_int_zero();
        if (k >= used[j]) continue;
        vf value = v_load_to(source[j] + k, cols - k);
        if (center) value = v_sub(value, v_load_to(center + k, cols - k));
        q[j] = v_int(v_mul(v_finite(value), factor[j]));
        total[j] = v_int_add(total[j], q[j]);
      }
      v_store_groups(panel + k * 16, q);
    }
    V_EACH4 sum[row + (size_t)j] = v_int_sum(total[j]);
  }
}

static void pack_columns(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *weight,
                         float *scale, int32_t *sum, size_t depth) {
  for (size_t column = 0; column < cols; column += 16) {
    size_t left = cols - column;
    vf max = v_set(0);
    for (size_t k = 0; k < rows; k++)
      max = v_max(v_abs(v_finite(v_load_to(x + k * x_stride + column, left))), max);
    float factors[16];
    v_store(factors, max);
    for (size_t c = 0; c < 16; c++) factors[c] = quantization_factor(factors[c], &scale[column + c]);
    vf factor = v_load(factors);
    vi total = v_int_zero();
    int8_t *panel = weight + column * depth;
    for (size_t k = 0; k < depth; k += 4) {
      vi q[4];
      for (size_t b = 0; b < 4; b++) {
        q[b] = v_int_zero();
        if (k + b >= rows) continue;
        q[b] = v_int(v_mul(v_finite(v_load_to(x + (k + b) * x_stride + column, left)), factor));
        total = v_int_add(total, q[b]);
      }
      v_store_interleaved(panel + k * 16, q[0], q[1], q[2], q[3]);
    }
    v_store_ints(sum + column, total);
  }
}

// Scales and biases logits in place, returns their maximum.
V_INLINE float shift_row(float *x, size_t keys, vf factor, const float *bias_h, const float *bias_w,
                         size_t grid_w) {
  vf low = v_set(-__builtin_inff()), max = low, max1 = low;
  if (!bias_h) {
    size_t k = 0;
    for (; k + 32 <= keys; k += 32) {
      vf a = v_mul(v_load(x + k), factor), b = v_mul(v_load(x + k + 16), factor);
      v_store(x + k, a);
      v_store(x + k + 16, b);
      max = v_max(a, max);
      max1 = v_max(b, max1);
    }
    max = v_max(max, max1);
    for (; k + 16 <= keys; k += 16) {
      vf value = v_mul(v_load(x + k), factor);
      v_store(x + k, value);
      max = v_max(value, max);
    }
    float most = v_maximum(max);
    if (k < keys) v_store_first(x + k, v_mul(v_load_first(x + k, keys - k), factor), keys - k);
    for (; k < keys; k++) most = x[k] > most ? x[k] : most;
    return most;
  }
  for (size_t h = 0; h < keys / grid_w; h++) {
    vf bias = v_set(bias_h[h]);
    float *line = x + h * grid_w;
    size_t k = 0;
    for (; k + 16 <= grid_w; k += 16) {
      vf value = v_add(v_fma(v_load(line + k), factor, bias), v_load(bias_w + k));
      v_store(line + k, value);
      max = v_max(value, max);
    }
    if (k < grid_w) {
      size_t left = grid_w - k;
      vf value = v_add(v_fma(v_load_first(line + k, left), factor, bias), v_load_first(bias_w + k, left));
      v_store_first(line + k, value, left);
      max = v_max(v_first_or(value, low, left), max);
    }
  }
  return v_maximum(max);
}

static void exp_rows(float *logits, size_t stride, size_t rows, size_t keys, float factor,
                     const float *bias_h, const float *bias_w, size_t grid_w, float *row_sum) {
  size_t grid_h = bias_h ? keys / grid_w : 0;
  for (size_t row = 0; row < rows; row++) {
    float *x = logits + row * stride;
    vf max = v_set(shift_row(x, keys, v_set(factor), bias_h ? bias_h + row * grid_h : NULL,
                             bias_h ? bias_w + row * grid_w : NULL, grid_w));
    vf sum0 = v_set(0), sum1 = v_set(0);
    size_t k = 0;
    for (; k + 32 <= keys; k += 32) {
      vf a = v_exp(v_sub(v_load(x + k), max)), b = v_exp(v_sub(v_load(x + k + 16), max));
      v_store(x + k, a);
      v_store(x + k + 16, b);
      sum0 = v_add(sum0, a);
      sum1 = v_add(sum1, b);
    }
    for (size_t half = 0; k < keys; k += 16, half++) {
      size_t left = ck_min_size(keys - k, 16);
      vf value = v_exp(v_sub(v_load_to(x + k, left), max));
      v_store_to(x + k, value, left);
      value = v_first_or(value, v_set(0), left);
      if (half) sum1 = v_add(sum1, value);
      else sum0 = v_add(sum0, value);
    }
    row_sum[row] = v_sum(v_add(sum0, sum1));
  }
}

static void quantize_blocks(const float *p, size_t stride, size_t rows, size_t keys, size_t block, int8_t *q,
                            size_t q_stride, float *scale, size_t block_count, float *row_sum) {
  for (size_t row = 0; row < rows; row++) {
    float total = 0;
    int8_t *target = q + row * q_stride;
    for (size_t b = 0; b < block_count; b++) {
      size_t begin = ck_min_size(b * block, keys), end = ck_min_size(begin + block, keys);
      size_t fill = ck_min_size((b + 1) * block, q_stride);
      int32_t sum;
      float block_scale = quantize_row(p + row * stride + begin, end - begin, target + begin,
                                       fill > begin ? fill - begin : 0, &sum);
      scale[row * block_count + b] = block_scale;
      float part = (float)sum * block_scale;
      total = total + part;
    }
    size_t written = ck_min_size(block_count * block, q_stride);
    memset(target + written, 0, q_stride - written);
    row_sum[row] = total;
  }
}

static void masked_add(const float *p, size_t p_stride, const float *cosine, size_t cosine_stride,
                       size_t rows, size_t keys, const float *factor, const float *threshold, float *sum,
                       size_t sum_stride) {
  for (size_t row = 0; row < rows; row++) {
    const float *x = p + row * p_stride, *c = cosine + row * cosine_stride;
    float *s = sum + row * sum_stride;
    vf f = v_set(factor[row]), t = v_set(threshold[row]);
    size_t k = 0;
    for (; k + 16 <= keys; k += 16)
      v_store(s + k, v_fma_where(v_load(c + k), t, v_load(x + k), f, v_load(s + k)));
    if (k < keys) {
      size_t left = keys - k;
      vf value =
          v_fma_where(v_load_first(c + k, left), t, v_load_first(x + k, left), f, v_load_first(s + k, left));
      v_store_first(s + k, value, left);
    }
  }
}

static void activate(float *x, size_t count, ck_activation activation) {
  if (activation == CK_ACTIVATION_NONE) return;
  size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    vf four[4];
    V_EACH4 four[j] = v_load(x + i + 16 * j);
    v_activate4(four, activation);
    V_EACH4 v_store(x + i + 16 * j, four[j]);
  }
  for (; i < count; i += 16) {
    vf four[4];
    V_EACH4 four[j] = v_load_to(x + i, count - i);
    v_activate4(four, activation);
    v_store_to(x + i, four[0], count - i);
  }
}
