// One element at a time: the functions whose operation sequence the vector paths repeat lane by lane.
#pragma once
#include "../internal.h"

// e^x. Shapes: one element. Units: x <= 88; below CK_EXP_LOWEST, and for a NaN, the result is 0.
// Errors: below 1 ulp. Source: range reduction by ln 2 in two parts (Cody and Waite), own minimax polynomial.
static inline float ck_exp_one(float x) {
  if (!(x >= CK_EXP_LOWEST)) return 0.0f;
  float n = ck_round(x * CK_LOG2E);
  float r = ck_fma(n, -CK_LN2_HIGH, x);
  r = ck_fma(n, -CK_LN2_LOW, r);
  float p = ck_exp_coefficients[4];
  for (int i = 3; i >= 0; i--) p = ck_fma(p, r, ck_exp_coefficients[i]);
  p = ck_fma(p, r, 1.0f);
  p = ck_fma(p, r, 1.0f);
  return ck_float(ck_bits(p) + ((uint32_t)(int32_t)n << 23));
}

// x Phi(x). Errors: Phi to 5e-7 absolute (erf to 1e-6); exactly x and exactly 0 beyond |x| = 5.1.
static inline float ck_gelu_one(float x) {
  float z = x < CK_GELU_LIMIT ? x : CK_GELU_LIMIT;
  z = z > -CK_GELU_LIMIT ? z : -CK_GELU_LIMIT;
  float t = ck_fma(z * z, CK_GELU_SQUARE, -1.0f);
  float square = t * t;
  float even = ck_gelu_coefficients[12], odd = ck_gelu_coefficients[11];
  for (int i = 10; i >= 0; i -= 2) even = ck_fma(even, square, ck_gelu_coefficients[i]);
  for (int i = 9; i >= 1; i -= 2) odd = ck_fma(odd, square, ck_gelu_coefficients[i]);
  return x * (z * ck_fma(odd, t, even) + 0.5f);
}

// x / (1 + e^(-1.702 x)), the exponent's argument held in [-80, 80].
static inline float ck_quickgelu_one(float x) {
  float y = x * -1.702f;
  y = y < 80.0f ? y : 80.0f;
  y = y > -80.0f ? y : -80.0f;
  return x / (1.0f + ck_exp_one(y));
}

// x / (1 + e^(-2 z)), CK_TANH_FIRST says of z; z is that of x held in [-100, 100], so that no cube overflows,
// the exponent's argument held in [-80, 80].
static inline float ck_gelu_tanh_one(float x) {
  float near = x < 100.0f ? x : 100.0f;
  near = near > -100.0f ? near : -100.0f;
  float y = near * ck_fma(near * near, -CK_TANH_CUBE, -CK_TANH_FIRST);
  y = y < 80.0f ? y : 80.0f;
  y = y > -80.0f ? y : -80.0f;
  return x / (1.0f + ck_exp_one(y));
}

static inline float ck_activate_one(float x, ck_activation activation) {
  switch (activation) {
    case CK_ACTIVATION_GELU: return ck_gelu_one(x);
    case CK_ACTIVATION_QUICKGELU: return ck_quickgelu_one(x);
    case CK_ACTIVATION_GELU_TANH: return ck_gelu_tanh_one(x);
    case CK_ACTIVATION_RELU: return x > 0.0f ? x : 0.0f;
    default: return x;
  }
}
