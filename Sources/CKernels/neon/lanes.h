// Sixteen float lanes in four 128-bit registers: the vocabulary the shared row operations are written in.
#pragma once
#include "../internal.h"

typedef struct vf { float32x4_t q[4]; } vf;  // 16 floats
typedef struct vi { int32x4_t q[4]; } vi;    // 16 int32

enum { CK_NT_ROWS = 2, CK_NT_COLS = 2, CK_NN_ROWS = 4, CK_NN_VECTORS = 1 };
// Queries at a time in softmax_weights: whole tiles of the product.
enum { CK_SOFTMAX_ROWS = 8 };

#define V_PARTS _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
#define V_FUNCTION static inline __attribute__((always_inline))

V_FUNCTION vf v_set(float x) {
  vf r;
  V_PARTS r.q[i] = vdupq_n_f32(x);
  return r;
}
V_FUNCTION vf v_load(const float *p) {
  vf r;
  V_PARTS r.q[i] = vld1q_f32(p + 4 * i);
  return r;
}
V_FUNCTION void v_store(float *p, vf x) { V_PARTS vst1q_f32(p + 4 * i, x.q[i]); }
// The first n lanes, the others 0. No byte behind them is read.
V_FUNCTION vf v_load_first(const float *p, size_t n) {
  float lanes[16] = {0};
  memcpy(lanes, p, n * sizeof *p);
  return v_load(lanes);
}
V_FUNCTION void v_store_first(float *p, vf x, size_t n) {
  float lanes[16];
  v_store(lanes, x);
  memcpy(p, lanes, n * sizeof *p);
}
// The first n lanes of x (all for n >= 16), the others of y.
V_FUNCTION vf v_first_or(vf x, vf y, size_t n) {
  float first[16], second[16];
  v_store(first, x);
  v_store(second, y);
  memcpy(second, first, (n < 16 ? n : 16) * sizeof *first);
  return v_load(second);
}
#define V_BINARY(NAME, EXPRESSION) \
  V_FUNCTION vf NAME(vf a, vf b) { \
    vf r;                          \
    V_PARTS r.q[i] = EXPRESSION;   \
    return r;                      \
  }
V_BINARY(v_add, vaddq_f32(a.q[i], b.q[i]))
V_BINARY(v_sub, vsubq_f32(a.q[i], b.q[i]))
V_BINARY(v_mul, vmulq_f32(a.q[i], b.q[i]))
V_BINARY(v_div, vdivq_f32(a.q[i], b.q[i]))
// a < b ? a : b and a > b ? a : b, lane by lane (for numbers; zeros of both signs do not meet here).
V_BINARY(v_min, vminq_f32(a.q[i], b.q[i]))
V_BINARY(v_max, vmaxq_f32(a.q[i], b.q[i]))
V_FUNCTION vf v_fma(vf a, vf b, vf c) {
  V_PARTS c.q[i] = vfmaq_f32(c.q[i], a.q[i], b.q[i]);
  return c;
}
V_FUNCTION vf v_abs(vf x) {
  V_PARTS x.q[i] = vabsq_f32(x.q[i]);
  return x;
}
static inline float32x4_t q_where(uint32x4_t mask, float32x4_t x) {
  return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(x)));
}
V_FUNCTION vf v_relu(vf x) {
  V_PARTS x.q[i] = q_where(vcgtzq_f32(x.q[i]), x.q[i]);
  return x;
}
// 0 where x is infinite or not a number.
V_FUNCTION vf v_finite(vf x) {
  V_PARTS x.q[i] = q_where(vcaleq_f32(x.q[i], vdupq_n_f32(__FLT_MAX__)), x.q[i]);
  return x;
}
// Nearest integer, ties to even.
V_FUNCTION vf v_round(vf x) {
  V_PARTS x.q[i] = vrndnq_f32(x.q[i]);
  return x;
}
V_FUNCTION vi v_int(vf x) {
  vi r;
  V_PARTS r.q[i] = vcvtnq_s32_f32(x.q[i]);
  return r;
}
V_FUNCTION vf v_float(vi x) {
  vf r;
  V_PARTS r.q[i] = vcvtq_f32_s32(x.q[i]);
  return r;
}
// x 2^n for an x near 1 and an integral n that keeps the result normal.
V_FUNCTION vf v_scale(vf x, vf n) {
  V_PARTS x.q[i] = vreinterpretq_f32_s32(
      vaddq_s32(vreinterpretq_s32_f32(x.q[i]), vshlq_n_s32(vcvtnq_s32_f32(n.q[i]), 23)));
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
  V_PARTS x.q[i] = vreinterpretq_f32_s32(
      vaddq_s32(vreinterpretq_s32_f32(x.q[i]), vshlq_n_s32(vreinterpretq_s32_f32(power.q[i]), 23)));
  return x;
}
// value where x >= limit, else 0 (also where x is not a number).
V_FUNCTION vf v_keep_from(vf x, vf limit, vf value) {
  V_PARTS value.q[i] = q_where(vcgeq_f32(x.q[i], limit.q[i]), value.q[i]);
  return value;
}
// p * f + s where c > t, else s.
V_FUNCTION vf v_fma_where(vf c, vf t, vf p, vf f, vf s) {
  V_PARTS s.q[i] = vbslq_f32(vcgtq_f32(c.q[i], t.q[i]), vfmaq_f32(s.q[i], p.q[i], f.q[i]), s.q[i]);
  return s;
}
// Values that must be ready before anything behind this line starts, for the compiler's scheduler only.
// Sixteen chains of four registers already interleave here, so there is nothing to hold.
V_FUNCTION void v_pin(vf a[4], vf b[4]) {
  (void)a;
  (void)b;
}
// Upper half onto lower half: 16 -> 8 -> 4 -> 2 -> 1.
V_FUNCTION float v_sum(vf x) {
  float32x4_t four = vaddq_f32(vaddq_f32(x.q[0], x.q[2]), vaddq_f32(x.q[1], x.q[3]));
  float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
V_FUNCTION float v_maximum(vf x) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.q[0], x.q[1]), vmaxq_f32(x.q[2], x.q[3])));
}

