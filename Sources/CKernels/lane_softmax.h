// Softmax weights over the sixteen lanes of a path's lanes.h: a block of a row's logits stays in the first
// cache from the integer sums to the stored bytes. Same operations in the same order as
// scalar/softmax_weights.c.
//
//   sums or products -> y (16 vectors) -> top = max -> 127 * 2^(y - top) -> 256 bytes, their sum
#pragma once

enum { SOFTMAX_VECTORS = CK_SOFTMAX_BLOCK / 16, SOFTMAX_WIDE = CK_SOFTMAX_GRID + 16 };

#define SOFTMAX_LOWEST -3e38f

// Where a row's logits come from. Exactly one of `products` (float, already times the key scales) and `sums`
// (integers of one tile after the other, `sum_step` apart) is given.
typedef struct softmax_source {
  const float *products;
  const int32_t *sums;
  size_t sum_step;
  const float *key_scale;
  const float *bias;  // of this block's keys, times log2 e, or NULL
  float factor;       // times log2 e
} softmax_source;

V_INLINE vf softmax_logit(const softmax_source *s, size_t j, int integer, vf bias) {
  vf t = integer ? v_mul(v_float(v_load_ints(s->sums + j * s->sum_step)), v_load(s->key_scale + 16 * j))
                 : v_load(s->products + 16 * j);
  return v_fma(t, v_set(s->factor), bias);
}

V_INLINE vi softmax_byte(vf y, vf top) {
  vf power, r = v_fraction(v_sub(y, top), &power);
  vf p = v_fma(v_set(ck_power_coefficients[3]), r, v_set(ck_power_coefficients[2]));
  p = v_fma(p, r, v_set(ck_power_coefficients[1]));
  p = v_fma(p, r, v_set(ck_power_coefficients[0]));
  return v_int(v_times_power(p, power));
}

// Logits of `count` keys, up to a multiple of 16 filled with the lowest; returns their maximum.
V_INLINE float softmax_logits(const softmax_source *s, size_t count, int integer, int biased, float *y) {
  vf even = v_set(SOFTMAX_LOWEST), odd = even;
  size_t k = 0;
  for (; k + 32 <= count; k += 32) {
    vf a = softmax_logit(s, k / 16, integer, biased ? v_load(s->bias + k) : v_set(0));
    vf b = softmax_logit(s, k / 16 + 1, integer, biased ? v_load(s->bias + k + 16) : v_set(0));
    v_store(y + k, a);
    v_store(y + k + 16, b);
    even = v_max(a, even);
    odd = v_max(b, odd);
  }
  for (; k < count; k += 16) {
    vf a = v_first_or(softmax_logit(s, k / 16, integer, biased ? v_load(s->bias + k) : v_set(0)),
                      v_set(SOFTMAX_LOWEST), count - k);
    v_store(y + k, a);
    even = v_max(a, even);
  }
  return v_maximum(v_max(even, odd));
}

// The same where vectors never cross the end of a grid row: biases are added as they are read, and not stored
// before.
V_INLINE float softmax_grid_logits(const softmax_source *s, size_t count, int integer, const float *bias_h,
                                   const float *wide, size_t grid_w, size_t w, float *y) {
  vf highest = v_set(SOFTMAX_LOWEST);
  for (size_t k = 0; k < count; bias_h++, w = 0) {
    vf vertical = v_set(*bias_h * CK_LOG2E);
    for (size_t end = k + ck_min_size(grid_w - w, count - k); k < end; k += 16, w += 16) {
      vf a = softmax_logit(s, k / 16, integer, v_add(v_load(wide + w), vertical));
      v_store(y + k, a);
      highest = v_max(a, highest);
    }
  }
  return v_maximum(highest);
}

// Logits to bytes; returns the sum of the bytes.
V_INLINE float softmax_bytes(const float *y, size_t count, float top, int8_t *weights) {
  vf highest = v_set(top);
  vi total = v_int_zero(), four[4];
  size_t k = 0;
  for (; k + 48 < count; k += 64) {
    V_EACH4 four[j] = softmax_byte(v_load(y + k + 16 * j), highest);
    total = v_store_64_bytes(weights + k, total, four[0], four[1], four[2], four[3]);
  }
  if (k < count) {
    V_EACH4 four[j] =
        k + 16 * (size_t)j < count ? softmax_byte(v_load(y + k + 16 * j), highest) : v_int_zero();
    total = v_store_64_bytes(weights + k, total, four[0], four[1], four[2], four[3]);
  }
  return (float)v_int_sum(total);
}

