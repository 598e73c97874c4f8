// Row operations in plain C: the definition, and the order of every sum. Sums over a row run in 32 lanes,
// lane i taking elements i, i + 32, ...; then lanes fold 32 -> 16 -> 8 -> 4 -> 2 -> 1, upper half onto lower.
// The vector paths keep that order, so their sums agree bit for bit.
#include "../internal.h"
#include "elements.h"

static float fold(float lane[32]) {
  for (size_t half = 16; half > 0; half /= 2) {
    for (size_t i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
  }
  return lane[0];
}

// The factor of quantization, and through `scale` its inverse; a factor of 0 marks an all-zero row.
static float quantization_factor(float max, float *scale) {
  if (max < CK_TINY_MAX) {
    *scale = 1.0f;
    return 0.0f;
  }
  *scale = max / 127.0f;
  return 127.0f / max;
}

static int8_t quantize_one(float x, float factor) { return (int8_t)ck_round(ck_finite(x) * factor); }

static float quantize_row(const float *x, size_t cols, int8_t *q, size_t q_count) {
  float max = 0, scale;
  for (size_t i = 0; i < cols; i++) {
    float magnitude = ck_abs(ck_finite(x[i]));
    max = magnitude > max ? magnitude : max;
  }
  float factor = quantization_factor(max, &scale);
  for (size_t i = 0; i < cols; i++) q[i] = quantize_one(x[i], factor);
  for (size_t i = cols; i < q_count; i++) q[i] = 0;
  return scale;
}

static void quantize_rows(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *q,
                          size_t q_stride, float *scale) {
  for (size_t row = 0; row < rows; row++) {
    scale[row] = quantize_row(x + row * x_stride, cols, q + row * q_stride, q_stride);
  }
}

static void norm_row(const float *x, size_t cols, const float *gamma, const float *beta, float eps,
                     float *out) {
  float lane[32] = {0};
  for (size_t i = 0; i < cols; i++) lane[i % 32] = lane[i % 32] + x[i];
  float mean = fold(lane) / (float)cols;
  float square[32] = {0};
  for (size_t i = 0; i < cols; i++) {
    float d = x[i] - mean;
    square[i % 32] = ck_fma(d, d, square[i % 32]);
  }
  float variance = fold(square) / (float)cols;
  float inverse = 1.0f / ck_sqrt(variance + eps);
  for (size_t i = 0; i < cols; i++) out[i] = ck_fma((x[i] - mean) * inverse, gamma[i], beta[i]);
}

static void norm_rows(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                      const float *beta, float eps, float *out, size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    norm_row(x + row * x_stride, cols, gamma, beta, eps, out + row * out_stride);
  }
}

static void norm_quantize_rows(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                               const float *beta, float eps, int8_t *q, size_t q_stride, float *scale,
                               float *scratch) {
  for (size_t row = 0; row < rows; row++) {
    norm_row(x + row * x_stride, cols, gamma, beta, eps, scratch);
    scale[row] = quantize_row(scratch, cols, q + row * q_stride, q_stride);
  }
}

static void pack_rows(const float *x, size_t x_stride, size_t rows, size_t row_begin, size_t row_end,
                      size_t cols, const float *center, int8_t *weight, float *scale, int32_t *sum,
                      size_t depth) {
  size_t last = (row_end + 15) / 16 * 16;
  for (size_t row = row_begin; row < last; row++) {
    const float *source = x + row * x_stride;
    int8_t *channel = weight + (row / 16) * 16 * depth + (row % 16) * 4;
    size_t used = row < rows && row < row_end ? cols : 0;
    float max = 0, factor;
    for (size_t k = 0; k < used; k++) {
      float magnitude = ck_abs(ck_finite(center ? source[k] - center[k] : source[k]));
      max = magnitude > max ? magnitude : max;
    }
    factor = quantization_factor(max, &scale[row]);
    int32_t total = 0;
    for (size_t k = 0; k < depth; k++) {
      int8_t value = k < used ? quantize_one(center ? source[k] - center[k] : source[k], factor) : 0;
      channel[(k / 4) * 64 + k % 4] = value;
      total += value;
    }
    sum[row] = total;
  }
}

