// Float products and distances, blurring, expanded weights and half precision over sixteen lanes; same order
// of operations as scalar/gemm_f32.c and scalar/gemm_s8.c.
//
//   nt tile: CK_NT_ROWS rows of a x CK_NT_COLS rows of b, one vector of partial sums each
//   nn tile: CK_NN_ROWS rows of a x CK_NN_VECTORS vectors of a row of b
#pragma once

// One more step of a sum: the product of x and y, or their difference squared.
V_INLINE vf nt_step(const int squares, vf x, vf y, vf sum) {
  if (!squares) return v_fma(x, y, sum);
  vf difference = v_sub(x, y);
  return v_fma(difference, difference, sum);
}

V_INLINE void nt_tile(const int squares, const int rows, const int cols, const float *a, size_t a_stride,
                      const float *b, size_t b_stride, size_t depth, const float *bias, int accumulate,
                      float *out, size_t out_stride) {
  vf sum[CK_NT_ROWS][CK_NT_COLS];
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < cols; c++) sum[r][c] = v_set(0);
  }
  size_t k = 0;
  for (; k + 16 <= depth; k += 16) {
    vf y[CK_NT_COLS];
    for (int c = 0; c < cols; c++) y[c] = v_load(b + (size_t)c * b_stride + k);
    for (int r = 0; r < rows; r++) {
      vf x = v_load(a + (size_t)r * a_stride + k);
      for (int c = 0; c < cols; c++) sum[r][c] = nt_step(squares, x, y[c], sum[r][c]);
    }
  }
  if (k < depth) {
    for (int r = 0; r < rows; r++) {
      vf x = v_load_first(a + (size_t)r * a_stride + k, depth - k);
      for (int c = 0; c < cols; c++) {
        sum[r][c] = nt_step(squares, x, v_load_first(b + (size_t)c * b_stride + k, depth - k), sum[r][c]);
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < cols; c++) {
      float value = v_sum(sum[r][c]);
      if (bias) value = value + bias[c];
      float *slot = out + (size_t)r * out_stride + c;
      *slot = accumulate ? *slot + value : value;
    }
  }
}

V_INLINE void nt_tiles(const int squares, const float *a, size_t a_stride, size_t rows, const float *b,
                       size_t b_stride, size_t cols, size_t depth, const float *bias, int accumulate,
                       float *out, size_t out_stride) {
  for (size_t c = 0; c < cols;) {
    size_t c_count = cols - c >= CK_NT_COLS ? CK_NT_COLS : 1;
    const float *rhs = b + c * b_stride, *add = bias ? bias + c : NULL;
    for (size_t r = 0; r < rows;) {
      size_t r_count = rows - r >= CK_NT_ROWS ? CK_NT_ROWS : 1;
      const float *lhs = a + r * a_stride;
      float *slot = out + r * out_stride + c;
#define TILE(ROWS, COLS) \
  nt_tile(squares, ROWS, COLS, lhs, a_stride, rhs, b_stride, depth, add, accumulate, slot, out_stride)
      if (c_count == CK_NT_COLS && r_count == CK_NT_ROWS) TILE(CK_NT_ROWS, CK_NT_COLS);
      else if (c_count == CK_NT_COLS) TILE(1, CK_NT_COLS);
      else if (r_count == CK_NT_ROWS) TILE(CK_NT_ROWS, 1);
      else TILE(1, 1);
#undef TILE
      r += r_count;
    }
    c += c_count;
  }
}

static void gemm_f32_nt(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                        size_t cols, size_t depth, const float *bias, int accumulate, float *out,
                        size_t out_stride) {
  nt_tiles(0, a, a_stride, rows, b, b_stride, cols, depth, bias, accumulate, out, out_stride);
}

static void squared_distances(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                              size_t cols, size_t depth, float *out, size_t out_stride) {
  nt_tiles(1, a, a_stride, rows, b, b_stride, cols, depth, NULL, 0, out, out_stride);
}

// `left`: places of the last vector, or at least 16.
V_INLINE void blur_block(const int vectors, const float *x, size_t step, size_t left, const float *taps,
                         size_t radius, float *out) {
  vf sum[4];
  for (int j = 0; j < vectors; j++) sum[j] = v_load_to(x + 16 * j, left);
  for (size_t d = 1; d <= radius; d++) {
    const float *low = x - d * step, *high = x + d * step;
    vf tap = v_set(taps[d]);
    for (int j = 0; j < vectors; j++) {
      vf both = v_add(v_load_to(low + 16 * j, left), v_load_to(high + 16 * j, left));
      sum[j] = v_add(sum[j], v_mul(both, tap));
    }
  }
  for (int j = 0; j < vectors; j++) v_store_to(out + 16 * j, sum[j], left);
}

static void blur_line(const float *x, size_t step, size_t count, const float *taps, size_t radius,
                      float *out) {
  size_t i = 0;
  for (; i + 64 <= count; i += 64) blur_block(4, x + i, step, 16, taps, radius, out + i);
  for (; i < count; i += 16) blur_block(1, x + i, step, count - i, taps, radius, out + i);
}