// A row's horizontal bias times log2 e, with room for whole vectors behind it.
V_INLINE void softmax_wide(const float *bias_w, size_t grid_w, float wide[SOFTMAX_WIDE]) {
  for (size_t k = 0; k < grid_w; k += 16) {
    v_store(wide + k, v_mul(v_load_to(bias_w + k, grid_w - k), v_set(CK_LOG2E)));
  }
}

// Both biases of `count` keys, the first one at column w of the grid row that bias_h stands at; up to 16
// floats behind them are overwritten.
V_INLINE void softmax_bias(const float *bias_h, const float *wide, size_t grid_w, size_t w, size_t count,
                           float *out) {
  for (size_t k = 0; k < count; bias_h++, w = 0) {
    size_t length = ck_min_size(grid_w - w, count - k);
    vf vertical = v_set(*bias_h * CK_LOG2E);
    const float *from = wide + w;
    float *to = out + k, *end = to + length;
    do {
      v_store(to, v_add(v_load(from), vertical));
      from += 16;
      to += 16;
    } while (to < end);
    k += length;
  }
}

// Tops to scales, and the row's sum of what its weights stand for.
V_INLINE float softmax_finish(float *scale, const float *part, size_t block_count) {
  if (block_count == 1) {
    scale[0] = 1;
    return part[0];
  }
  float m = scale[0];
  for (size_t b = 1; b < block_count; b++) m = scale[b] > m ? scale[b] : m;
  vf total = v_set(0);
  for (size_t b = 0; b < block_count; b += 16) {
    size_t left = block_count - b;
    vf top = left < 16 ? v_first_or(v_load_first(scale + b, left), v_set(m), left) : v_load(scale + b);
    vf power = v_exp(v_mul(v_sub(top, v_set(m)), v_set(CK_LN2)));
    v_store_to(scale + b, power, left);
    total = v_add(total, v_mul(power, v_load_to(part + b, left)));
  }
  return v_sum(total);
}

// Softmax of some rows against some keys: what every block of it shares.
typedef struct softmax_call {
  const float *q_scale;
  size_t key_count;
  float factor;
  const float *bias_h;  // or NULL, and then `wide` is not read
  size_t grid_h, grid_w;
  int8_t *weights;
  size_t weight_stride;
  float *scale, *part;
  size_t block_count;
  float (*wide)[SOFTMAX_WIDE];
} softmax_call;

// The same for `group` rows from `row` on; `bias_w` are all rows', `wide` takes the group's.
V_INLINE softmax_call softmax_group_call(softmax_call all, size_t row, size_t group, const float *bias_w) {
  all.q_scale += row;
  all.weights += row * all.weight_stride;
  all.scale += row * all.block_count;
  all.part += row * all.block_count;
  if (!all.bias_h) return all;
  all.bias_h += row * all.grid_h;
  for (size_t r = 0; r < group; r++) softmax_wide(bias_w + (row + r) * all.grid_w, all.grid_w, all.wide[r]);
  return all;
}

// One block of keys, and buffers of its rows: rows overlap in time, so each kind exists twice.
typedef struct softmax_keys {
  size_t block, count, h, w;  // the first key's place on the grid
  _Alignas(64) float y[2][CK_SOFTMAX_BLOCK];
  _Alignas(64) float bias[2][CK_SOFTMAX_BLOCK + 16];
} softmax_keys;

V_INLINE void softmax_enter(const softmax_call *c, size_t b, softmax_keys *keys) {
  size_t begin = b * CK_SOFTMAX_BLOCK;
  keys->block = b;
  keys->count = ck_min_size(c->key_count - begin, CK_SOFTMAX_BLOCK);
  keys->h = begin / c->grid_w;
  keys->w = begin % c->grid_w;
}

