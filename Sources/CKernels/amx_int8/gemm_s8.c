// INT8 product with tdpbssd: 2 x 2 tiles of 16 rows x 16 channels, 64 depth a step.
//
//                       panel p    panel p+1             tiles 0..3: int32 sums
//   rows  0..15 (t4)      t0         t1                  tiles 4, 5: 16 rows x 64 bytes of a
//   rows 16..31 (t5)      t2         t3                  tiles 6, 7: 16 depth groups x 16 channels x 4 bytes:
//                        (t6)       (t7)                 1 KiB of a panel as it is stored
//
// Signed by signed: no offset. A tile's sums go through 4 KiB of memory; turning them into floats (scale,
// bias, activation) is interleaved with the next tile's products, since the tile unit works beside the vector
// units.
#include "../internal.h"

#if CK_X86
#if defined(__clang__)
#pragma clang attribute push(                                                                            \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8")
#endif
#include "../avx512_vnni/lanes.h"
#include "../lane_functions.h"
#include "tiles.h"
#include "softmax_tiles.h"

enum { CHUNK_BYTES = 1024 * 1024 };  // panels walked by all rows before the next ones: half the second cache

// Sums on their way to being stored: `done` of `total` quads, a quad being two rows by two panels.
typedef struct pending {
  const int32_t *sums;  // [32][32]
  v_target target;
  size_t rows, done, total;
} pending;

static inline __attribute__((always_inline)) void finish_quad(pending *p) {
  const v_target *target = &p->target;
  size_t row = p->done * 2, second = row + 1 < p->rows ? row + 1 : row;
  const int32_t *upper = p->sums + row * 32, *lower = p->sums + second * 32;
  vf scale0 = v_load(target->scale), bias0 = v_set(0), scale1 = scale0, bias1 = bias0;
  int wide = target->channels > 16;
  if (wide) scale1 = v_load(target->scale + 16);
  vf row0 = v_set(target->a_scale[row * target->a_scale_stride]),
     row1 = v_set(target->a_scale[second * target->a_scale_stride]);
  vf x[4] = {v_mul(v_float(_mm512_load_si512(upper)), v_mul(row0, scale0)),
             v_mul(v_float(_mm512_load_si512(upper + 16)), v_mul(row0, scale1)),
             v_mul(v_float(_mm512_load_si512(lower)), v_mul(row1, scale0)),
             v_mul(v_float(_mm512_load_si512(lower + 16)), v_mul(row1, scale1))};
  if (target->bias) {
    bias0 = v_load(target->bias);
    if (wide) bias1 = v_load(target->bias + 16);
    x[0] = v_add(x[0], bias0);
    x[1] = v_add(x[1], bias1);
    x[2] = v_add(x[2], bias0);
    x[3] = v_add(x[3], bias1);
  }
  v_activate4(x, target->epilogue.activation);
  p->done++;
  if (target->channels >= 32 && !target->epilogue.accumulate) {
    float *slot = target->out + row * target->out_stride;
    v_store(slot, x[0]);
    v_store(slot + 16, x[1]);
    if (second == row) return;
    slot += target->out_stride;
    v_store(slot, x[2]);
    v_store(slot + 16, x[3]);
    return;
  }
  v_put(target, row, 0, x[0]);
  v_put(target, row, 16, x[1]);
  if (second == row) return;
  v_put(target, second, 0, x[2]);
  v_put(target, second, 16, x[3]);
}

// Where a block's operands are: `steps` times 64 depth of up to 32 rows and 2 panels. `carried`: sums already
// holds the part from shallower depth.
typedef struct operands {
  const int8_t *a;
  size_t a_stride;
  const int8_t *weight;
  size_t panel_stride;
  size_t steps;
  int carried;
} operands;

// Multiplies one block into `sums`, finishing `p` on the way. Panels are loaded past the first cache: they
// are used once before they would be evicted, and would push out the rows of a.
static inline __attribute__((always_inline)) void block(const int lower, const int wide, const operands *o,
                                                        int32_t *sums, pending *p) {
  const int8_t *a = o->a, *low = a + 16 * o->a_stride, *left = o->weight, *right = left + o->panel_stride;
  size_t a_stride = o->a_stride, steps = o->steps, credit = 0;
  if (o->carried) {
    _tile_loadd(0, sums, 128);
    if (wide) _tile_loadd(1, sums + 16, 128);
    if (lower) _tile_loadd(2, sums + 16 * 32, 128);
    if (lower && wide) _tile_loadd(3, sums + 16 * 32 + 16, 128);
  } else {
    _tile_zero(0);
    if (wide) _tile_zero(1);
    if (lower) _tile_zero(2);
    if (lower && wide) _tile_zero(3);
  }
  for (size_t step = 0; step < steps; step++) {
    _tile_stream_loadd(6, left + step * 1024, 64);
    _tile_loadd(4, a + step * 64, a_stride);
    _tile_dpbssd(0, 4, 6);
    if (wide) {
      _tile_stream_loadd(7, right + step * 1024, 64);
      _tile_dpbssd(1, 4, 7);
    }
    if (lower) {
      _tile_loadd(5, low + step * 64, a_stride);
      _tile_dpbssd(2, 5, 6);
      if (wide) _tile_dpbssd(3, 5, 7);
    }
    for (credit += 16; credit >= steps && p->done < p->total; credit -= steps) finish_quad(p);
  }
  while (p->done < p->total) finish_quad(p);
  _tile_stored(0, sums, 128);
  if (wide) _tile_stored(1, sums + 16, 128);
  if (lower) _tile_stored(2, sums + 16 * 32, 128);
  if (lower && wide) _tile_stored(3, sums + 16 * 32 + 16, 128);
}