static void pack_columns(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *weight,
                         float *scale, int32_t *sum, size_t depth) {
  for (size_t column = 0; column < (cols + 15) / 16 * 16; column++) {
    int8_t *channel = weight + (column / 16) * 16 * depth + (column % 16) * 4;
    size_t used = column < cols ? rows : 0;
    float max = 0;
    for (size_t k = 0; k < used; k++) {
      float magnitude = ck_abs(ck_finite(x[k * x_stride + column]));
      max = magnitude > max ? magnitude : max;
    }
    float factor = quantization_factor(max, &scale[column]);
    int32_t total = 0;
    for (size_t k = 0; k < depth; k++) {
      int8_t value = k < used ? quantize_one(x[k * x_stride + column], factor) : 0;
      channel[(k / 4) * 64 + k % 4] = value;
      total += value;
    }
    sum[column] = total;
  }
}

static void exp_rows(float *logits, size_t stride, size_t rows, size_t keys, float factor,
                     const float *bias_h, const float *bias_w, size_t grid_w, float *row_sum) {
  size_t grid_h = bias_h ? keys / grid_w : 0;
  for (size_t row = 0; row < rows; row++) {
    float *x = logits + row * stride;
    float max = -__builtin_inff();
    for (size_t k = 0; k < keys; k++) {
      float value =
          bias_h ? ck_fma(x[k], factor, bias_h[row * grid_h + k / grid_w]) + bias_w[row * grid_w + k % grid_w]
                 : x[k] * factor;
      x[k] = value;
      max = value > max ? value : max;
    }
    float lane[32] = {0};
    for (size_t k = 0; k < keys; k++) {
      x[k] = ck_exp_one(x[k] - max);
      lane[k % 32] = lane[k % 32] + x[k];
    }
    row_sum[row] = fold(lane);
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
      float *block_scale = &scale[row * block_count + b];
      *block_scale = quantize_row(p + row * stride + begin, end - begin, target + begin,
                                  fill > begin ? fill - begin : 0);
      int32_t sum = 0;
      for (size_t k = begin; k < end; k++) sum += target[k];
      float part = (float)sum * *block_scale;
      total = total + part;
    }
    size_t written = ck_min_size(block_count * block, q_stride);
    for (size_t k = written; k < q_stride; k++) target[k] = 0;
    row_sum[row] = total;
  }
}

static void masked_add(const float *p, size_t p_stride, const float *cosine, size_t cosine_stride,
                       size_t rows, size_t keys, const float *factor, const float *threshold, float *sum,
                       size_t sum_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t k = 0; k < keys; k++) {
      float *slot = &sum[row * sum_stride + k];
      if (cosine[row * cosine_stride + k] > threshold[row]) {
        *slot = ck_fma(p[row * p_stride + k], factor[row], *slot);
      }
    }
  }
}

static void activate(float *x, size_t count, ck_activation activation) {
  for (size_t i = 0; i < count; i++) x[i] = ck_activate_one(x[i], activation);
}

void ck_fill_floats__scalar(ck_table *table);
void ck_fill_softmax__scalar(ck_table *table);

void ck_fill_rows__scalar(ck_table *table) {
  table->quantize_rows = quantize_rows;
  table->norm_rows = norm_rows;
  table->norm_quantize_rows = norm_quantize_rows;
  table->pack_rows = pack_rows;
  table->pack_columns = pack_columns;
  table->exp_rows = exp_rows;
  table->quantize_blocks = quantize_blocks;
  table->masked_add = masked_add;
  table->activate = activate;
  ck_fill_floats__scalar(table);
  ck_fill_softmax__scalar(table);
}
