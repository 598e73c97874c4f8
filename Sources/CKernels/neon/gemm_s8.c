// INT8 product with the first NEON instructions: 4 rows x 8 channels, 8 depth (two groups) a step.
//
//                 c0 c1   c2 c3   c4 c5   c6 c7           each register: two channels x two pairs of depth
//   row 0         v16     v17     v18     v19             16 sums; a step loads 8 halves of panel registers,
//   ...                                                   each used by 4 rows
//   row 3         v28     v29     v30     v31
//
// smull, smlal (the second group on top: 2 * 127 * 127 = 32,258 fits 16 bits), sadalp into 32 bits: 3
// instructions for 16 products. A row's dword is repeated in both halves of 64 bits. Pairs are added once, at
// the end.
//
// Four rows are written in assembly: an in-order core wants 64-bit loads (one of 128 bits stops a Cortex-A53
// for two cycles) and some instructions between two that depend on each other; compilers pair loads and spill
// sums.
#include "../internal.h"

#if CK_ARM64
#include "lanes.h"
#include "../lane_functions.h"
#define CK_KINDS ck_gemm_s8_kinds__neon
#include "../lane_product.h"

// Registers: v0-v3 first dwords of the rows, v4-v7 second ones, v8-v11 a product of each row, v12 and v13
// (first group), v14 and v15 (second) two channels of the panel, taking turns.
// Laid out by hand: a line is what one step of the pipeline takes.
// clang-format off
#define ZERO(N) "movi v" #N ".2d, #0\n"
#define LOAD(N, ADDRESS) "ldr d" #N ", [" ADDRESS "]\n"
#define REPEAT(N, FROM, DWORD) "dup v" #N ".2s, v" #FROM ".s[" #DWORD "]\n"
#define FIRST(N, W, ROW) "smull v" #N ".8h, v" #W ".8b, v" #ROW ".8b\n"
#define SECOND(N, W, ROW) "smlal v" #N ".8h, v" #W ".8b, v" #ROW ".8b\n"
#define ADD(SUM, N) "sadalp v" #SUM ".4s, v" #N ".8h\n"
#define STORE(A, B, C, D, OFFSET)                                                                   \
  "addp v" #A ".4s, v" #A ".4s, v" #B ".4s\n addp v" #C ".4s, v" #C ".4s, v" #D ".4s\n"             \
  "stp q" #A ", q" #C ", [%[sums], #" #OFFSET "]\n"