typedef void block_function(const operands *o, int32_t *sums, pending *p);

#define CK_BLOCK(ROWS, CHANNELS, LOWER, WIDE)                                          \
  static __attribute__((noinline)) void ck_gemm_s8_##ROWS##x##CHANNELS##k64__amx_int8( \
      const operands *o, int32_t *sums, pending *p) {                                  \
    block(LOWER, WIDE, o, sums, p);                                                    \
  }
CK_BLOCK(32, 32, 1, 1)
CK_BLOCK(32, 16, 1, 0)
CK_BLOCK(16, 32, 0, 1)
CK_BLOCK(16, 16, 0, 0)

static block_function *const blocks[2][2] = {
    {ck_gemm_s8_16x16k64__amx_int8, ck_gemm_s8_16x32k64__amx_int8},
    {ck_gemm_s8_32x16k64__amx_int8, ck_gemm_s8_32x32k64__amx_int8},
};

// What a whole product call asks for.
typedef struct product {
  const int8_t *a;
  size_t a_stride;
  const float *a_scale;
  size_t rows;
  const ck_panels *rhs;
  size_t panel_begin, channel_end;
  ck_epilogue epilogue;
  float *out;
  size_t out_stride;
} product;

static v_target target_of(const product *c, size_t row, size_t panel, size_t panel_end, size_t width) {
  const ck_panels *rhs = c->rhs;
  return (v_target){c->a_scale + row,
                    1,
                    rhs->scale + 16 * panel,
                    rhs->bias ? rhs->bias + 16 * panel : NULL,
                    c->out + row * c->out_stride + 16 * (panel - c->panel_begin),
                    c->out_stride,
                    ck_min_size(ck_min_size(16 * panel_end, c->channel_end) - 16 * panel, width),
                    c->epilogue};
}

// Shallow products (attention's queries by keys) are bound by their stores. 16 rows by 16 panels at a time,
// so that each row is written in runs of 1 KiB: runs of 128 bytes at a stride of 16 KiB reach less than half
// the bandwidth.
static void run_shallow(const product *c, size_t panel_end, int32_t *sums, size_t *shaped) {
  size_t depth = c->rhs->depth;
  for (size_t begin = c->panel_begin; begin < panel_end; begin += 16) {
    size_t panels = ck_min_size(panel_end - begin, 16);
    for (size_t row = 0; row < c->rows; row += 16) {
      size_t count = ck_min_size(c->rows - row, 16);
      if (count != *shaped) set_shapes(count, 0);
      *shaped = count;
      for (size_t j = 0; j < panels; j++) {
        const int8_t *weight = c->rhs->weight + (begin + j) * 16 * depth;
        _tile_zero(0);
        for (size_t k = 0; k < depth; k += 64) {
          _tile_loadd(4, c->a + row * c->a_stride + k, c->a_stride);
          _tile_loadd(6, weight + k * 16, 64);
          _tile_dpbssd(0, 4, 6);
        }
        _tile_stored(0, sums + 16 * j, 1024);
      }
      v_target target = target_of(c, row, begin, begin + panels, 256);
      int plain =
          target.epilogue.activation == CK_ACTIVATION_NONE && !target.epilogue.accumulate && !target.bias;
      for (size_t r = 0; r < count; r++) {
        vf row_scale = v_set(target.a_scale[r]);
        float *slot = target.out + r * target.out_stride;
        size_t j = 0;
        for (; plain && 16 * j + 16 <= target.channels; j++) {
          vf factor = v_mul(row_scale, v_load(target.scale + 16 * j));
          v_store(slot + 16 * j, v_mul(v_float(_mm512_load_si512(sums + r * 256 + 16 * j)), factor));
        }
        for (; j < panels; j++) {
          vf x[4];
          x[1] = x[2] = x[3] = v_set(0);
          x[0] = v_dequantize(&target, _mm512_load_si512(sums + r * 256 + 16 * j), r, 16 * j);
          v_activate4(x, target.epilogue.activation);
          v_put(&target, r, 16 * j, x[0]);
        }
      }
    }
  }
}

enum {
  // Panel pairs walked by all rows before the next ones: with the rows, a third of the second cache.
  CHUNK_PAIRS = 4,
  DEPTH_STEPS = 12,    // 32 rows of this depth stay in the first cache
  SHALLOW_DEPTH = 192  // up to here the stores bound the time
};

