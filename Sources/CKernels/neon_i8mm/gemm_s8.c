// INT8 product with smmla: 8 rows x 16 channels as two halves of 8 channels, 8 depth (two groups) a step.
//
//                 c0 c1   c2 c3   c4 c5   c6 c7        each register: two rows x two channels
//   rows 0, 1     s0      s1      s2      s3           16 sums; two groups of the panel are zipped by dwords,
//   ...                                                which puts 8 depth of two channels in one register
//   rows 6, 7     s12     s13     s14     s15
//
// One smmla is 32 products; per step 4 panel loads and 4 zips for 16 smmla. A single last row is doubled.
#include "../internal.h"

#if CK_ARM64
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("i8mm,dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod+i8mm")
#endif
#include "../neon/lanes.h"
#include "../lane_functions.h"
#define CK_KINDS ck_gemm_s8_kinds__neon_i8mm
#include "../lane_product.h"

static inline int8x16_t two_rows(const int8_t *first, const int8_t *second) {
  return vcombine_s8(vld1_s8(first), vld1_s8(second));
}

V_FUNCTION int8x16_t zip_low(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

V_FUNCTION int8x16_t zip_high(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}

// Half a panel: channels 8 * half ..< 8 * half + 8 of `rows` rows (1, or pairs up to 8).
V_FUNCTION void sum_half(const int rows, const int half, const int8_t *a, size_t a_stride,
                         const int8_t *panel, size_t depth, int32_t *sums) {
  const int pairs = (rows + 1) / 2;
  int32x4_t acc[4][4];
  for (int r = 0; r < pairs; r++) {
    for (int i = 0; i < 4; i++) acc[r][i] = vdupq_n_s32(0);
  }
  for (size_t k = 0; k < depth; k += 8) {
    const int8_t *group = panel + k * 16 + 32 * half;
    int8x16_t u0 = vld1q_s8(group), u1 = vld1q_s8(group + 16);
    int8x16_t v0 = vld1q_s8(group + 64), v1 = vld1q_s8(group + 80);
    int8x16_t w[4] = {zip_low(u0, v0), zip_high(u0, v0), zip_low(u1, v1), zip_high(u1, v1)};
#pragma GCC unroll 4
    for (int r = 0; r < pairs; r++) {
      const int8_t *row = a + (size_t)(2 * r) * a_stride + k;
      int8x16_t x = two_rows(row, rows > 1 ? row + a_stride : row);
      acc[r][0] = vmmlaq_s32(acc[r][0], x, w[0]);
      acc[r][1] = vmmlaq_s32(acc[r][1], x, w[1]);
      acc[r][2] = vmmlaq_s32(acc[r][2], x, w[2]);
      acc[r][3] = vmmlaq_s32(acc[r][3], x, w[3]);
    }
  }
  for (int r = 0; r < pairs; r++) {
    int32_t *upper = sums + 2 * r * 16 + 8 * half;
    for (int i = 0; i < 4; i++) {
      vst1_s32(upper + 2 * i, vget_low_s32(acc[r][i]));
      if (rows > 1) vst1_s32(upper + 16 + 2 * i, vget_high_s32(acc[r][i]));
    }
  }
}

V_FUNCTION void sum_tile(const int rows, const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  sum_half(rows, 0, a, a_stride, panel, depth, sums);
  sum_half(rows, 1, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_8x16k8__neon_i8mm(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                         int32_t *sums) {
  sum_tile(8, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_4x16k8__neon_i8mm(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                         int32_t *sums) {
  sum_tile(4, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_2x16k8__neon_i8mm(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                         int32_t *sums) {
  sum_tile(2, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_1x16k8__neon_i8mm(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                         int32_t *sums) {
  sum_tile(1, a, a_stride, panel, depth, sums);
}

const tile_kind CK_KINDS[] = {{8, ck_gemm_s8_8x16k8__neon_i8mm},
                              {4, ck_gemm_s8_4x16k8__neon_i8mm},
                              {2, ck_gemm_s8_2x16k8__neon_i8mm},
                              {1, ck_gemm_s8_1x16k8__neon_i8mm}};

static uint64_t peak_s8(uint64_t macs) {
  int8x16_t x = vdupq_n_s8(3), w = vdupq_n_s8(5);
  int32x4_t acc[16];
  for (int i = 0; i < 16; i++) {
    acc[i] = vdupq_n_s32(0);
    __asm__ volatile("" : "+w"(acc[i]));
  }
  uint64_t done = 0;
  for (; done < macs; done += 16 * 32) {
    for (int i = 0; i < 16; i++) acc[i] = vmmlaq_s32(acc[i], x, w);
    __asm__ volatile("" : "+w"(x), "+w"(w));
  }
  for (int i = 0; i < 16; i++) __asm__ volatile("" : : "w"(acc[i]));
  return done;
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__neon_i8mm(ck_table *table) {
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->peak_s8 = peak_s8;
}
#endif
