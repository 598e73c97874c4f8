// Sixteen float lanes in two 256-bit registers: the vocabulary the shared row operations are written in.
#pragma once
#include "../internal.h"

typedef struct vf { __m256 q[2]; } vf;   // 16 floats
typedef struct vi { __m256i q[2]; } vi;  // 16 int32

enum { CK_NT_ROWS = 2, CK_NT_COLS = 2, CK_NN_ROWS = 6, CK_NN_VECTORS = 1 };
// Queries at a time in softmax_weights: whole tiles of the product.
enum { CK_SOFTMAX_ROWS = 8 };

#define V_PARTS _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++)
#define V_FUNCTION static inline __attribute__((always_inline))

V_FUNCTION vf v_set(float x) { return (vf){{_mm256_set1_ps(x), _mm256_set1_ps(x)}}; }
V_FUNCTION vf v_load(const float *p) { return (vf){{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}}; }
V_FUNCTION void v_store(float *p, vf x) {
  _mm256_storeu_ps(p, x.q[0]);
  _mm256_storeu_ps(p + 8, x.q[1]);
}
// All bits set in lanes begin ..< n of eight that start at lane `begin`.
V_FUNCTION __m256i first_mask(size_t n, int begin) {
  __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(begin));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
// The first n lanes, the others 0. No byte behind them is read: masked-off lanes cannot fault.
V_FUNCTION vf v_load_first(const float *p, size_t n) {
  vf r = v_set(0);
  r.q[0] = _mm256_maskload_ps(p, first_mask(n, 0));
  if (n > 8) r.q[1] = _mm256_maskload_ps(p + 8, first_mask(n, 8));
  return r;
}
V_FUNCTION void v_store_first(float *p, vf x, size_t n) {
  _mm256_maskstore_ps(p, first_mask(n, 0), x.q[0]);
  if (n > 8) _mm256_maskstore_ps(p + 8, first_mask(n, 8), x.q[1]);
}
// The first n lanes of x (all for n >= 16), the others of y.
V_FUNCTION vf v_first_or(vf x, vf y, size_t n) {
  V_PARTS y.q[i] = _mm256_blendv_ps(y.q[i], x.q[i], _mm256_castsi256_ps(first_mask(n < 16 ? n : 16, 8 * i)));
  return y;
}
#define V_BINARY(NAME, INSTRUCTION)               \
  V_FUNCTION vf NAME(vf a, vf b) {                \
    V_PARTS a.q[i] = INSTRUCTION(a.q[i], b.q[i]); \
    return a;                                     \
  }
