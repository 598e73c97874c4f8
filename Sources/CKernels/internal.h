// Shared by every kernel file: rounding, clamping, the fused multiply-add, and the constants of the two
// polynomials, so that one definition serves scalar and vector code alike.
#pragma once
#include "include/ckernels.h"
#include <string.h>

// A product followed by a sum is rounded twice unless it is written as a fused operation. Compilers that
// ignore this pragma need -ffp-contract=off.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#if defined(__x86_64__)
#define CK_X86 1
#include <immintrin.h>
#else
#define CK_X86 0
#endif
#if defined(__aarch64__)
#define CK_ARM64 1
#include <arm_neon.h>
#else
#define CK_ARM64 0
#endif

// Every path appends its own entries to a copy of the next simpler path's table.
void ck_fill__scalar(ck_table *table);
void ck_fill_rows__scalar(ck_table *table);
#if CK_X86
void ck_fill__avx2(ck_table *table);
void ck_fill_rows__avx2(ck_table *table);
void ck_fill__avx_vnni(ck_table *table);
void ck_fill__avx512_vnni(ck_table *table);
void ck_fill_rows__avx512_vnni(ck_table *table);
void ck_fill__amx_int8(ck_table *table);
#endif
#if CK_ARM64
void ck_fill__neon(ck_table *table);
void ck_fill_rows__neon(ck_table *table);
void ck_fill__neon_dotprod(ck_table *table);
void ck_fill__neon_i8mm(ck_table *table);
#endif

// Rows whose largest magnitude lies below this count as all zero: 127 / max would overflow.
#define CK_TINY_MAX 0x1p-100f
// |value| below this: adding and subtracting it rounds to an integer, ties to even.
#define CK_ROUND_MAGIC 12582912.0f

// exp(x) = 2^n e^r, n = round(x log2 e), r = x - n ln 2 in two parts; e^r = 1 + r (1 + r P(r)), P minimax of
// degree 4 on |r| <= 0.3475. Relative error of the polynomial 3e-9; of the whole below 1 ulp.
#define CK_LOG2E 0x1.715476p+0f
#define CK_LN2_HIGH 0x1.62e4p-1f
#define CK_LN2_LOW 0x1.7f7d1cp-20f
#define CK_EXP_LOWEST -85.19f  // e^x < 1e-37 from here on: flushed to 0
static const float ck_exp_coefficients[5] = {0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558f8p-5f, 0x1.123b5ap-7f,
                                             0x1.6a2334p-10f};

// 127 * 2^d for d <= 0, to be rounded to a byte: n = round(d), r = d - n, 127 * 2^r = 127 + r P(r), P minimax
// of degree 2 on |r| <= 1/2. Relative error 1.02e-4, exact at d = 0, never above 127.02. Below
// CK_POWER_LOWEST the byte is 0.
#define CK_POWER_LOWEST -30.0f
static const float ck_power_coefficients[4] = {127.0f, 0x1.60300ep+6f, 0x1.ec2c34p+4f, 0x1.bf1cd2p+2f};
#define CK_LN2 0x1.62e43p-1f

// Phi(x) - 1/2 = x Q(t), t = 2 x^2 / limit^2 - 1, Q minimax of degree 12 on |x| <= limit (5e-7 absolute with
// all rounding). The limit's last bits are chosen so that the product is exactly 1/2 there: beyond it Phi is
// 0 and 1. Q runs as two chains, even and odd coefficients in t^2: in-order cores wait for every link of a
// chain.
#define CK_GELU_LIMIT 0x1.46666p+2f  // 5.1
#define CK_GELU_SQUARE 0x1.3af4bap-4f
static const float ck_gelu_coefficients[13] = {
    0x1.1bdd18p-3f,  -0x1.1aa2ap-4f,  0x1.a000ecp-5f,  -0x1.4994bp-5f, 0x1.04002cp-5f,
    -0x1.87f134p-6f, 0x1.1bf898p-6f,  -0x1.92abfcp-7f, 0x1.d7ee88p-8f, -0x1.7d9f52p-9f,
    0x1.0853dep-9f,  -0x1.126f8cp-9f, 0x1.ab336p-11f};

// x/2 (1 + tanh z) = x / (1 + e^(-2 z)) with 2 z = 2 sqrt(2/pi) (x + 0.044715 x^3) = x (FIRST + CUBE x^2).
#define CK_TANH_FIRST 1.59576912f
#define CK_TANH_CUBE 0.0713548163f

// Rounds to the nearest integer, ties to even; |x| < 2^22.
static inline float ck_round(float x) { return (x + CK_ROUND_MAGIC) - CK_ROUND_MAGIC; }

static inline uint32_t ck_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

static inline float ck_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// x, or 0 where x is infinite or not a number.
static inline float ck_finite(float x) { return (ck_bits(x) & 0x7f800000u) == 0x7f800000u ? 0.0f : x; }

static inline float ck_abs(float x) { return ck_float(ck_bits(x) & 0x7fffffffu); }

// a * b + c, rounded once. Where the processor has no such instruction: the product of two floats is exact in
// double, and the sum is rounded to odd, so that the last rounding to float is the only one.
static inline float ck_fma(float a, float b, float c) {
#if CK_ARM64 || defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  double product = (double)a * (double)b;
  double addend = (double)c;
  double sum = product + addend;
  double back = sum - product;
  double lost = (product - (sum - back)) + (addend - back);
  uint64_t bits;
  memcpy(&bits, &sum, 8);
  if (lost != 0 && (bits & 1) == 0) {
    // Towards the lost part: away from zero when it has the sum's sign.
    bits = ((lost > 0) == (sum > 0)) ? bits + 1 : bits - 1;
    memcpy(&sum, &bits, 8);
  }
  return (float)sum;
#endif
}

static inline float ck_sqrt(float x) {
#if CK_X86
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#elif CK_ARM64
  return vgetq_lane_f32(vsqrtq_f32(vdupq_n_f32(x)), 0);
#else
  return __builtin_sqrtf(x);
#endif
}

#if CK_X86
// Four times 16 bytes: bytes 4 g ..< 4 g + 4 of each at p + 64 g, a then b, c and d.
static inline void ck_store_groups(int8_t *p, __m128i a, __m128i b, __m128i c, __m128i d) {
  __m128i ab0 = _mm_unpacklo_epi32(a, b), ab1 = _mm_unpackhi_epi32(a, b);
  __m128i cd0 = _mm_unpacklo_epi32(c, d), cd1 = _mm_unpackhi_epi32(c, d);
  _mm_storeu_si128((__m128i *)p, _mm_unpacklo_epi64(ab0, cd0));
  _mm_storeu_si128((__m128i *)(p + 64), _mm_unpackhi_epi64(ab0, cd0));
  _mm_storeu_si128((__m128i *)(p + 128), _mm_unpacklo_epi64(ab1, cd1));
  _mm_storeu_si128((__m128i *)(p + 192), _mm_unpackhi_epi64(ab1, cd1));
}
#endif

static inline size_t ck_min_size(size_t a, size_t b) { return a < b ? a : b; }