// Four depth groups of a channel at a time.
static void unpack_rows(const ck_panels *rhs, size_t channel_begin, size_t channel_end, size_t cols,
                        float *out, size_t out_stride) {
  for (size_t channel = channel_begin; channel < channel_end; channel++) {
    const int8_t *weight = rhs->weight + (channel / 16) * 16 * rhs->depth + (channel % 16) * 4;
    float *row = out + (channel - channel_begin) * out_stride, scale = rhs->scale[channel];
    size_t k = 0;
    for (; k + 16 <= cols; k += 16) {
      v_store(row + k, v_mul(v_float(v_load_quads(weight + k * 16)), v_set(scale)));
    }
    for (; k < cols; k++) row[k] = (float)weight[(k / 4) * 64 + k % 4] * scale;
  }
}

V_INLINE void nn_tile(const int rows, const int vectors, const float *a, size_t a_stride, const float *b,
                      size_t b_stride, size_t depth, size_t left, int accumulate, float *out,
                      size_t out_stride) {
  vf sum[CK_NN_ROWS][CK_NN_VECTORS];
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < vectors; c++) sum[r][c] = v_set(0);
  }
  for (size_t k = 0; k < depth; k++) {
    vf y[CK_NN_VECTORS];
    for (int c = 0; c < vectors; c++) {
      y[c] = left >= 16 ? v_load(b + k * b_stride + 16 * c) : v_load_first(b + k * b_stride + 16 * c, left);
    }
    for (int r = 0; r < rows; r++) {
      vf x = v_set(a[(size_t)r * a_stride + k]);
      for (int c = 0; c < vectors; c++) sum[r][c] = v_fma(x, y[c], sum[r][c]);
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < vectors; c++) {
      float *slot = out + (size_t)r * out_stride + 16 * c;
      vf value = sum[r][c];
      if (accumulate) value = v_add(v_load_to(slot, left), value);
      v_store_to(slot, value, left);
    }
  }
}

static void gemm_f32_nn(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                        size_t cols, size_t depth, int accumulate, float *out, size_t out_stride) {
  for (size_t c = 0; c < cols;) {
    size_t width = cols - c >= 16 * CK_NN_VECTORS ? 16 * CK_NN_VECTORS : ck_min_size(cols - c, 16);
    for (size_t r = 0; r < rows;) {
      size_t count = rows - r >= CK_NN_ROWS ? CK_NN_ROWS : 1;
      const float *lhs = a + r * a_stride;
      float *slot = out + r * out_stride + c;
      if (width > 16 && count == CK_NN_ROWS) {
        nn_tile(CK_NN_ROWS, CK_NN_VECTORS, lhs, a_stride, b + c, b_stride, depth, 16, accumulate, slot,
                out_stride);
      } else if (width > 16) {
        nn_tile(1, CK_NN_VECTORS, lhs, a_stride, b + c, b_stride, depth, 16, accumulate, slot, out_stride);
      } else if (count == CK_NN_ROWS) {
        nn_tile(CK_NN_ROWS, 1, lhs, a_stride, b + c, b_stride, depth, width, accumulate, slot, out_stride);
      } else {
        nn_tile(1, 1, lhs, a_stride, b + c, b_stride, depth, width, accumulate, slot, out_stride);
      }
      r += count;
    }
    c += width;
  }
}

static void to_half(const float *x, size_t count, uint16_t *out) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) v_store_half(out + i, v_load(x + i));
  if (i < count) {
    uint16_t tail[16];
    v_store_half(tail, v_load_first(x + i, count - i));
    memcpy(out + i, tail, (count - i) * sizeof *out);
  }
}

static void from_half(const uint16_t *x, size_t count, float *out) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) v_store(out + i, v_load_half(x + i));
  if (i < count) {
    uint16_t tail[16] = {0};
    memcpy(tail, x + i, (count - i) * sizeof *x);
    v_store_first(out + i, v_load_half(tail), count - i);
  }
}

static void fill_rows(ck_table *table) {
  table->row_offset = ROW_OFFSET;
  table->quantize_rows = quantize_rows;
  table->norm_rows = norm_rows;
  table->norm_quantize_rows = norm_quantize_rows;
  table->pack_rows = pack_rows;
  table->pack_columns = pack_columns;
  table->exp_rows = exp_rows;
  table->softmax_weights = softmax_weights;
  table->quantize_blocks = quantize_blocks;
  table->masked_add = masked_add;
  table->activate = activate;
  table->gemm_f32_nt = gemm_f32_nt;
  table->gemm_f32_nn = gemm_f32_nn;
  table->squared_distances = squared_distances;
  table->blur_line = blur_line;
  table->unpack_rows = unpack_rows;
  table->to_half = to_half;
  table->from_half = from_half;
}
