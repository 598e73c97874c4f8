// INT8 product with the first NEON instructions: 2 rows x 16 channels, 8 depth (two groups) a step.
//
//                 c0 c1   c2 c3   ...  c14 c15            each register: two channels x two pairs of depth
//   row 0         s0      s1      ...  s7                 16 sums, 8 panel registers a step, 4 of them at a time
//   row 1         s8      s9      ...  s15
//
// smull, smlal (the second group on top: 2 * 127 * 127 = 32,258 fits 16 bits), sadalp into 32 bits: 3 instructions
// for 16 products. A row's dword is repeated in all lanes (ld1r). Pairs are added once, at the end.
#include "../internal.h"

#if CK_ARM64
#include "lanes.h"
#include "../lane_functions.h"
#define CK_KINDS ck_gemm_s8_kinds__neon
#include "../lane_product.h"

static inline int8x16_t repeat_dword(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

V_FUNCTION void sum_tile(const int rows, const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  int32x4_t acc[2][8];
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 8; i++) acc[r][i] = vdupq_n_s32(0);
  }
  for (size_t k = 0; k < depth; k += 8) {
    int8x16_t first[2], second[2];
    for (int r = 0; r < rows; r++) {
      first[r] = repeat_dword(a + (size_t)r * a_stride + k);
      second[r] = repeat_dword(a + (size_t)r * a_stride + k + 4);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      int8x16_t w = vld1q_s8(panel + k * 16 + 16 * i), v = vld1q_s8(panel + k * 16 + 64 + 16 * i);
#pragma GCC unroll 2
      for (int r = 0; r < rows; r++) {
        int16x8_t low = vmull_s8(vget_low_s8(first[r]), vget_low_s8(w));
        int16x8_t high = vmull_high_s8(first[r], w);
        low = vmlal_s8(low, vget_low_s8(second[r]), vget_low_s8(v));
        high = vmlal_high_s8(high, second[r], v);
        acc[r][2 * i] = vpadalq_s16(acc[r][2 * i], low);
        acc[r][2 * i + 1] = vpadalq_s16(acc[r][2 * i + 1], high);
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 4; i++) vst1q_s32(sums + r * 16 + 4 * i, vpaddq_s32(acc[r][2 * i], acc[r][2 * i + 1]));
  }
}

static void ck_gemm_s8_2x16k8__neon(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                    int32_t *sums) {
  sum_tile(2, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_1x16k8__neon(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                    int32_t *sums) {
  sum_tile(1, a, a_stride, panel, depth, sums);
}

const tile_kind CK_KINDS[] = {{2, ck_gemm_s8_2x16k8__neon}, {1, ck_gemm_s8_1x16k8__neon}};

static uint64_t peak_s8(uint64_t macs) {
  int8x16_t x = vdupq_n_s8(3), w = vdupq_n_s8(5);
  int32x4_t acc[8];
  for (int i = 0; i < 8; i++) {
    acc[i] = vdupq_n_s32(0);
    __asm__ volatile("" : "+w"(acc[i]));
  }
  uint64_t done = 0;
  for (; done < macs; done += 8 * 16) {
    for (int i = 0; i < 8; i++) {
      int16x8_t pairs = vmull_s8(vget_low_s8(x), vget_low_s8(w));
      pairs = vmlal_high_s8(pairs, x, w);
      acc[i] = vpadalq_s16(acc[i], pairs);
      __asm__ volatile("" : "+w"(x), "+w"(w));
    }
  }
  for (int i = 0; i < 8; i++) __asm__ volatile("" : : "w"(acc[i]));
  return done;
}

void ck_fill__neon(ck_table *table) {
  table->peak_s8 = peak_s8;
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  ck_fill_rows__neon(table);
}
#endif