V_BINARY(v_add, _mm256_add_ps)
V_BINARY(v_sub, _mm256_sub_ps)
V_BINARY(v_mul, _mm256_mul_ps)
V_BINARY(v_div, _mm256_div_ps)
// a < b ? a : b and a > b ? a : b, lane by lane.
V_BINARY(v_min, _mm256_min_ps)
V_BINARY(v_max, _mm256_max_ps)
V_FUNCTION vf v_fma(vf a, vf b, vf c) {
  V_PARTS c.q[i] = _mm256_fmadd_ps(a.q[i], b.q[i], c.q[i]);
  return c;
}
V_FUNCTION vf v_relu(vf x) { return v_max(x, v_set(0)); }
V_FUNCTION vf v_abs(vf x) {
  V_PARTS x.q[i] = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.q[i]);
  return x;
}
// 0 where x is infinite or not a number.
V_FUNCTION vf v_finite(vf x) {
  vf size = v_abs(x);
  V_PARTS x.q[i] = _mm256_and_ps(x.q[i], _mm256_cmp_ps(size.q[i], _mm256_set1_ps(__FLT_MAX__), _CMP_LE_OQ));
  return x;
}
// Nearest integer, ties to even.
V_FUNCTION vf v_round(vf x) {
  V_PARTS x.q[i] = _mm256_round_ps(x.q[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return x;
}
V_FUNCTION vi v_int(vf x) { return (vi){{_mm256_cvtps_epi32(x.q[0]), _mm256_cvtps_epi32(x.q[1])}}; }
V_FUNCTION vf v_float(vi x) { return (vf){{_mm256_cvtepi32_ps(x.q[0]), _mm256_cvtepi32_ps(x.q[1])}}; }
// x 2^n for an x near 1 and an integral n that keeps the result normal.
V_FUNCTION vf v_scale(vf x, vf n) {
  V_PARTS {
    __m256i shifted = _mm256_slli_epi32(_mm256_cvtps_epi32(n.q[i]), 23);
    x.q[i] = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.q[i]), shifted));
  }
  return x;
}
// d less the nearest integer, which v_times_power takes (as integer + CK_ROUND_MAGIC); d from
// CK_POWER_LOWEST.
V_FUNCTION vf v_fraction(vf d, vf *power) {
  d = v_max(d, v_set(CK_POWER_LOWEST));
  *power = v_add(d, v_set(CK_ROUND_MAGIC));
  return v_sub(d, v_sub(*power, v_set(CK_ROUND_MAGIC)));
}
V_FUNCTION vf v_times_power(vf x, vf power) {
  V_PARTS {
    __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(power.q[i]), 23);
    x.q[i] = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x.q[i]), shifted));
  }
  return x;
}
// value where x >= limit, else 0 (also where x is not a number).
V_FUNCTION vf v_keep_from(vf x, vf limit, vf value) {
  V_PARTS value.q[i] = _mm256_and_ps(_mm256_cmp_ps(x.q[i], limit.q[i], _CMP_GE_OQ), value.q[i]);
  return value;
}
// p * f + s where c > t, else s.
V_FUNCTION vf v_fma_where(vf c, vf t, vf p, vf f, vf s) {
  vf sum = v_fma(p, f, s);
  V_PARTS s.q[i] = _mm256_blendv_ps(s.q[i], sum.q[i], _mm256_cmp_ps(c.q[i], t.q[i], _CMP_GT_OQ));
  return s;
}
// Values that must be ready before anything behind this line starts, for the compiler's scheduler only. With
// 16 registers there is no room to hold more chains open.
V_FUNCTION void v_pin(vf a[4], vf b[4]) {
  (void)a;
  (void)b;
}
// Upper half onto lower half: 16 -> 8 -> 4 -> 2 -> 1.
V_FUNCTION float v_sum(vf x) {
  __m256 eight = _mm256_add_ps(x.q[0], x.q[1]);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
V_FUNCTION float v_maximum(vf x) {
  __m256 eight = _mm256_max_ps(x.q[0], x.q[1]);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

V_FUNCTION vi v_int_zero(void) { return (vi){{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
V_FUNCTION vi v_int_add(vi a, vi b) {
  V_PARTS a.q[i] = _mm256_add_epi32(a.q[i], b.q[i]);
  return a;
}
V_FUNCTION int32_t v_int_sum(vi x) {
  __m256i eight = _mm256_add_epi32(x.q[0], x.q[1]);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64(two, 32)));
}
V_FUNCTION vi v_load_ints(const int32_t *p) {
  return (vi){{_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))}};
}
// Lanes 4 j ..< 4 j + 4: the four bytes at p + 64 j.
V_FUNCTION vi v_load_quads(const int8_t *p) {
  int32_t quads[4];
  for (int j = 0; j < 4; j++) memcpy(&quads[j], p + 64 * j, 4);
  return (vi){{_mm256_cvtepi8_epi32(_mm_setr_epi32(quads[0], quads[1], 0, 0)),
               _mm256_cvtepi8_epi32(_mm_setr_epi32(quads[2], quads[3], 0, 0))}};
}
V_FUNCTION void v_store_ints(int32_t *p, vi x) {
  V_PARTS _mm256_storeu_si256((__m256i *)(p + 8 * i), x.q[i]);
}
// Lanes as bytes; they lie in [-127, 127], so that saturation never acts.
V_FUNCTION __m128i v_bytes(vi x) {
  __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.q[0], x.q[1]), 0xd8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
V_FUNCTION void v_store_bytes(int8_t *p, vi x) { _mm_storeu_si128((__m128i *)p, v_bytes(x)); }
V_FUNCTION void v_store_bytes_first(int8_t *p, vi x, size_t n) {
  int8_t lanes[16];
  v_store_bytes(lanes, x);
  memcpy(p, lanes, n);
}
// 64 lanes as bytes; they lie in [0, 127]. Returns lanes with the same sum as total and the bytes together.
V_FUNCTION vi v_store_64_bytes(int8_t *p, vi total, vi a, vi b, vi c, vi d) {
  v_store_bytes(p, a);
  v_store_bytes(p + 16, b);
  v_store_bytes(p + 32, c);
  v_store_bytes(p + 48, d);
  return v_int_add(total, v_int_add(v_int_add(a, b), v_int_add(c, d)));
}
// Lane c becomes the four bytes a[c] b[c] c[c] d[c], first in the lowest address.
V_FUNCTION void v_store_interleaved(int8_t *p, vi a, vi b, vi c, vi d) {
  __m256i low = _mm256_set1_epi32(255);
  V_PARTS {
    __m256i ab =
        _mm256_or_si256(_mm256_and_si256(a.q[i], low), _mm256_slli_epi32(_mm256_and_si256(b.q[i], low), 8));
    __m256i cd =
        _mm256_or_si256(_mm256_slli_epi32(_mm256_and_si256(c.q[i], low), 16), _mm256_slli_epi32(d.q[i], 24));
    _mm256_storeu_si256((__m256i *)(p + 32 * i), _mm256_or_si256(ab, cd));
  }
}
// Four rows' bytes: lanes 4 g ..< 4 g + 4 of each at p + 64 g, row after row.
V_FUNCTION void v_store_groups(int8_t *p, const vi rows[4]) {
  ck_store_groups(p, v_bytes(rows[0]), v_bytes(rows[1]), v_bytes(rows[2]), v_bytes(rows[3]));
}
V_FUNCTION void v_store_half(uint16_t *p, vf x) {
  V_PARTS _mm_storeu_si128((__m128i *)(p + 8 * i),
                           _mm256_cvtps_ph(x.q[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V_FUNCTION vf v_load_half(const uint16_t *p) {
  return (vf){{_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
               _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))}};
}