// Row r's biases, well before they are read: loads that span several fresh stores have to wait for them.
V_INLINE void softmax_prepare(const softmax_call *c, size_t r, softmax_keys *keys) {
  if (!c->bias_h || c->grid_w % 16 == 0) return;
  softmax_bias(c->bias_h + r * c->grid_h + keys->h, c->wide[r], c->grid_w, keys->w, keys->count,
               keys->bias[r % 2]);
}

// Row r's logits, their maximum into scale.
V_INLINE void softmax_first(const softmax_call *c, size_t r, softmax_keys *keys, softmax_source s,
                            int integer) {
  float *y = keys->y[r % 2], *top = c->scale + r * c->block_count + keys->block;
  s.bias = keys->bias[r % 2];
  s.factor = c->q_scale[r] * (c->factor * CK_LOG2E);
  if (c->bias_h && c->grid_w % 16 == 0) {
    const float *bias_h = c->bias_h + r * c->grid_h + keys->h;
    *top = softmax_grid_logits(&s, keys->count, integer, bias_h, c->wide[r], c->grid_w, keys->w, y);
    return;
  }
  *top = c->bias_h ? softmax_logits(&s, keys->count, integer, 1, y)
                   : softmax_logits(&s, keys->count, integer, 0, y);
}

// Row r's bytes.
V_INLINE void softmax_second(const softmax_call *c, size_t r, const softmax_keys *keys) {
  size_t at = r * c->block_count + keys->block;
  int8_t *weights = c->weights + r * c->weight_stride + keys->block * CK_SOFTMAX_BLOCK;
  c->part[at] = softmax_bytes(keys->y[r % 2], keys->count, c->scale[at], weights);
}

// A few rows at a time: their products with one block of keys stay in the first cache. A row's maximum is
// found one row ahead of its use: folding sixteen lanes takes long, and nobody has to wait for it then.
static inline void softmax_weights(const ck_table *self, const int8_t *q, size_t q_stride,
                                   const float *q_scale, size_t rows, const ck_panels *keys, size_t key_count,
                                   float factor, const float *bias_h, const float *bias_w, size_t grid_w,
                                   int8_t *weights, size_t weight_stride, float *scale, float *part,
                                   size_t block_count, float *row_sum) {
  _Alignas(64) float products[CK_SOFTMAX_ROWS * CK_SOFTMAX_BLOCK];
  softmax_keys block;
  float wide[CK_SOFTMAX_ROWS][SOFTMAX_WIDE], ones[CK_SOFTMAX_ROWS];
  ck_epilogue plain = {CK_ACTIVATION_NONE, 0};
  size_t grid_h = bias_h ? key_count / grid_w : 0;
  softmax_call all = {q_scale, key_count,     factor, bias_h, grid_h,      grid_w,
                      weights, weight_stride, scale,  part,   block_count, wide};
  for (size_t r = 0; r < CK_SOFTMAX_ROWS; r++) ones[r] = 1.0f;
  for (size_t row = 0; row < rows; row += CK_SOFTMAX_ROWS) {
    size_t group = ck_min_size(rows - row, CK_SOFTMAX_ROWS);
    softmax_call call = softmax_group_call(all, row, group, bias_w);
    for (size_t b = 0; b < block_count; b++) {
      size_t panel = b * SOFTMAX_VECTORS;
      size_t panel_end = ck_min_size(panel + SOFTMAX_VECTORS, (key_count + 15) / 16);
      self->gemm_s8(q + row * q_stride, q_stride, ones, group, keys, panel, panel_end, 16 * panel_end, &plain,
                    products, CK_SOFTMAX_BLOCK);
      softmax_source source = {products, NULL, 0, NULL, NULL, 0};
      softmax_enter(&call, b, &block);
      softmax_prepare(&call, 0, &block);
      if (group > 1) softmax_prepare(&call, 1, &block);
      softmax_first(&call, 0, &block, source, 0);
      for (size_t r = 0; r < group; r++) {
        source.products += CK_SOFTMAX_BLOCK;
        if (r + 2 < group) softmax_prepare(&call, r + 2, &block);
        if (r + 1 < group) softmax_first(&call, r + 1, &block, source, 0);
        softmax_second(&call, r, &block);
      }
    }
    for (size_t r = row; r < row + group; r++) {
      row_sum[r] = softmax_finish(scale + r * block_count, part + r * block_count, block_count);
    }
  }
}
