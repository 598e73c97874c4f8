// Products with vpdpbusd over the sixteen lanes of a path's lanes.h: TILE_ROWS rows by one or two panels of
// 16 channels.
//
//              panel p (16 channels)   panel p+1
//   row 0      acc[0][0]               acc[0][1]        per depth group of 4: a load a panel, and per row one
//   ...                                                 dword broadcast and a vpdpbusd a panel, all from L1
//
// vpdpbusd multiplies unsigned by signed bytes. Rows are quantized with 128 added to every byte (xor 0x80),
// and 128 * sum(weight) is subtracted by starting the sums there. |sum| <= 255 * 127 * depth: fits 32 bits to
// a depth of 66,000.
#pragma once

#define ROW_OFFSET 128
#include "lane_quantize.h"

// Adds `groups` depth groups to the sums of `rows` x `panels` vectors.
V_INLINE void multiply(const int rows, const int panels, vi acc[][2], const uint8_t *a, size_t stride,
                       const int8_t *b0, const int8_t *b1, size_t groups) {
  for (size_t g = 0; g < groups; g++) {
    vi w0 = v_load_group(b0 + g * 64);
    vi w1 = panels > 1 ? v_load_group(b1 + g * 64) : w0;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
      int32_t four;
      memcpy(&four, a + r * stride + g * 4, 4);
      vi x = v_int_set(four);
      acc[r][0] = v_dot(acc[r][0], x, w0);
      if (panels > 1) acc[r][1] = v_dot(acc[r][1], x, w1);
    }
  }
}

// Sums to stored floats where all channels are wanted: nothing is asked between the stores. Four constants
// after inlining.
V_INLINE void finish_whole(const int rows, const int panels, const int biased, const int accumulate,
                           vi acc[TILE_ROWS][2], const v_target *target) {
  vf scale[2], bias[2];
  for (int j = 0; j < panels; j++) {
    scale[j] = v_load(target->scale + 16 * j);
    if (biased) bias[j] = v_load(target->bias + 16 * j);
  }
  const float *row_scale = target->a_scale;
  float *out = target->out;
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++, row_scale += target->a_scale_stride, out += target->out_stride) {
#pragma GCC unroll 2
    for (int j = 0; j < panels; j++) {
      vf value = v_mul(v_float(acc[r][j]), v_mul(v_set(*row_scale), scale[j]));
      if (biased) value = v_add(value, bias[j]);
      v_store(out + 16 * j, accumulate ? v_add(v_load(out + 16 * j), value) : value);
    }
  }
}

// Activations with long polynomials: through memory, four vectors side by side. `panels` is a constant after
// inlining.
V_INLINE void finish_activated(const int panels, const int32_t *sums, int rows, const v_target *target) {
  int whole = target->channels >= (size_t)panels * 16 && !target->epilogue.accumulate;
  for (int r = 0; r < rows; r += 4 / panels) {
    vf value[4];
    V_EACH4 {
      int row = r + j / panels < rows ? r + j / panels : r, begin = j % panels * 16;
      value[j] = v_dequantize(target, v_load_ints(sums + row * 32 + begin), (size_t)row, (size_t)begin);
    }
    v_activate4(value, target->epilogue.activation);
    V_EACH4 {
      size_t row = (size_t)(r + j / panels), begin = (size_t)(j % panels) * 16;
      if (row >= (size_t)rows) break;
      if (whole) v_store(target->out + row * target->out_stride + begin, value[j]);
      else v_put(target, row, begin, value[j]);
    }
  }
}

static __attribute__((noinline)) void finish_activated_one(const int32_t *sums, int rows,
                                                           const v_target *target) {
  finish_activated(1, sums, rows, target);
}

static __attribute__((noinline)) void finish_activated_two(const int32_t *sums, int rows,
                                                           const v_target *target) {
  finish_activated(2, sums, rows, target);
}

// One tile, from sums to stored floats. `rows` and `panels` are constants after inlining.
V_INLINE void tile(const int rows, const int panels, const uint8_t *a, size_t stride, const int8_t *weight,
                   size_t depth, size_t panel_stride, const int32_t *sum, const v_target *target) {
  vi acc[TILE_ROWS][2];
  vi start0 = v_dot_start(v_load_ints(sum)),
     start1 = panels > 1 ? v_dot_start(v_load_ints(sum + 16)) : start0;
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++) {
    acc[r][0] = start0;
    acc[r][1] = start1;
  }
  multiply(rows, panels, acc, a, stride, weight, weight + panel_stride, depth / 4);
  ck_activation activation = target->epilogue.activation;
  if (activation != CK_ACTIVATION_NONE && activation != CK_ACTIVATION_RELU) {
    int32_t sums[TILE_ROWS * 32];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
      v_store_ints(sums + r * 32, acc[r][0]);
      if (panels > 1) v_store_ints(sums + r * 32 + 16, acc[r][1]);
    }
    if (panels > 1) finish_activated_two(sums, rows, target);
    else finish_activated_one(sums, rows, target);
    return;
  }
  int accumulate = target->epilogue.accumulate;
  if (target->channels >= (size_t)panels * 16 && activation == CK_ACTIVATION_NONE) {
    if (target->bias && accumulate) finish_whole(rows, panels, 1, 1, acc, target);
    else if (target->bias) finish_whole(rows, panels, 1, 0, acc, target);
    else if (accumulate) finish_whole(rows, panels, 0, 1, acc, target);
    else finish_whole(rows, panels, 0, 0, acc, target);
    return;
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
    for (int j = 0; j < panels; j++) {
      vf value = v_dequantize(target, acc[r][j], (size_t)r, (size_t)j * 16);
      if (activation == CK_ACTIVATION_RELU) value = v_relu(value);
      v_put(target, (size_t)r, (size_t)j * 16, value);
    }
  }
}

