// Softmax weights in plain C: the definition, and the order of every operation that lane_softmax.h repeats.
#include "../internal.h"
#include "elements.h"

// 127 * 2^d as a byte; d <= 0.
static int8_t weight_one(float d) {
  d = d > CK_POWER_LOWEST ? d : CK_POWER_LOWEST;
  float n = ck_round(d);
  float r = d - n;
  float p = ck_fma(ck_power_coefficients[3], r, ck_power_coefficients[2]);
  p = ck_fma(p, r, ck_power_coefficients[1]);
  p = ck_fma(p, r, ck_power_coefficients[0]);
  return (int8_t)ck_round(ck_float(ck_bits(p) + ((uint32_t)(int32_t)n << 23)));
}

// One row's block: logits (products times key scales) to bytes; returns their sum and, through `top`, the
// maximum.
static float weigh_block(float *y, size_t count, float factor, const float *bias_h, const float *bias_w,
                         size_t grid_w, size_t begin, int8_t *weights, float *top) {
  for (size_t k = 0; k < count; k++) {
    float bias = 0;
    if (bias_h) {
      float wide = bias_w[(begin + k) % grid_w] * CK_LOG2E;
      float high = bias_h[(begin + k) / grid_w] * CK_LOG2E;
      bias = wide + high;
    }
    y[k] = ck_fma(y[k], factor, bias);
  }
  float most = y[0];
  for (size_t k = 1; k < count; k++) most = y[k] > most ? y[k] : most;
  int32_t total = 0;
  for (size_t k = 0; k < count; k++) {
    weights[k] = weight_one(y[k] - most);
    total += weights[k];
  }
  for (size_t k = count; k % 64 != 0; k++) weights[k] = 0;
  *top = most;
  return (float)total;
}

static float finish_row(float *scale, const float *part, size_t block_count) {
  float lane[16] = {0}, m = scale[0];
  for (size_t b = 1; b < block_count; b++) m = scale[b] > m ? scale[b] : m;
  for (size_t b = 0; b < block_count; b++) {
    float distance = scale[b] - m;
    scale[b] = ck_exp_one(distance * CK_LN2);
    float share = scale[b] * part[b];
    lane[b % 16] = lane[b % 16] + share;
  }
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
  }
  return lane[0];
}

static void softmax_weights(const ck_table *self, const int8_t *q, size_t q_stride, const float *q_scale,
                            size_t rows, const ck_panels *keys, size_t key_count, float factor,
                            const float *bias_h, const float *bias_w, size_t grid_w, int8_t *weights,
                            size_t weight_stride, float *scale, float *part, size_t block_count,
                            float *row_sum) {
  float y[CK_SOFTMAX_BLOCK], one = 1.0f;
  ck_epilogue plain = {CK_ACTIVATION_NONE, 0};
  size_t grid_h = bias_h ? key_count / grid_w : 0;
  for (size_t row = 0; row < rows; row++) {
    float slope = q_scale[row] * (factor * CK_LOG2E);
    for (size_t b = 0; b < block_count; b++) {
      size_t begin = b * CK_SOFTMAX_BLOCK, count = ck_min_size(key_count - begin, CK_SOFTMAX_BLOCK);
      size_t panel = begin / 16, panel_end = panel + (count + 15) / 16, at = row * block_count + b;
      self->gemm_s8(q + row * q_stride, q_stride, &one, 1, keys, panel, panel_end, begin + count, &plain, y,
                    CK_SOFTMAX_BLOCK);
      part[at] = weigh_block(y, count, slope, bias_h ? bias_h + row * grid_h : NULL,
                             bias_h ? bias_w + row * grid_w : NULL, grid_w, begin,
                             weights + row * weight_stride + begin, &scale[at]);
    }
    row_sum[row] = finish_row(scale + row * block_count, part + row * block_count, block_count);
  }
}

void ck_fill_softmax__scalar(ck_table *table) { table->softmax_weights = softmax_weights; }
