// What the NEON and AVX2 products share: walking a call's rows and panels in tiles. A path hands over
// functions that sum a tile. A chunk of panels stays in the second cache while eight rows at a time (first
// cache) pass by.
#pragma once

enum {
  TILE_ROWS_MOST = 8,
  SLICE_DEPTH = 1024,  // 16 KiB of a panel and 8 KiB of eight rows stay in the first cache
  // Panels walked by all rows before the next ones: an eighth of a small second cache.
  CHUNK_BYTES = 128 * 1024
};

// Sums of `rows` rows by 16 channels over `depth` (multiple of 64), into sums[row * 16 + channel].
typedef void sum_function(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth, int32_t *sums);

// The tile functions of a path, largest first; the last one has one row.
typedef struct tile_kind {
  size_t rows;
  sum_function *sum;
} tile_kind;

// The including path's own list; hidden, so that a shared library may hold its address.
extern const tile_kind CK_KINDS[] __attribute__((visibility("hidden")));

static void finish_tile(const int32_t *sums, size_t rows, const v_target *target) {
  for (size_t r = 0; r < rows; r += 4) {
    size_t count = ck_min_size(rows - r, 4);
    vf value[4];
    for (size_t j = 0; j < 4; j++) {
      size_t row = r + (j < count ? j : 0);
      value[j] = v_dequantize(target, v_load_ints(sums + row * 16), row, 0);
    }
    v_activate4(value, target->epilogue.activation);
    for (size_t j = 0; j < count; j++) v_put(target, r + j, 0, value[j]);
  }
}

// Deep rows, eight at most, by one panel: all tiles read a slice of it before the next one.
static inline void sum_slices(const tile_kind *kinds, const int8_t *a, size_t a_stride, size_t rows,
                              const int8_t *panel, size_t depth, int32_t *sums) {
  memset(sums, 0, rows * 16 * sizeof *sums);
  for (size_t begin = 0; begin < depth; begin += SLICE_DEPTH) {
    size_t length = ck_min_size(depth - begin, SLICE_DEPTH);
    const tile_kind *kind = kinds;
    for (size_t row = 0; row < rows; row += kind->rows) {
      int32_t part[TILE_ROWS_MOST * 16], *out = sums + row * 16;
      while (kind->rows > rows - row) kind++;
      kind->sum(a + row * a_stride + begin, a_stride, panel + begin * 16, length, part);
      for (size_t i = 0; i < kind->rows * 16; i += 16) {
        v_store_ints(out + i, v_int_add(v_load_ints(out + i), v_load_ints(part + i)));
      }
    }
  }
}

static inline void product_rows(const tile_kind *kinds, const int8_t *a, size_t a_stride, size_t rows,
                                const int8_t *panel, size_t depth, v_target target) {
  int32_t sums[TILE_ROWS_MOST * 16];
  for (size_t row = 0; row < rows;) {
    const tile_kind *kind = kinds;
    while (kind->rows > rows - row) kind++;
    size_t count = depth > SLICE_DEPTH ? ck_min_size(rows - row, TILE_ROWS_MOST) : kind->rows;
    if (depth > SLICE_DEPTH) sum_slices(kinds, a + row * a_stride, a_stride, count, panel, depth, sums);
    else kind->sum(a + row * a_stride, a_stride, panel, depth, sums);
    finish_tile(sums, count, &target);
    target.a_scale += count * target.a_scale_stride;
    target.out += count * target.out_stride;
    row += count;
  }
}

static inline void product(const tile_kind *kinds, const int8_t *a, size_t a_stride, const float *a_scale,
                           size_t rows, const ck_panels *rhs, size_t panel_begin, size_t panel_end,
                           size_t channel_end, const ck_epilogue *epilogue, float *out, size_t out_stride) {
  size_t depth = rhs->depth;
  panel_end = ck_min_size(panel_end, (channel_end + 15) / 16);
  size_t chunk = CHUNK_BYTES / (16 * depth);
  if (chunk < 1) chunk = 1;
  for (size_t begin = panel_begin; begin < panel_end; begin += chunk) {
    size_t end = ck_min_size(begin + chunk, panel_end);
    for (size_t row = 0; row < rows; row += TILE_ROWS_MOST) {
      size_t count = ck_min_size(rows - row, TILE_ROWS_MOST);
      for (size_t panel = begin; panel < end; panel++) {
        v_target target = {a_scale + row,
                           1,
                           rhs->scale + 16 * panel,
                           rhs->bias ? rhs->bias + 16 * panel : NULL,
                           out + row * out_stride + 16 * (panel - panel_begin),
                           out_stride,
                           ck_min_size(channel_end - 16 * panel, 16),
                           *epilogue};
        product_rows(kinds, a + row * a_stride, a_stride, count, rhs->weight + panel * 16 * depth, depth,
                     target);
      }
    }
  }
}

static inline void product_blocks(const tile_kind *kinds, const int8_t *a, size_t a_stride,
                                  const float *a_scale, size_t block, size_t block_count, size_t keys,
                                  size_t rows, const ck_panels *rhs, size_t channel_end,
                                  const float *row_factor, float *out, size_t out_stride) {
  size_t depth = rhs->depth;
  (void)keys;  // tiles take whole steps of depth
  for (size_t b = 0; b < block_count && b * block < depth; b++) {
    size_t begin = b * block, length = ck_min_size(block, depth - begin);
    for (size_t panel = 0; panel * 16 < channel_end; panel++) {
      v_target target = {a_scale + b,
                         block_count,
                         rhs->scale + 16 * panel,
                         NULL,
                         out + 16 * panel,
                         out_stride,
                         ck_min_size(channel_end - 16 * panel, 16),
                         {CK_ACTIVATION_NONE, b > 0}};
      product_rows(kinds, a + begin, a_stride, rows, rhs->weight + panel * 16 * depth + begin * 16, length,
                   target);
    }
  }
  if (row_factor) v_scale_rows(out, out_stride, rows, channel_end, row_factor);
}

static void gemm_s8(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                    size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                    float *out, size_t out_stride) {
  product(CK_KINDS, a, a_stride, a_scale, rows, rhs, panel_begin, panel_end, channel_end, epilogue, out,
          out_stride);
}

static void gemm_s8_blocks(const int8_t *a, size_t a_stride, const float *a_scale, size_t block,
                           size_t block_count, size_t keys, size_t rows, const ck_panels *rhs,
                           size_t channel_end, const float *row_factor, float *out, size_t out_stride) {
  product_blocks(CK_KINDS, a, a_stride, a_scale, block, block_count, keys, rows, rhs, channel_end, row_factor,
                 out, out_stride);
}