V_FUNCTION vi v_int_zero(void) {
  vi r;
  V_PARTS r.q[i] = vdupq_n_s32(0);
  return r;
}
V_FUNCTION vi v_int_add(vi a, vi b) {
  V_PARTS a.q[i] = vaddq_s32(a.q[i], b.q[i]);
  return a;
}
V_FUNCTION int32_t v_int_sum(vi x) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(x.q[0], x.q[1]), vaddq_s32(x.q[2], x.q[3])));
}
V_FUNCTION vi v_load_ints(const int32_t *p) {
  vi r;
  V_PARTS r.q[i] = vld1q_s32(p + 4 * i);
  return r;
}
// Lanes 4 j ..< 4 j + 4: the four bytes at p + 64 j.
V_FUNCTION vi v_load_quads(const int8_t *p) {
  vi r;
  V_PARTS {
    int32_t quad;
    memcpy(&quad, p + 64 * i, 4);
    r.q[i] = vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8((uint64_t)(uint32_t)quad))));
  }
  return r;
}
V_FUNCTION void v_store_ints(int32_t *p, vi x) { V_PARTS vst1q_s32(p + 4 * i, x.q[i]); }
// Lanes as bytes; they lie in [-127, 127].
V_FUNCTION int8x16_t v_bytes(vi x) {
  int16x8_t low = vcombine_s16(vmovn_s32(x.q[0]), vmovn_s32(x.q[1]));
  int16x8_t high = vcombine_s16(vmovn_s32(x.q[2]), vmovn_s32(x.q[3]));
  return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}
V_FUNCTION void v_store_bytes(int8_t *p, vi x) { vst1q_s8(p, v_bytes(x)); }
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
  V_PARTS {
    int32x4_t low = vsliq_n_s32(a.q[i], b.q[i], 8);
    low = vsliq_n_s32(low, c.q[i], 16);
    vst1q_s8(p + 16 * i, vreinterpretq_s8_s32(vsliq_n_s32(low, d.q[i], 24)));
  }
}
// Four rows' bytes: lanes 4 g ..< 4 g + 4 of each at p + 64 g, row after row.
V_FUNCTION void v_store_groups(int8_t *p, const vi rows[4]) {
  int32x4x4_t all;
  for (int r = 0; r < 4; r++) all.val[r] = vreinterpretq_s32_s8(v_bytes(rows[r]));
  int32_t groups[16];
  vst4q_s32(groups, all);
  for (int g = 0; g < 4; g++) memcpy(p + 64 * g, groups + 4 * g, 16);
}
V_FUNCTION void v_store_half(uint16_t *p, vf x) {
  V_PARTS vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.q[i])));
}
V_FUNCTION vf v_load_half(const uint16_t *p) {
  vf r;
  V_PARTS r.q[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  return r;
}