typedef void tile_function(const uint8_t *a, size_t stride, const int8_t *weight, size_t depth,
                           size_t panel_stride, const int32_t *sum, const v_target *target);

// ck_gemm_u8s8_<rows>x<channels>k4__<path>
#define CK_TILE(ROWS, PANELS, CHANNELS, PATH)                                                   \
  static __attribute__((noinline)) void ck_gemm_u8s8_##ROWS##x##CHANNELS##k4__##PATH(           \
      const uint8_t *a, size_t stride, const int8_t *weight, size_t depth, size_t panel_stride, \
      const int32_t *sum, const v_target *target) {                                             \
    tile(ROWS, PANELS, a, stride, weight, depth, panel_stride, sum, target);                    \
  }

typedef struct tile_kind {
  size_t rows;
  tile_function *tile[2];  // of one and of two panels
} tile_kind;

// The including path's own: largest first, the last one has one row.
static const tile_kind tiles[TILE_KINDS];

// By rows that are left, below twice the largest tile: which kind comes next. A tile of a row or two takes as
// long as one of eight, since weights do not come faster; where one would be left, two middling ones share.
static const uint8_t next_kinds[2 * TILE_ROWS];

static int next_kind(size_t left) { return left < 2 * TILE_ROWS ? next_kinds[left] : 0; }

static void gemm_s8(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                    size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                    float *out, size_t out_stride) {
  size_t depth = rhs->depth, first = 16 * panel_begin;
  panel_end = ck_min_size(panel_end, (channel_end + 15) / 16);
  size_t chunk = CHUNK_BYTES / (16 * depth) / TILE_PANELS * TILE_PANELS;
  if (chunk < TILE_PANELS) chunk = TILE_PANELS;
  for (size_t begin = panel_begin; begin < panel_end; begin += chunk) {
    size_t end = ck_min_size(begin + chunk, panel_end);
    for (size_t row = 0; row < rows;) {
      const tile_kind *kind = &tiles[next_kind(rows - row)];
      for (size_t panel = begin; panel < end; panel += TILE_PANELS) {
        v_target target = {a_scale + row,
                           1,
                           rhs->scale + 16 * panel,
                           rhs->bias ? rhs->bias + 16 * panel : NULL,
                           out + row * out_stride + (16 * panel - first),
                           out_stride,
                           ck_min_size(ck_min_size(16 * end, channel_end) - 16 * panel, 16 * TILE_PANELS),
                           *epilogue};
        int both = TILE_PANELS > 1 && panel + 1 < end;
        kind->tile[both]((const uint8_t *)a + row * a_stride, a_stride, rhs->weight + panel * 16 * depth,
                         depth, 16 * depth, rhs->sum + 16 * panel, &target);
      }
      row += kind->rows;
    }
  }
}

// Weights of attention are never negative: no offset.
static void gemm_s8_blocks(const int8_t *a, size_t a_stride, const float *a_scale, size_t block,
                           size_t block_count, size_t keys, size_t rows, const ck_panels *rhs,
                           size_t channel_end, const float *row_factor, float *out, size_t out_stride) {
  static const int32_t no_offset[16 * TILE_PANELS];
  size_t depth = rhs->depth, panel_end = (channel_end + 15) / 16;
  for (size_t b = 0; b < block_count && b * block < keys; b++) {
    size_t begin = b * block, length = ck_min_size(block, (keys - begin + 3) / 4 * 4);
    for (size_t panel = 0; panel < panel_end; panel += TILE_PANELS) {
      for (size_t row = 0; row < rows;) {
        const tile_kind *kind = &tiles[next_kind(rows - row)];
        v_target target = {a_scale + row * block_count + b,
                           block_count,
                           rhs->scale + 16 * panel,
                           NULL,
                           out + row * out_stride + 16 * panel,
                           out_stride,
                           ck_min_size(channel_end - 16 * panel, 16 * TILE_PANELS),
                           {CK_ACTIVATION_NONE, b > 0}};
        int both = TILE_PANELS > 1 && panel + 1 < panel_end;
        kind->tile[both]((const uint8_t *)a + row * a_stride + begin, a_stride,
                         rhs->weight + panel * 16 * depth + begin * 16, length, 16 * depth, no_offset,
                         &target);
        row += kind->rows;
      }
    }
  }
  if (row_factor) v_scale_rows(out, out_stride, rows, channel_end, row_factor);
}

// The instruction on registers alone: sums enough that none waits for the one before.
static uint64_t peak_s8(uint64_t macs) {
  vi acc[TILE_ROWS], x = v_int_set(0x03030303), w = v_int_set(0x05050505);
#pragma GCC unroll 12
  for (int r = 0; r < TILE_ROWS; r++) {
    acc[r] = v_int_zero();
    v_hide(&acc[r]);
  }
  uint64_t done = 0;
  for (; done < macs; done += TILE_ROWS * 64) {
#pragma GCC unroll 12
    for (int r = 0; r < TILE_ROWS; r++) acc[r] = v_dot(acc[r], x, w);
    v_hide(&x);
    v_hide(&w);
  }
#pragma GCC unroll 12
  for (int r = 0; r < TILE_ROWS; r++) v_hide(&acc[r]);
  return done;
}

static void fill_products(ck_table *table) {
  table->row_offset = ROW_OFFSET;
  table->quantize_rows = quantize_rows;
  table->norm_quantize_rows = norm_quantize_rows;
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->peak_s8 = peak_s8;
}