static void run_deep(const product *c, size_t panel_end, int32_t *sums, size_t *shaped) {
  size_t depth = c->rhs->depth, steps = depth / 64;
  size_t depth_chunks = steps <= DEPTH_STEPS * 3 / 2 ? 1 : (steps + DEPTH_STEPS - 1) / DEPTH_STEPS;
  size_t chunk = depth_chunks > 1 ? 2 * CHUNK_PAIRS : CHUNK_BYTES / (16 * depth) / 2 * 2;
  pending p;
  memset(&p, 0, sizeof p);
  size_t turn = 0;
  for (size_t begin = c->panel_begin; begin < panel_end; begin += chunk) {
    size_t end = ck_min_size(begin + chunk, panel_end);
    for (size_t row = 0; row < c->rows; row += 32) {
      size_t count = ck_min_size(c->rows - row, 32);
      if (count != *shaped) set_shapes(ck_min_size(count, 16), count > 16 ? count - 16 : 0);
      *shaped = count;
      for (size_t part = 0; part < depth_chunks; part++) {
        size_t step = part * DEPTH_STEPS;
        size_t length = depth_chunks > 1 ? ck_min_size(steps - step, DEPTH_STEPS) : steps;
        for (size_t panel = begin; panel < end; panel += 2) {
          size_t slot = depth_chunks > 1 ? (panel - begin) / 2 : turn++ % 2;
          operands o = {c->a + row * c->a_stride + step * 64,
                        c->a_stride,
                        c->rhs->weight + panel * 16 * depth + step * 1024,
                        16 * depth,
                        length,
                        part > 0};
          blocks[count > 16][panel + 1 < end](&o, sums + slot * 1024, &p);
          if (part + 1 < depth_chunks) continue;
          p = (pending){sums + slot * 1024, target_of(c, row, panel, end, 32), count, 0, (count + 1) / 2};
        }
      }
      // The last sums of a deep block lie where the next block's first product would write.
      while (depth_chunks > 1 && p.done < p.total) finish_quad(&p);
    }
  }
  while (p.done < p.total) finish_quad(&p);
}

static void gemm_s8(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                    size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                    float *out, size_t out_stride) {
  _Alignas(64) int32_t sums[CHUNK_PAIRS * 1024];
  product c = {a, a_stride, a_scale, rows, rhs, panel_begin, channel_end, *epilogue, out, out_stride};
  size_t shaped = 0;
  panel_end = ck_min_size(panel_end, (channel_end + 15) / 16);
  if (rhs->depth <= SHALLOW_DEPTH) run_shallow(&c, panel_end, sums, &shaped);
  else run_deep(&c, panel_end, sums, &shaped);
  _tile_release();
}

static void gemm_s8_blocks(const int8_t *a, size_t a_stride, const float *a_scale, size_t block_length,
                           size_t block_count, size_t keys, size_t rows, const ck_panels *rhs,
                           size_t channel_end, const float *row_factor, float *out, size_t out_stride) {
  _Alignas(64) int32_t sums[2 * 1024];
  size_t depth = rhs->depth, panel_end = (channel_end + 15) / 16, shaped = 0, turn = 0;
  (void)keys;  // tiles take whole steps of depth
  pending p;
  memset(&p, 0, sizeof p);
  for (size_t b = 0; b < block_count && b * block_length < depth; b++) {
    size_t begin = b * block_length, length = ck_min_size(block_length, depth - begin);
    for (size_t row = 0; row < rows; row += 32) {
      size_t count = ck_min_size(rows - row, 32);
      if (count != shaped) set_shapes(ck_min_size(count, 16), count > 16 ? count - 16 : 0);
      shaped = count;
      for (size_t panel = 0; panel < panel_end; panel += 2) {
        operands o = {a + row * a_stride + begin,
                      a_stride,
                      rhs->weight + panel * 16 * depth + begin * 16,
                      16 * depth,
                      length / 64,
                      0};
        int32_t *slot = sums + (turn++ % 2) * 1024;
        blocks[count > 16][panel + 1 < panel_end](&o, slot, &p);
        p = (pending){slot,
                      {a_scale + row * block_count + b,
                       block_count,
                       rhs->scale + 16 * panel,
                       NULL,
                       out + row * out_stride + 16 * panel,
                       out_stride,
                       ck_min_size(channel_end - 16 * panel, 32),
                       {CK_ACTIVATION_NONE, b > 0}},
                      count,
                      0,
                      (count + 1) / 2};
      }
    }
  }
  while (p.done < p.total) finish_quad(&p);
  _tile_release();
  if (row_factor) v_scale_rows(out, out_stride, rows, channel_end, row_factor);
}

static uint64_t peak_s8(uint64_t macs) {
  set_shapes(16, 16);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  uint64_t done = 0;
  for (; done < macs; done += 4 * 16 * 16 * 64) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
  return done;
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__amx_int8(ck_table *table) {
  ck_fill_rows__avx512_vnni(table);  // signed again
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->softmax_weights = softmax_weights_tiles;
  table->peak_s8 = peak_s8;
}
#endif
