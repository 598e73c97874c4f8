// Queries by keys to softmax weights on tiles, the vector units turning one block into bytes beside the next
// one's products.
//
//   16 queries (t4, deep heads also t5)  x  4 x 16 keys (t6, t7 in turn)  ->  t0..t3
//
// The sums of four tiles are stored when the next four are multiplied, so that nothing waits for products.
// While tiles are multiplied, and about 100 cycles longer, fused operations run on one of the two 512-bit
// ports: single tiles spread over the rows cost a sixth of all speed.
#pragma once
#include "../lane_softmax.h"
#include "tiles.h"

typedef struct key_tiles {
  const int8_t *weight;  // of the tile to multiply next
  size_t panel_bytes, total, multiplied, stored;
  int32_t *sums[2];  // of alternating blocks
} key_tiles;

#define MULTIPLY_KEYS(TILE, PANEL)                     \
  if (t->multiplied < t->total) {                      \
    _tile_zero(TILE);                                  \
    _tile_stream_loadd(PANEL, t->weight, 64);          \
    _tile_dpbssd(TILE, 4, PANEL);                      \
    if (deep) {                                        \
      _tile_stream_loadd(PANEL, t->weight + 1024, 64); \
      _tile_dpbssd(TILE, 5, PANEL);                    \
    }                                                  \
    t->weight += t->panel_bytes;                       \
    t->multiplied++;                                   \
  }
#define STORE_KEYS(TILE)                                                          \
  if (t->stored < t->multiplied) {                                                \
    _tile_stored(TILE, t->sums[t->stored / 16 % 2] + 256 * (t->stored % 16), 64); \
    t->stored++;                                                                  \
  }

V_INLINE void multiply_keys(key_tiles *t, int deep) {
  MULTIPLY_KEYS(0, 6)
  MULTIPLY_KEYS(1, 7)
  MULTIPLY_KEYS(2, 6)
  MULTIPLY_KEYS(3, 7)
}

V_INLINE void step_keys(key_tiles *t, int deep) {
  STORE_KEYS(0)
  STORE_KEYS(1)
  STORE_KEYS(2)
  STORE_KEYS(3)
  multiply_keys(t, deep);
}

// All blocks of up to 16 rows: before every fourth row of a block becomes bytes, four of the next block's
// tiles start.
V_INLINE void softmax_group(const int deep, const softmax_call *c, const int8_t *q, size_t q_stride,
                            size_t rows, const ck_panels *keys) {
  _Alignas(64) int32_t sums[2][16 * CK_SOFTMAX_BLOCK];
  softmax_keys block;
  key_tiles t = {keys->weight, 16 * keys->depth, (c->key_count + 15) / 16, 0, 0, {sums[0], sums[1]}};
  _tile_loadd(4, q, q_stride);
  if (deep) _tile_loadd(5, q + 64, q_stride);
  multiply_keys(&t, deep);
  while (t.stored < ck_min_size(t.total, 16)) step_keys(&t, deep);
  for (size_t b = 0; b < c->block_count; b++) {
    size_t wanted = ck_min_size(t.total - t.stored, 16), first = t.stored;
    softmax_source source = {NULL, sums[b % 2], 256, keys->scale + b * CK_SOFTMAX_BLOCK, NULL, 0};
    softmax_enter(c, b, &block);
    softmax_prepare(c, 0, &block);
    if (rows > 1) softmax_prepare(c, 1, &block);
    softmax_first(c, 0, &block, source, 1);
    for (size_t r = 0; r < rows; r++) {
      while (r % 4 == 0 && t.stored - first < wanted && (t.stored - first) * rows < (r + 4) * 16)
        step_keys(&t, deep);
      source.sums += 16;
      if (r + 2 < rows) softmax_prepare(c, r + 2, &block);
      if (r + 1 < rows) softmax_first(c, r + 1, &block, source, 1);
      softmax_second(c, r, &block);
    }
  }
}

static void softmax_weights_tiles(const ck_table *self, const int8_t *q, size_t q_stride,
                                  const float *q_scale, size_t rows, const ck_panels *keys, size_t key_count,
                                  float factor, const float *bias_h, const float *bias_w, size_t grid_w,
                                  int8_t *weights, size_t weight_stride, float *scale, float *part,
                                  size_t block_count, float *row_sum) {
  if (keys->depth > 128) {
    softmax_weights(self, q, q_stride, q_scale, rows, keys, key_count, factor, bias_h, bias_w, grid_w,
                    weights, weight_stride, scale, part, block_count, row_sum);
    return;
  }
  float wide[16][SOFTMAX_WIDE];
  size_t grid_h = bias_h ? key_count / grid_w : 0, shaped = 0;
  softmax_call all = {q_scale, key_count,     factor, bias_h, grid_h,      grid_w,
                      weights, weight_stride, scale,  part,   block_count, wide};
  for (size_t row = 0; row < rows; row += 16) {
    size_t group = ck_min_size(rows - row, 16);
    if (group != shaped) set_shapes(group, group);
    shaped = group;
    softmax_call call = softmax_group_call(all, row, group, bias_w);
    if (keys->depth > 64) softmax_group(1, &call, q + row * q_stride, q_stride, group, keys);
    else softmax_group(0, &call, q + row * q_stride, q_stride, group, keys);
    for (size_t r = row; r < row + group; r++) {
      row_sum[r] = softmax_finish(scale + r * block_count, part + r * block_count, block_count);
    }
  }
  _tile_release();
}
