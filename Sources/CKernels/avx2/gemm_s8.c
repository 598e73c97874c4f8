// INT8 product with AVX2: bytes widened to 16 bits, pmaddwd; 4 rows x 8 channels (half a panel), 4 depth a
// step.
//
//              c0-3   c4-7            each register: 4 channels x 2 pairs of depth, 32-bit
//   row 0      s0     s1              8 sums; per group two widening panel loads, four repeated row quarters
//   ...                               (4 words each, widened once into a copy), 8 pmaddwd, 8 paddd
//   row 3      s6     s7
//
// pmaddubsw would need half the instructions but saturates: 2 * 255 * 127 does not fit 16 bits.
#include "../internal.h"

#if CK_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "lanes.h"
#include "../lane_functions.h"
#define CK_KINDS ck_gemm_s8_kinds__avx2
#include "../lane_product.h"

enum { COPY_DEPTH = 1024 };  // depth widened at a time: 8 KiB for four rows

V_FUNCTION __m256i widen(const int8_t *p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}

// Adds `depth` of half a panel to the sums of `rows` rows.
V_FUNCTION void sum_half(const int rows, int half, const int16_t *copy, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  __m256i acc[4][2];
  for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  for (size_t k = 0; k < depth; k += 4) {
    const int8_t *group = panel + k * 16 + 32 * half;
    __m256i w0 = widen(group), w1 = widen(group + 16);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
      int64_t four;
      memcpy(&four, copy + r * COPY_DEPTH + k, 8);
      __m256i x = _mm256_set1_epi64x(four);
      acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(x, w0));
      acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(x, w1));
    }
  }
  for (int r = 0; r < rows; r++) {
    __m256i *slot = (__m256i *)(sums + r * 16 + 8 * half);
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(acc[r][0], acc[r][1]), 0xd8);
    _mm256_storeu_si256(slot, _mm256_add_epi32(_mm256_loadu_si256(slot), pairs));
  }
}

V_FUNCTION void sum_tile(const int rows, const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  _Alignas(32) int16_t copy[4 * COPY_DEPTH];
  memset(sums, 0, (size_t)rows * 16 * sizeof *sums);
  for (size_t k = 0; k < depth; k += COPY_DEPTH) {
    size_t length = ck_min_size(depth - k, COPY_DEPTH);
    for (int r = 0; r < rows; r++) {
      for (size_t i = 0; i < length; i += 16) {
        _mm256_store_si256((__m256i *)(copy + r * COPY_DEPTH + i), widen(a + (size_t)r * a_stride + k + i));
      }
    }
    sum_half(rows, 0, copy, panel + k * 16, length, sums);
    sum_half(rows, 1, copy, panel + k * 16, length, sums);
  }
}

static void ck_gemm_s8_4x16k4__avx2(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                    int32_t *sums) {
  sum_tile(4, a, a_stride, panel, depth, sums);
}

static void ck_gemm_s8_1x16k4__avx2(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                    int32_t *sums) {
  sum_tile(1, a, a_stride, panel, depth, sums);
}

const tile_kind CK_KINDS[] = {{4, ck_gemm_s8_4x16k4__avx2}, {1, ck_gemm_s8_1x16k4__avx2}};

static uint64_t peak_s8(uint64_t macs) {
  __m256i acc[8], x = _mm256_set1_epi16(3), w = _mm256_set1_epi16(5);
  for (int i = 0; i < 8; i++) {
    acc[i] = _mm256_setzero_si256();
    __asm__ volatile("" : "+x"(acc[i]));
  }
  uint64_t done = 0;
  for (; done < macs; done += 8 * 16) {
    for (int i = 0; i < 8; i++) acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(x, w));
    __asm__ volatile("" : "+x"(x), "+x"(w));
  }
  for (int i = 0; i < 8; i++) __asm__ volatile("" : : "x"(acc[i]));
  return done;
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__avx2(ck_table *table) {
  table->gemm_s8 = gemm_s8;
  table->gemm_s8_blocks = gemm_s8_blocks;
  table->peak_s8 = peak_s8;
  ck_fill_rows__avx2(table);
}
#endif
