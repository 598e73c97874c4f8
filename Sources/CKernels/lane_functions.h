// Activations and the product epilogue over sixteen lanes. Included behind a path's lanes.h: every path runs
// the same operations in the same order as scalar/elements.h, so that results agree bit for bit.
#pragma once

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE vf v_load_to(const float *p, size_t left) { return left >= 16 ? v_load(p) : v_load_first(p, left); }

V_INLINE void v_store_to(float *p, vf x, size_t left) {
  if (left >= 16) v_store(p, x);
  else v_store_first(p, x, left);
}

#define V_EACH4 _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)

// e^x, as ck_exp_one.
static inline vf v_exp(vf x) {
  vf n = v_round(v_mul(x, v_set(CK_LOG2E)));
  vf r = v_fma(n, v_set(-CK_LN2_HIGH), x);
  r = v_fma(n, v_set(-CK_LN2_LOW), r);
  vf p = v_set(ck_exp_coefficients[4]);
  for (int i = 3; i >= 0; i--) p = v_fma(p, r, v_set(ck_exp_coefficients[i]));
  p = v_fma(p, r, v_set(1.0f));
  p = v_fma(p, r, v_set(1.0f));
  return v_keep_from(x, v_set(CK_EXP_LOWEST), v_scale(p, n));
}

// x Phi(x), as ck_gelu_one, on four vectors: eight chains side by side. v_pin keeps the compiler from undoing
// it.
static inline __attribute__((always_inline)) void v_gelu4(vf x[4]) {
  vf z[4], t[4], square[4], even[4], odd[4];
  V_EACH4 {
    z[j] = v_max(v_min(x[j], v_set(CK_GELU_LIMIT)), v_set(-CK_GELU_LIMIT));
    t[j] = v_fma(v_mul(z[j], z[j]), v_set(CK_GELU_SQUARE), v_set(-1.0f));
    square[j] = v_mul(t[j], t[j]);
    even[j] = v_set(ck_gelu_coefficients[12]);
    odd[j] = v_set(ck_gelu_coefficients[11]);
  }
#pragma GCC unroll 6
  for (int i = 10; i >= 0; i -= 2) {
    V_EACH4 even[j] = v_fma(even[j], square[j], v_set(ck_gelu_coefficients[i]));
    if (i > 0) {
      V_EACH4 odd[j] = v_fma(odd[j], square[j], v_set(ck_gelu_coefficients[i - 1]));
    }
    v_pin(even, odd);
  }
  V_EACH4 {
    vf h = v_mul(z[j], v_fma(odd[j], t[j], even[j]));
    x[j] = v_mul(x[j], v_add(h, v_set(0.5f)));
  }
}

static inline vf v_quickgelu(vf x) {
  vf y = v_max(v_min(v_mul(x, v_set(-1.702f)), v_set(80.0f)), v_set(-80.0f));
  return v_div(x, v_add(v_set(1.0f), v_exp(y)));
}

static inline vf v_gelu_tanh(vf x) {
  vf near = v_max(v_min(x, v_set(100.0f)), v_set(-100.0f));
  vf y = v_mul(near, v_fma(v_mul(near, near), v_set(-CK_TANH_CUBE), v_set(-CK_TANH_FIRST)));
  y = v_max(v_min(y, v_set(80.0f)), v_set(-80.0f));
  return v_div(x, v_add(v_set(1.0f), v_exp(y)));
}

static inline __attribute__((always_inline)) void v_activate4(vf x[4], ck_activation activation) {
  if (activation == CK_ACTIVATION_GELU) {
    v_gelu4(x);
  } else if (activation == CK_ACTIVATION_QUICKGELU) {
    V_EACH4 x[j] = v_quickgelu(x[j]);
  } else if (activation == CK_ACTIVATION_GELU_TANH) {
    V_EACH4 x[j] = v_gelu_tanh(x[j]);
  } else if (activation == CK_ACTIVATION_RELU) {
    V_EACH4 x[j] = v_relu(x[j]);
  }
}

// What an output tile needs besides its sums. Pointers stand at the tile's first channel and row.
typedef struct v_target {
  const float *a_scale;  // [rows], a_scale_stride apart
  size_t a_scale_stride;
  const float *scale;  // [channels]
  const float *bias;   // [channels] or NULL
  float *out;
  size_t out_stride;
  size_t channels;  // channels to write, counted from the tile's first
  ck_epilogue epilogue;
} v_target;

// Stores lanes of one row, channels `begin` ..< begin + 16, cutting at the target's channel count.
static inline void v_put(const v_target *target, size_t row, size_t begin, vf value) {
  if (begin >= target->channels) return;
  float *slot = target->out + row * target->out_stride + begin;
  size_t left = target->channels - begin;
  if (left >= 16) {
    v_store(slot, target->epilogue.accumulate ? v_add(v_load(slot), value) : value);
  } else {
    v_store_first(slot, target->epilogue.accumulate ? v_add(v_load_first(slot, left), value) : value, left);
  }
}

// acc * (a_scale * scale) + bias for one row and 16 channels; scale and bias have entries for whole panels.
static inline vf v_dequantize(const v_target *target, vi acc, size_t row, size_t begin) {
  vf factor = v_mul(v_set(target->a_scale[row * target->a_scale_stride]), v_load(target->scale + begin));
  vf value = v_mul(v_float(acc), factor);
  return target->bias ? v_add(value, v_load(target->bias + begin)) : value;
}

// The end of a block-scaled product: out *= row_factor, for `channels` of each row.
static inline void v_scale_rows(float *out, size_t out_stride, size_t rows, size_t channels,
                                const float *row_factor) {
  for (size_t row = 0; row < rows; row++) {
    float *slot = out + row * out_stride;
    vf factor = v_set(row_factor[row]);
    size_t c = 0;
    for (; c + 16 <= channels; c += 16) v_store(slot + c, v_mul(v_load(slot + c), factor));
    if (c < channels)
      v_store_first(slot + c, v_mul(v_load_first(slot + c, channels - c), factor), channels - c);
  }
}
