// INT8 product with tdpbssd: 2 x 2 tiles of 16 rows x 16 channels, 64 depth a step.
//
//                       panel p    panel p+1                tiles 0..3: int32 sums
//   rows  0..15 (t4)      t0         t1                     tiles 4, 5: 16 rows x 64 bytes of a
//   rows 16..31 (t5)      t2         t3                     tiles 6, 7: 16 depth groups x 16 channels x 4 bytes:
//                        (t6)       (t7)                    1 KiB of a panel as it is stored
//
// Signed by signed: no offset. A tile's sums go through 4 KiB of memory; turning them into floats (scale, bias,
// activation) is interleaved with the next tile's products, since the tile unit works beside the vector units.
#include "../internal.h"

#if CK_X86
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c,amx-tile,amx-int8")
#endif
#include "../avx512_vnni/lanes.h"
#include "../lane_functions.h"

enum { CHUNK_BYTES = 1024 * 1024 };  // panels walked by all rows before the next ones: half the second cache

// Source: Intel 64 manual, volume 2A, LDTILECFG: palette 1, 64-byte description.
typedef struct tile_shapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} tile_shapes;

// Tiles for blocks of first + second rows (second may be 0).
static void set_shapes(size_t first, size_t second) {
  _Alignas(64) tile_shapes shapes;
  memset(&shapes, 0, sizeof shapes);
  shapes.palette = 1;
  size_t lower = second ? second : 1;
  size_t rows[8] = {first, first, lower, lower, first, lower, 16, 16};
  for (int i = 0; i < 8; i++) {
    shapes.bytes[i] = 64;
    shapes.rows[i] = (uint8_t)rows[i];
  }
  _tile_loadconfig(&shapes);
}

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
  vf row0 = v_set(target->a_scale[row]), row1 = v_set(target->a_scale[second]);
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

// One block of up to 32 rows and 2 panels into `sums`, finishing `p` on the way.
static inline __attribute__((always_inline)) void block(const int lower, const int wide, const int8_t *a,
                                                        size_t a_stride, const int8_t *weight, size_t depth,
                                                        int32_t *sums, pending *p) {
  const int8_t *low = a + 16 * a_stride, *right = weight + 16 * depth;
  size_t steps = depth / 64, credit = 0;
  _tile_zero(0);
  if (wide) _tile_zero(1);
  if (lower) _tile_zero(2);
  if (lower && wide) _tile_zero(3);
  for (size_t step = 0; step < steps; step++) {
    _tile_stream_loadd(6, weight + step * 1024, 64);
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

typedef void block_function(const int8_t *a, size_t a_stride, const int8_t *weight, size_t depth, int32_t *sums,
                            pending *p);

#define CK_BLOCK(ROWS, CHANNELS, LOWER, WIDE)                                                                    \
  static __attribute__((noinline)) void ck_gemm_s8_##ROWS##x##CHANNELS##k64__amx_int8(                           \
      const int8_t *a, size_t a_stride, const int8_t *weight, size_t depth, int32_t *sums, pending *p) {         \
    block(LOWER, WIDE, a, a_stride, weight, depth, sums, p);                                                     \
  }
CK_BLOCK(32, 32, 1, 1)
CK_BLOCK(32, 16, 1, 0)
CK_BLOCK(16, 32, 0, 1)
CK_BLOCK(16, 16, 0, 0)

static block_function *const blocks[2][2] = {
    {ck_gemm_s8_16x16k64__amx_int8, ck_gemm_s8_16x32k64__amx_int8},
    {ck_gemm_s8_32x16k64__amx_int8, ck_gemm_s8_32x32k64__amx_int8},
};

static void gemm_s8(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                    size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                    float *out, size_t out_stride) {
  _Alignas(64) int32_t sums[2][32 * 32];
  size_t depth = rhs->depth, first = 16 * panel_begin, shaped = 0;
  panel_end = ck_min_size(panel_end, (channel_end + 15) / 16);
  size_t chunk = CHUNK_BYTES / (16 * depth) / 2 * 2;
  if (chunk < 2) chunk = 2;
  pending p;
  memset(&p, 0, sizeof p);
  int buffer = 0;
  for (size_t begin = panel_begin; begin < panel_end; begin += chunk) {
    size_t end = ck_min_size(begin + chunk, panel_end);
    for (size_t row = 0; row < rows; row += 32) {
      size_t count = ck_min_size(rows - row, 32);
      if (count != shaped) set_shapes(ck_min_size(count, 16), count > 16 ? count - 16 : 0);
      shaped = count;
      for (size_t panel = begin; panel < end; panel += 2) {
        blocks[count > 16][panel + 1 < end](a + row * a_stride, a_stride, rhs->weight + panel * 16 * depth, depth,
                                            sums[buffer], &p);
        size_t channels = ck_min_size(ck_min_size(16 * end, channel_end) - 16 * panel, 32);
        p = (pending){sums[buffer],
                      {a_scale + row, rhs->scale + 16 * panel, rhs->bias ? rhs->bias + 16 * panel : NULL,
                       out + row * out_stride + (16 * panel - first), out_stride, channels, *epilogue},
                      count, 0, (count + 1) / 2};
        buffer ^= 1;
      }
    }
  }
  while (p.done < p.total) finish_quad(&p);
  _tile_release();
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__amx_int8(ck_table *table) { table->gemm_s8 = gemm_s8; }
#endif
