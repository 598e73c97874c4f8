// AVX2's lanes, and what unsigned-by-signed products need: a depth group of a panel, four bytes for every
// lane, a sum's start that makes up for 128 added to every byte of a row, and lanes in [-127, 127] that
// become such bytes.
#pragma once
#include "../avx2/lanes.h"

// The same instruction has two encodings. With CK_STAND_INS, for tests, that of AVX-512 takes the place of
// AVX-VNNI's.
#if defined(CK_STAND_INS)
#define V_DPBUSD _mm256_dpbusd_epi32
#else
#define V_DPBUSD _mm256_dpbusd_avx_epi32
#endif

V_FUNCTION vi v_load_group(const int8_t *p) {
  return (vi){{_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))}};
}
V_FUNCTION vi v_int_set(int32_t x) { return (vi){{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}}; }
V_FUNCTION vi v_dot(vi acc, vi x, vi w) {
  V_PARTS acc.q[i] = V_DPBUSD(acc.q[i], x.q[i], w.q[i]);
  return acc;
}
V_FUNCTION vi v_dot_start(vi sum) {
  V_PARTS sum.q[i] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum.q[i], 7));
  return sum;
}
V_FUNCTION vi v_int_flip(vi x) {
  V_PARTS x.q[i] = _mm256_xor_si256(x.q[i], _mm256_set1_epi32(-128));
  return x;
}
// A value that the compiler must neither foresee nor leave out.
V_FUNCTION void v_hide(vi *x) { V_PARTS __asm__ volatile("" : "+x"(x->q[i])); }
