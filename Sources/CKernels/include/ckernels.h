// The whole C surface of the compute kernels: the path set, one table of functions per path, and each
// function's contract. No kernel allocates, fails or prints; Swift checks every size first.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------------------------------------
// Paths. *Built* (compiled for this architecture), *supported* (by this machine and its OS) and *chosen* are
// separate questions. Order is from simplest to fastest within an architecture.
typedef enum ck_path {
  CK_PATH_SCALAR = 0,
  CK_PATH_AVX2,
  CK_PATH_AVX_VNNI,
  CK_PATH_AVX512_VNNI,
  CK_PATH_AMX_INT8,
  CK_PATH_NEON,
  CK_PATH_NEON_DOTPROD,
  CK_PATH_NEON_I8MM,
  CK_PATH_COUNT
} ck_path;

// Applied to a float result before it is stored. All paths run the same operations in the same order: results
// agree bit for bit. In every function `out` must not overlap an input unless it says so.
typedef enum ck_activation {
  CK_ACTIVATION_NONE = 0,
  CK_ACTIVATION_GELU,       // exact: x * Phi(x); erf to within 1e-6 absolute (Phi to 5e-7)
  CK_ACTIVATION_QUICKGELU,  // x * sigmoid(1.702 x)
  CK_ACTIVATION_RELU,
  CK_ACTIVATION_GELU_TANH  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
} ck_activation;

// An INT8 right-hand side: `panel_count` panels of 16 output channels. Panel p, depth group g, channel c,
// byte b lives at weight[((p * (depth / 4) + g) * 16 + c) * 4 + b] and holds w[channel 16 p + c][depth 4 g +
// b]. depth is a multiple of 64 (zero padded), at most 65,536: sums fit 32 bits; channels are padded with
// zeros. Values lie in [-127, 127]. weight is 64-byte aligned; scale, sum and bias hold 16 * panel_count
// entries; bias may be NULL.
typedef struct ck_panels {
  const int8_t *weight;
  const float *scale;  // per channel
  const int32_t *sum;  // per channel: sum over depth of w (for unsigned-by-signed instructions)
  const float *bias;   // per channel, or NULL
  size_t depth;        // padded depth
  size_t panel_count;
} ck_panels;

// What to do with value v = (float)acc * (a_scale[row] * w_scale[channel]) + bias[channel], evaluated as
// t = a_scale*w_scale; u = (float)acc*t; v = u + bias (each rounded, never contracted), then activation.
typedef struct ck_epilogue {
  ck_activation activation;
  int accumulate;  // 0: out = v; 1: out = out + v (residual; after the activation)
} ck_epilogue;

// Keys that share one scale among softmax weights, and the widest grid of keys with relative positions.
enum { CK_SOFTMAX_BLOCK = 256, CK_SOFTMAX_GRID = 512 };

