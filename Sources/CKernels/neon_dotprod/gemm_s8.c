// INT8 product with sdot by lane: 4 rows x 16 channels, 16 depth (four groups) a step.
//
//               c0-3   c4-7   c8-11  c12-15
//   row 0       s0     s1     s2     s3        16 sums; per group 4 panel registers, each used by 4 rows;
//   ...                                        a row's 16 depth sit in one register, a lane per group
//   row 3       s12    s13    s14    s15
//
// One sdot is 16 products; per group 4 loads for 16 sdot, plus one row load per 16 depth.
#include "../internal.h"

#if CK_ARM64
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#include "../neon/lanes.h"
#include "../lane_functions.h"
#define CK_KINDS ck_gemm_s8_kinds__neon_dotprod
#include "../lane_product.h"

#define CK_GROUP(LANE)                                          \
  {                                                             \
    int8x16_t w0 = vld1q_s8(panel + k * 16 + 64 * (LANE));      \
    int8x16_t w1 = vld1q_s8(panel + k * 16 + 64 * (LANE) + 16); \
    int8x16_t w2 = vld1q_s8(panel + k * 16 + 64 * (LANE) + 32); \
    int8x16_t w3 = vld1q_s8(panel + k * 16 + 64 * (LANE) + 48); \
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {    \
      acc[r][0] = vdotq_laneq_s32(acc[r][0], w0, x[r], LANE);   \
      acc[r][1] = vdotq_laneq_s32(acc[r][1], w1, x[r], LANE);   \
      acc[r][2] = vdotq_laneq_s32(acc[r][2], w2, x[r], LANE);   \
      acc[r][3] = vdotq_laneq_s32(acc[r][3], w3, x[r], LANE);   \
    }                                                           \
  }

V_FUNCTION void sum_tile(const int rows, const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  int32x4_t acc[4][4];
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 4; i++) acc[r][i] = vdupq_n_s32(0);
  }
  for (size_t k = 0; k < depth; k += 16) {
    int8x16_t x[4];
    for (int r = 0; r < rows; r++) x[r] = vld1q_s8(a + (size_t)r * a_stride + k);
    CK_GROUP(0)
    CK_GROUP(1)
    CK_GROUP(2)
    CK_GROUP(3)
  }
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 4; i++) vst1q_s32(sums + r * 16 + 4 * i, acc[r][i]);
  }
}

static void ck_gemm_s8_4x16k4__neon_dotprod(const int8_t *a, size_t a_stride, const int8_t *panel,
                                            size_t depth, int32_t *sums) {
  sum_tile(4, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_2x16k4__neon_dotprod(const int8_t *a, size_t a_stride, const int8_t *panel,
                                            size_t depth, int32_t *sums) {
  sum_tile(2, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_1x16k4__neon_dotprod(const int8_t *a, size_t a_stride, const int8_t *panel,
                                            size_t depth, int32_t *sums) {
  sum_tile(1, a, a_stride, panel, depth, sums);
}

const tile_kind CK_KINDS[] = {{4, ck_gemm_s8_4x16k4__neon_dotprod},
                              {2, ck_gemm_s8_2x16k4__neon_dotprod},
                              {1, ck_gemm_s8_1x16k4__neon_dotprod}};

static uint64_t peak_s8(uint64_t macs) {
  int8x16_t x = vdupq_n_s8(3), w = vdupq_n_s8(5);
  int32x4_t acc[16];
  for (int i = 0; i < 16; i++) {
    acc[i] = vdupq_n_s32(0);
    __asm__ volatile("" : "+w"(acc[i]));
  }
  uint64_t done = 0;
  for (; done < macs; done += 16 * 16) {
    for (int i = 0; i < 16; i++) acc[i] = vdotq_s32(acc[i], x, w);
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

void ck_fill__neon_dotprod(ck_table *table) {
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->peak_s8 = peak_s8;
}
#endif
