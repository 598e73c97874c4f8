// Sixteen float lanes in one 512-bit register: the vocabulary the shared row operations are written in.
#pragma once
#include "../internal.h"

typedef __m512 vf;   // 16 floats
typedef __m512i vi;  // 16 int32

// Rows of a at a time and columns at a time in the float products: as many sums as registers allow.
enum { CK_NT_ROWS = 4, CK_NT_COLS = 4, CK_NN_ROWS = 6, CK_NN_VECTORS = 4 };
// Queries at a time in softmax_weights: a tile of the product.
enum { CK_SOFTMAX_ROWS = 12 };

static inline __mmask16 v_first(size_t n) { return (__mmask16)((1u << n) - 1); }
static inline vf v_set(float x) { return _mm512_set1_ps(x); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
// The first n lanes, the others 0. No byte behind them is read.
static inline vf v_load_first(const float *p, size_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
// The first n lanes of x (all for n >= 16), the others of y.
static inline vf v_first_or(vf x, vf y, size_t n) {
  return _mm512_mask_mov_ps(y, n < 16 ? v_first(n) : (__mmask16)0xffff, x);
}
static inline void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline void v_store_first(float *p, vf x, size_t n) { _mm512_mask_storeu_ps(p, v_first(n), x); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
// a < b ? a : b and a > b ? a : b, lane by lane.
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_relu(vf x) { return _mm512_max_ps(x, _mm512_setzero_ps()); }
// Values that must be ready before anything behind this line starts, for the compiler's scheduler only.
static inline __attribute__((always_inline)) void v_pin(vf a[4], vf b[4]) {
  __asm__(""
          : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(b[0]), "+v"(b[1]), "+v"(b[2]), "+v"(b[3]));
}
static inline vf v_abs(vf x) { return _mm512_abs_ps(x); }
// 0 where x is infinite or not a number.
static inline vf v_finite(vf x) {
  __mmask16 keep = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(__FLT_MAX__), _CMP_LE_OQ);
  return _mm512_maskz_mov_ps(keep, x);
}
// Nearest integer, ties to even.
static inline vf v_round(vf x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vi v_int(vf x) { return _mm512_cvtps_epi32(x); }
static inline vf v_float(vi x) { return _mm512_cvtepi32_ps(x); }
// x 2^n for an x near 1 and an integral n that keeps the result normal.
static inline vf v_scale(vf x, vf n) {
  vi shifted = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), shifted));
}
// d less the nearest integer, which v_times_power takes; below CK_POWER_LOWEST a byte is 0 in any case.
static inline vf v_fraction(vf d, vf *power) {
  *power = v_round(d);
  return _mm512_sub_ps(d, *power);
}
static inline vf v_times_power(vf x, vf power) { return _mm512_scalef_ps(x, power); }
// value where x >= limit, else 0 (also where x is not a number).
static inline vf v_keep_from(vf x, vf limit, vf value) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), value);
}
// p * f + s where c > t, else s.
static inline vf v_fma_where(vf c, vf t, vf p, vf f, vf s) {
  return _mm512_mask3_fmadd_ps(p, f, s, _mm512_cmp_ps_mask(c, t, _CMP_GT_OQ));
}
// Upper half onto lower half: 16 -> 8 -> 4 -> 2 -> 1.
static inline float v_sum(vf x) {
  __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline float v_maximum(vf x) { return _mm512_reduce_max_ps(x); }

static inline vi v_int_zero(void) { return _mm512_setzero_si512(); }
static inline vi v_int_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline int32_t v_int_sum(vi x) { return _mm512_reduce_add_epi32(x); }
static inline vi v_load_ints(const int32_t *p) { return _mm512_loadu_si512(p); }
// Lanes 4 j ..< 4 j + 4: the four bytes at p + 64 j.
static inline vi v_load_quads(const int8_t *p) {
  int32_t quads[4];
  for (int j = 0; j < 4; j++) memcpy(&quads[j], p + 64 * j, 4);
  return _mm512_cvtepi8_epi32(_mm_setr_epi32(quads[0], quads[1], quads[2], quads[3]));
}
static inline void v_store_ints(int32_t *p, vi x) { _mm512_storeu_si512(p, x); }
// Lanes as bytes; they lie in [-127, 127].
static inline __m128i v_bytes(vi x) { return _mm512_cvtepi32_epi8(x); }
static inline void v_store_bytes(int8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, v_bytes(x)); }
static inline void v_store_bytes_first(int8_t *p, vi x, size_t n) {
  _mm512_mask_cvtepi32_storeu_epi8(p, v_first(n), x);
}
// 64 lanes as bytes; they lie in [0, 127]. Returns lanes with the same sum as total and the bytes together.
static inline vi v_store_64_bytes(int8_t *p, vi total, vi a, vi b, vi c, vi d) {
  vi packed = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
  vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, packed));
  return _mm512_dpbusd_epi32(total, packed, _mm512_set1_epi8(1));
}
// Lane c becomes the four bytes a[c] b[c] c[c] d[c], first in the lowest address.
static inline void v_store_interleaved(int8_t *p, vi a, vi b, vi c, vi d) {
  vi low = _mm512_set1_epi32(255);
  vi ab = _mm512_or_si512(_mm512_and_si512(a, low), _mm512_slli_epi32(_mm512_and_si512(b, low), 8));
  vi cd = _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(c, low), 16), _mm512_slli_epi32(d, 24));
  _mm512_storeu_si512(p, _mm512_or_si512(ab, cd));
}
// Four rows' bytes: lanes 4 g ..< 4 g + 4 of each at p + 64 g, row after row.
static inline void v_store_groups(int8_t *p, const vi rows[4]) {
  ck_store_groups(p, v_bytes(rows[0]), v_bytes(rows[1]), v_bytes(rows[2]), v_bytes(rows[3]));
}
static inline void v_store_half(uint16_t *p, vf x) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline vf v_load_half(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

// What unsigned-by-signed products need: a depth group of a panel, four bytes for every lane, a sum's start
// that makes up for 128 added to every byte of a row, and lanes in [-127, 127] that become such bytes.
static inline vi v_load_group(const int8_t *p) { return _mm512_loadu_si512(p); }
static inline vi v_int_set(int32_t x) { return _mm512_set1_epi32(x); }
static inline vi v_dot(vi acc, vi x, vi w) { return _mm512_dpbusd_epi32(acc, x, w); }
static inline vi v_dot_start(vi sum) {
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7));
}
static inline vi v_int_flip(vi x) { return _mm512_xor_si512(x, _mm512_set1_epi32(-128)); }
// A value that the compiler must neither foresee nor leave out.
static inline __attribute__((always_inline)) void v_hide(vi *x) { __asm__ volatile("" : "+v"(*x)); }