// Four rows by the eight channels at `panel`. FIRST begins a product, two lines later SECOND adds the other
// group, two later ADD sums up, also across steps. The last lines load the next step's rows 0 and 1 and first
// channels; after the last step that is the first one again, so nothing behind the operands is read.
static inline void sum_half(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                            int32_t *sums) {
  const int8_t *w = panel;
  size_t k = 0, at = 0;
  __asm__ volatile(
      ZERO(8) ZERO(9) ZERO(10) ZERO(11) ZERO(15) ZERO(16) ZERO(17) ZERO(18) ZERO(19) ZERO(20) ZERO(21)
      ZERO(22) ZERO(23) ZERO(24) ZERO(25) ZERO(26) ZERO(27) ZERO(28) ZERO(29) ZERO(30) ZERO(31)
      LOAD(0, "%[a0]") LOAD(1, "%[a1]") LOAD(12, "%[w]") REPEAT(4, 0, 1) REPEAT(0, 0, 0)
      "0:\n"
      REPEAT(5, 1, 1) LOAD(3, "%[a3], %[at]")
      ADD(19, 8)  LOAD(13, "%[w], #8") REPEAT(1, 1, 0)
                  SECOND(10, 15, 6) LOAD(2, "%[a2], %[at]")  FIRST(8, 12, 0)
      ADD(23, 9)  SECOND(11, 15, 7) LOAD(14, "%[w], #64") REPEAT(6, 2, 1)  FIRST(9, 12, 1) REPEAT(2, 2, 0)
      REPEAT(7, 3, 1)
      ADD(27, 10) SECOND(8, 14, 4)  FIRST(10, 12, 2) LOAD(15, "%[w], #72") REPEAT(3, 3, 0)
      ADD(31, 11) SECOND(9, 14, 5)  FIRST(11, 12, 3)
      ADD(16, 8)  SECOND(10, 14, 6) FIRST(8, 13, 0)
      ADD(20, 9)  SECOND(11, 14, 7) FIRST(9, 13, 1)  LOAD(14, "%[w], #80")
      ADD(24, 10) LOAD(12, "%[w], #16")
                  SECOND(8, 15, 4)  FIRST(10, 13, 2)
      ADD(28, 11) SECOND(9, 15, 5)  FIRST(11, 13, 3)
      ADD(17, 8)  SECOND(10, 15, 6) FIRST(8, 12, 0)
      ADD(21, 9)  LOAD(13, "%[w], #24")
                  SECOND(11, 15, 7) FIRST(9, 12, 1)  LOAD(15, "%[w], #88")
      ADD(25, 10) "add %[k], %[k], #8\n"
                  SECOND(8, 14, 4)  FIRST(10, 12, 2) "cmp %[k], %[depth]\n"
      ADD(29, 11) SECOND(9, 14, 5)  "csel %[at], xzr, %[k], eq\n"
                  FIRST(11, 12, 3)  "add %[w], %[w], #128\n"
      ADD(18, 8)  SECOND(10, 14, 6) "csel %[w], %[panel], %[w], eq\n"
                  FIRST(8, 13, 0)   LOAD(0, "%[a0], %[at]")
      ADD(22, 9)  SECOND(11, 14, 7) FIRST(9, 13, 1)
      ADD(26, 10) SECOND(8, 15, 4)  REPEAT(4, 0, 1) LOAD(1, "%[a1], %[at]")  FIRST(10, 13, 2)
      ADD(30, 11) LOAD(12, "%[w]") REPEAT(0, 0, 0)
                  SECOND(9, 15, 5)  FIRST(11, 13, 3)
      "b.ne 0b\n"
      ADD(19, 8) SECOND(10, 15, 6) ADD(23, 9) SECOND(11, 15, 7) ADD(27, 10) ADD(31, 11)
      STORE(16, 17, 18, 19, 0) STORE(20, 21, 22, 23, 64) STORE(24, 25, 26, 27, 128) STORE(28, 29, 30, 31, 192)
      : [w] "+&r"(w), [k] "+&r"(k), [at] "+&r"(at)
      : [a0] "r"(a), [a1] "r"(a + a_stride), [a2] "r"(a + 2 * a_stride), [a3] "r"(a + 3 * a_stride),
        [panel] "r"(panel), [depth] "r"(depth), [sums] "r"(sums)
      : "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
        "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
        "v27", "v28", "v29", "v30", "v31");
}
// clang-format on

static void ck_gemm_s8_4x16k8__neon(const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                                    int32_t *sums) {
  sum_half(a, a_stride, panel, depth, sums);
  sum_half(a, a_stride, panel + 32, depth, sums + 8);
}

static inline int8x8_t repeat_dword(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, 4);
  return vreinterpret_s8_s32(vdup_n_s32(four));
}

// One or two rows, what is left of a call.
V_FUNCTION void sum_tile(const int rows, const int8_t *a, size_t a_stride, const int8_t *panel, size_t depth,
                         int32_t *sums) {
  int32x4_t acc[2][8];
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 8; i++) acc[r][i] = vdupq_n_s32(0);
  }
  for (size_t k = 0; k < depth; k += 8) {
    int8x8_t first[2], second[2];
    for (int r = 0; r < rows; r++) {
      first[r] = repeat_dword(a + (size_t)r * a_stride + k);
      second[r] = repeat_dword(a + (size_t)r * a_stride + k + 4);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      int8x8_t w = vld1_s8(panel + k * 16 + 8 * i), v = vld1_s8(panel + k * 16 + 64 + 8 * i);
#pragma GCC unroll 2
      for (int r = 0; r < rows; r++) {
        acc[r][i] = vpadalq_s16(acc[r][i], vmlal_s8(vmull_s8(first[r], w), second[r], v));
      }
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < 4; i++)
      vst1q_s32(sums + r * 16 + 4 * i, vpaddq_s32(acc[r][2 * i], acc[r][2 * i + 1]));
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

const tile_kind CK_KINDS[] = {
    {4, ck_gemm_s8_4x16k8__neon}, {2, ck_gemm_s8_2x16k8__neon}, {1, ck_gemm_s8_1x16k8__neon}};

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
