// INT8 products in plain C: the definition every other path is compared with.
//
//   row of a  | a0 a1 a2 a3 | a4 a5 a6 a7 | ...        one dword per depth group
//             x one dword per channel of the same group, 16 channels a panel
//   out[row]  | c0 .. c15 |                             one channel at a time
#include "../internal.h"
#include "elements.h"

static int32_t dot(const int8_t *a, const int8_t *weight, size_t depth) {
  int32_t total = 0;
  for (size_t k = 0; k < depth; k++) total += (int32_t)a[k] * (int32_t)weight[(k / 4) * 64 + k % 4];
  return total;
}

static void gemm_s8(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                    size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                    float *out, size_t out_stride) {
  size_t first = 16 * panel_begin, last = ck_min_size(16 * panel_end, channel_end);
  for (size_t row = 0; row < rows; row++) {
    for (size_t channel = first; channel < last; channel++) {
      const int8_t *weight = rhs->weight + (channel / 16) * 16 * rhs->depth + (channel % 16) * 4;
      float acc = (float)dot(a + row * a_stride, weight, rhs->depth);
      float factor = a_scale[row] * rhs->scale[channel];
      float value = acc * factor;
      if (rhs->bias) value = value + rhs->bias[channel];
      value = ck_activate_one(value, epilogue->activation);
      float *slot = out + row * out_stride + (channel - first);
      *slot = epilogue->accumulate ? *slot + value : value;
    }
  }
}

static void gemm_s8_blocks(const int8_t *a, size_t a_stride, const float *a_scale, size_t block,
                           size_t block_count, size_t keys, size_t rows, const ck_panels *rhs,
                           size_t channel_end, const float *row_factor, float *out, size_t out_stride) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t channel = 0; channel < channel_end; channel++) {
      const int8_t *weight = rhs->weight + (channel / 16) * 16 * rhs->depth + (channel % 16) * 4;
      float total = 0;
      for (size_t b = 0; b < block_count && b * block < keys; b++) {
        size_t begin = b * block, length = ck_min_size(block, keys - begin);
        float acc = (float)dot(a + row * a_stride + begin, weight + begin * 16, length);
        float factor = a_scale[row * block_count + b] * rhs->scale[channel];
        float part = acc * factor;
        total = total + part;
      }
      out[row * out_stride + channel] = row_factor ? total * row_factor[row] : total;
    }
  }
}

static void unpack_rows(const ck_panels *rhs, size_t channel_begin, size_t channel_end, size_t cols,
                        float *out, size_t out_stride) {
  for (size_t channel = channel_begin; channel < channel_end; channel++) {
    const int8_t *weight = rhs->weight + (channel / 16) * 16 * rhs->depth + (channel % 16) * 4;
    float *row = out + (channel - channel_begin) * out_stride;
    for (size_t k = 0; k < cols; k++) row[k] = (float)weight[(k / 4) * 64 + k % 4] * rhs->scale[channel];
  }
}

// Operands in the first cache: plain C has no registers to name.
static uint64_t peak_s8(uint64_t macs) {
  static const int8_t weight[16 * 256] = {1};
  int8_t a[256] = {1};
  volatile int32_t total = 0;
  uint64_t done = 0;
  for (; done < macs; done += sizeof a) total += dot(a, weight, sizeof a);
  return done;
}

void ck_fill__scalar(ck_table *table) {
  table->peak_s8 = peak_s8;
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->unpack_rows = unpack_rows;
  ck_fill_rows__scalar(table);
}