typedef struct ck_table {
  ck_path path;
  // "scalar", "avx2", "avx_vnni", "avx512_vnni", "amx_int8", "neon", "neon_dotprod" or "neon_i8mm".
  const char *name;

  // 0, or 128 where products take unsigned by signed bytes: quantize_rows and norm_quantize_rows add it to
  // every byte they write, padding too, and gemm_s8 and softmax_weights expect it in their rows. Contracts
  // below speak of values without it.
  int row_offset;

  // INT8 matrix product. a: [rows, a_stride] int8 in [-127, 127], each row zero padded to rhs->depth; a
  // stride that is no multiple of 2048 keeps rows out of each other's way;
  // out: [rows, out_stride] float, written for channels 16*panel_begin ..< min(16*panel_end, channel_end), at
  // out[row * out_stride + (channel - 16*panel_begin)]. Bit-identical on all paths when activation is NONE or
  // RELU; else within the activation's stated error. Depth is never split across calls or threads.
  void (*gemm_s8)(const int8_t *a, size_t a_stride, const float *a_scale, size_t rows, const ck_panels *rhs,
                  size_t panel_begin, size_t panel_end, size_t channel_end, const ck_epilogue *epilogue,
                  float *out, size_t out_stride);

  // Symmetric per-row INT8: scale = max|x| / 127 (1 for an all-zero row), q = round-half-even(x *
  // (127/max|x|)) where the reciprocal factor is computed once a row as 127.0f / max. Columns cols ..<
  // q_stride are zero filled. Bit-identical on all paths. Non-finite input is treated as 0; a row whose
  // max|x| is below 2^-100 counts as all zero.
  void (*quantize_rows)(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *q, size_t q_stride,
                        float *scale);

  // LayerNorm over cols: (x - mean) / sqrt(var + eps) * gamma + beta. out may equal x.
  void (*norm_rows)(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                    const float *beta, float eps, float *out, size_t out_stride);

  // norm_rows followed by quantize_rows without storing the floats.
  // scratch holds cols floats.
  void (*norm_quantize_rows)(const float *x, size_t x_stride, size_t rows, size_t cols, const float *gamma,
                             const float *beta, float eps, int8_t *q, size_t q_stride, float *scale,
                             float *scratch);

  // Quantizes rows of x as *output channels* of a panel set (keys of attention, rows of a similarity):
  // channel r = row r, depth = cols padded to 64. Optional `center` [cols] is subtracted first (NULL: none).
  // Writes 16-row panels for rows row_begin ..< row_end (row_begin % 16 == 0; rows past `rows` up to the
  // panel's end become zero with scale 1 and sum 0) into weight/scale/sum of a whole panel set that starts at
  // channel 0. Same rounding as quantize_rows.
  void (*pack_rows)(const float *x, size_t x_stride, size_t rows, size_t row_begin, size_t row_end,
                    size_t cols, const float *center, int8_t *weight, float *scale, int32_t *sum,
                    size_t depth);

  // Quantizes columns of x as output channels (values of attention): channel c = column c of x, depth = rows
  // padded to 64. One scale per column = max|column| / 127. Writes panels 0 ..< ceil(cols/16). Padding is
  // zero.
  void (*pack_columns)(const float *x, size_t x_stride, size_t rows, size_t cols, int8_t *weight,
                       float *scale, int32_t *sum, size_t depth);

  // Softmax numerators of rows of logits: for each row, x = logits[k] * factor (+ row_bias_h[k / grid_w] +
  // row_bias_w[k % grid_w] when they are given), m = max over keys, p = exp(x - m) written over logits; sum
  // (float, fixed order: independent of rows) to row_sum. keys need not be a multiple of anything. bias_h:
  // [rows, keys / grid_w], bias_w: [rows, grid_w]; both NULL or both given. exp is within 2 ulp of correct or
  // flushes below 1e-37 to 0. Entries of -inf become 0.
  void (*exp_rows)(float *logits, size_t stride, size_t rows, size_t keys, float factor, const float *bias_h,
                   const float *bias_w, size_t grid_w, float *row_sum);

  // Quantizes softmax numerators in blocks of `block` keys (multiple of 64): for row r and block b,
  // scale[r * block_count + b] = max over block / 127 (1 for an all-zero block), q as quantize_rows; q is
  // [rows, q_stride], zero filled past keys. Returns in row_sum the sum of scale * q, so that P sums to
  // exactly what was stored.
  void (*quantize_blocks)(const float *p, size_t stride, size_t rows, size_t keys, size_t block, int8_t *q,
                          size_t q_stride, float *scale, size_t block_count, float *row_sum);

  // Softmax weights of queries by keys, in bytes, without their floats ever being stored. For row r and key k
  //   y = (float)(q[r] . key[k]) * key scale[k] * (q_scale[r] * (factor * log2 e)) + bias_w * log2 e + bias_h
  //   * log2 e
  // with bias_h[r][k / grid_w] and bias_w[r][k % grid_w]; the last product and the first sum are fused, the
  // biases are added to each other before. Per block of CK_SOFTMAX_BLOCK keys: top = max y, and weight =
  // round-half-even(127 * 2^(y - top)), the power within 1.02e-4 relative, a fortieth of half a step at most.
  // With m = max of the row's tops: scale[r * block_count + b] = 2^(top - m), row_sum[r] = sum over blocks of
  // scale * (sum of weights), in 16 fixed lanes. weights: [rows, weight_stride], zero from key_count up to
  // the next multiple of 64. part: [rows, block_count], scratch. self: the table this entry comes from (its
  // product is used). keys: as pack_rows makes them, bias NULL. Biases: [rows, key_count / grid_w] and [rows,
  // grid_w], both NULL or both given; 1 <= grid_w <= CK_SOFTMAX_GRID. All values must be numbers.
  // Bit-identical on all paths.
  void (*softmax_weights)(const struct ck_table *self, const int8_t *q, size_t q_stride, const float *q_scale,
                          size_t rows, const ck_panels *keys, size_t key_count, float factor,
                          const float *bias_h, const float *bias_w, size_t grid_w, int8_t *weights,
                          size_t weight_stride, float *scale, float *part, size_t block_count,
                          float *row_sum);

  // Block-scaled INT8 product: out[r][c] = (overwritten) sum over blocks b of a_scale[r*block_count+b] *
  // w_scale[c] * (integer product over block b), added in block order, then times row_factor[r] (NULL: 1). a
  // in [0, 127], as softmax_weights and quantize_blocks write it; a stride that is no multiple of 4096 keeps
  // its rows out of each other's way. rhs packs columns, depth = padded keys; only the first `keys` count,
  // bytes of a or rhs behind them are zero. Writes channels 0 ..< channel_end.
  void (*gemm_s8_blocks)(const int8_t *a, size_t a_stride, const float *a_scale, size_t block,
                         size_t block_count, size_t keys, size_t rows, const ck_panels *rhs,
                         size_t channel_end, const float *row_factor, float *out, size_t out_stride);

  // Float products for small or sensitive work. Each output element is one fixed-order sum that does not
  // depend on rows. nt: out[r][c] = (accumulate ? out : 0) + sum_k a[r][k] * b[c][k] (+ bias[c] if given)
  void (*gemm_f32_nt)(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                      size_t cols, size_t depth, const float *bias, int accumulate, float *out,
                      size_t out_stride);
  // nn: out[r][c] = (accumulate ? out : 0) + sum_k a[r][k] * b[k][c]
  void (*gemm_f32_nn)(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                      size_t cols, size_t depth, int accumulate, float *out, size_t out_stride);

  // out[r][c] = sum_k (a[r][k] - b[c][k])^2, in the order of gemm_f32_nt.
  void (*squared_distances)(const float *a, size_t a_stride, size_t rows, const float *b, size_t b_stride,
                            size_t cols, size_t depth, float *out, size_t out_stride);

  // out[i] = x[i] + sum over d in 1 ... radius of (x[i - d * step] + x[i + d * step]) * taps[d], in that
  // order, nothing fused. radius * step floats can be read in front of x and behind its `count`; out is
  // elsewhere. Bit-identical on all paths.
  void (*blur_line)(const float *x, size_t step, size_t count, const float *taps, size_t radius, float *out);

  // Adds to sum[r][k] the probability p[r][k] * factor[r] wherever cosine[r][k] > threshold[r]; for k in 0
  // ..< keys.
  void (*masked_add)(const float *p, size_t p_stride, const float *cosine, size_t cosine_stride, size_t rows,
                     size_t keys, const float *factor, const float *threshold, float *sum, size_t sum_stride);

  // In place: x = activation(x).
  void (*activate)(float *x, size_t count, ck_activation activation);

  // IEEE half <-> float, round to nearest even.
  void (*to_half)(const float *x, size_t count, uint16_t *out);
  void (*from_half)(const uint16_t *x, size_t count, float *out);

  // The path's product instructions on registers alone, as in the inner loop of gemm_s8 but without its
  // loads: what no product can exceed. Runs at least `macs` multiply-accumulates and returns how many.
  uint64_t (*peak_s8)(uint64_t macs);

  // Expands channels channel_begin ..< channel_end (any) of a panel set to float rows [channel -
  // channel_begin][depth ..< cols].
  void (*unpack_rows)(const ck_panels *rhs, size_t channel_begin, size_t channel_end, size_t cols, float *out,
                      size_t out_stride);
} ck_table;

// The table for a path with every entry filled (absent ones from the next simpler path), or NULL if it is not
// built.
const ck_table *ck_table_for(ck_path path);
int ck_path_built(ck_path path);
int ck_path_supported(ck_path path);
ck_path ck_path_best(void);
const char *ck_path_name(ck_path path);

// Tells the processor that this thread waits for another one: some tens of cycles.
static inline void ck_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#endif
}

// Offline packing: rows [channels, row_stride] of int8 -> the panel layout above (padding written as zero)
// and channel sums.
void ck_pack_panels(const int8_t *rows, size_t row_stride, size_t channels, size_t cols, size_t depth,
                    int8_t *weight, int32_t *sum);

#ifdef __cplusplus
}
#endif
