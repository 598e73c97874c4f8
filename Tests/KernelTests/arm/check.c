// Compares every supported path with the scalar one, bit for bit, on operands that end at an unmapped page.
// Stands alone so that it runs under an emulator: links only the C of CKernels. Prints the paths it
// exercised; exit status 1 on the first disagreement. Arguments: names of paths that must be among them.
#include "../../../Sources/CKernels/include/ckernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

static uint64_t next(void) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static float uniform(float low, float high) { return low + (high - low) * (float)(next() >> 40) * 0x1p-24f; }

// Guarded memory: `bytes` that end (to `align`) at a page nobody may touch. Freed in bulk.
static struct {
  void *base;
  size_t length;
} maps[4096];
static size_t map_count;

static void *guarded(size_t bytes) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
  char *base = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || map_count == 4096) exit(2);
  mprotect(base + body, page, PROT_NONE);
  maps[map_count].base = base;
  maps[map_count++].length = body + page;
  return base + body - bytes;
}

static void release(void) {
  while (map_count > 0) {
    map_count--;
    munmap(maps[map_count].base, maps[map_count].length);
  }
}

static float *floats(size_t count, float low, float high) {
  float *x = guarded(count * 4);
  for (size_t i = 0; i < count; i++) x[i] = uniform(low, high);
  return x;
}

static int8_t *bytes(size_t count) {
  int8_t *x = guarded(count);
  for (size_t i = 0; i < count; i++) x[i] = (int8_t)((int)(next() % 255) - 127);
  return x;
}

static void *copy(const void *source, size_t bytes_) { return memcpy(guarded(bytes_), source, bytes_); }

static int failures;

static void same(const ck_table *t, const char *what, const void *x, const void *y, size_t bytes_, size_t a,
                 size_t b, size_t c) {
  if (memcmp(x, y, bytes_) == 0) return;
  size_t i = 0;
  while (((const char *)x)[i] == ((const char *)y)[i]) i++;
  size_t w = i / 4;
  float u = 0, v = 0;
  if (w * 4 + 4 <= bytes_) {
    memcpy(&u, (const char *)x + w * 4, 4);
    memcpy(&v, (const char *)y + w * 4, 4);
  }
  printf("FAIL %s %s (%zu, %zu, %zu): byte %zu of %zu, as float %.9g != %.9g\n", t->name, what, a, b, c, i,
         bytes_, (double)u, (double)v);
  if (++failures > 20) exit(1);
}

static ck_panels panels(size_t channels, size_t cols, int with_bias) {
  ck_panels p;
  p.depth = (cols + 63) / 64 * 64;
  p.panel_count = (channels + 15) / 16;
  int8_t *rows = bytes(channels * cols), *weight = guarded(p.panel_count * 16 * p.depth);
  int32_t *sum = guarded(p.panel_count * 16 * 4);
  ck_pack_panels(rows, cols, channels, cols, p.depth, weight, sum);
  p.weight = weight;
  p.sum = sum;
  p.scale = floats(p.panel_count * 16, 0.0001f, 0.01f);
  p.bias = with_bias ? floats(p.panel_count * 16, -1, 1) : NULL;
  return p;
}

static void check_gemm(const ck_table *t, size_t rows, size_t channels, size_t cols, ck_epilogue e,
                       int bias) {
  const ck_table *s = ck_table_for(CK_PATH_SCALAR);
  ck_panels p = panels(channels, cols, bias);
  int8_t *a = bytes(rows * p.depth);
  float *scale = floats(rows, 0.001f, 0.02f);
  for (size_t begin = 0; begin < p.panel_count; begin += 1 + p.panel_count / 2) {
    size_t stride = channels - 16 * begin, count = rows * stride;
    float *x = floats(count, -1, 1), *y = copy(x, count * 4);
    s->gemm_s8(a, p.depth, scale, rows, &p, begin, p.panel_count, channels, &e, x, stride);
    t->gemm_s8(a, p.depth, scale, rows, &p, begin, p.panel_count, channels, &e, y, stride);
    same(t, "gemm_s8", x, y, count * 4, rows, channels, cols);
  }
  size_t block = p.depth % 128 == 0 ? 128 : 64, blocks = (p.depth + block - 1) / block;
  float *block_scale = floats(rows * blocks, 0.001f, 0.02f);
  float *x = floats(rows * channels, -1, 1), *y = copy(x, rows * channels * 4);
  const float *factor = bias ? scale : NULL;
  for (size_t i = 0; i < rows * p.depth; i++) a[i] = a[i] < 0 ? (int8_t)-a[i] : a[i];  // weights of attention
  s->gemm_s8_blocks(a, p.depth, block_scale, block, blocks, cols, rows, &p, channels, factor, x, channels);
  t->gemm_s8_blocks(a, p.depth, block_scale, block, blocks, cols, rows, &p, channels, factor, y, channels);
  same(t, "gemm_s8_blocks", x, y, rows * channels * 4, rows, channels, cols);
  release();
}

static void check_quantize(const ck_table *t, size_t rows, size_t cols) {
  const ck_table *s = ck_table_for(CK_PATH_SCALAR);
  float *x = floats(rows * cols, -3, 3), *gamma = floats(cols, 0.5f, 2), *beta = floats(cols, -1, 1);
  if (cols > 2) x[1] = 1.0f / 0.0f;
  if (cols > 8) x[cols - 1] = 0.0f / 0.0f;
  if (rows > 1) memset(x + cols, 0, cols * 4);
  size_t q_stride = (cols + 63) / 64 * 64;
  int8_t *q = bytes(rows * q_stride), *q2 = copy(q, rows * q_stride);
  float *scale = floats(rows, 0, 1), *scale2 = copy(scale, rows * 4);
  s->quantize_rows(x, cols, rows, cols, q, q_stride, scale);
  t->quantize_rows(x, cols, rows, cols, q2, q_stride, scale2);
  same(t, "quantize_rows", q, q2, rows * q_stride, rows, cols, 0);
  same(t, "quantize_rows scale", scale, scale2, rows * 4, rows, cols, 0);
  for (size_t i = 0; i < rows * cols; i++) x[i] = uniform(-2, 3);
  float *out = floats(rows * cols, 0, 1), *out2 = copy(x, rows * cols * 4), *scratch = floats(cols, 0, 1);
  s->norm_rows(x, cols, rows, cols, gamma, beta, 1e-6f, out, cols);
  t->norm_rows(out2, cols, rows, cols, gamma, beta, 1e-6f, out2, cols);
  same(t, "norm_rows", out, out2, rows * cols * 4, rows, cols, 0);
  s->norm_quantize_rows(x, cols, rows, cols, gamma, beta, 1e-5f, q, q_stride, scale, scratch);
  t->norm_quantize_rows(x, cols, rows, cols, gamma, beta, 1e-5f, q2, q_stride, scale2, scratch);
  same(t, "norm_quantize_rows", q, q2, rows * q_stride, rows, cols, 0);
  same(t, "norm_quantize_rows scale", scale, scale2, rows * 4, rows, cols, 0);
  size_t padded = (rows + 15) / 16 * 16;
  int8_t *w = guarded(padded * q_stride), *w2 = guarded(padded * q_stride);
  float *ws = guarded(padded * 4), *ws2 = guarded(padded * 4);
  int32_t *sum = guarded(padded * 4), *sum2 = guarded(padded * 4);
  for (int centered = 0; centered < 2; centered++) {
    const float *center = centered ? beta : NULL;
    s->pack_rows(x, cols, rows, 0, rows, cols, center, w, ws, sum, q_stride);
    t->pack_rows(x, cols, rows, 0, rows, cols, center, w2, ws2, sum2, q_stride);
    same(t, "pack_rows", w, w2, padded * q_stride, rows, cols, 0);
    same(t, "pack_rows scale", ws, ws2, padded * 4, rows, cols, 0);
    same(t, "pack_rows sum", sum, sum2, padded * 4, rows, cols, 0);
  }
  size_t deep = (rows + 63) / 64 * 64, wide = (cols + 15) / 16 * 16;
  w = guarded(wide * deep), w2 = guarded(wide * deep), ws = guarded(wide * 4), ws2 = guarded(wide * 4);
  sum = guarded(wide * 4), sum2 = guarded(wide * 4);
  s->pack_columns(x, cols, rows, cols, w, ws, sum, deep);
  t->pack_columns(x, cols, rows, cols, w2, ws2, sum2, deep);
  same(t, "pack_columns", w, w2, wide * deep, rows, cols, 0);
  same(t, "pack_columns scale", ws, ws2, wide * 4, rows, cols, 0);
  same(t, "pack_columns sum", sum, sum2, wide * 4, rows, cols, 0);
  release();
}

static void check_weights(const ck_table *t, size_t rows, size_t keys, const float *bias_h,
                          const float *bias_w, size_t grid_w) {
  const ck_table *s = ck_table_for(CK_PATH_SCALAR);
  size_t stride = (keys + 63) / 64 * 64, blocks = (keys + CK_SOFTMAX_BLOCK - 1) / CK_SOFTMAX_BLOCK;
  for (size_t cols = 40; cols <= 200; cols += 80) {
    ck_panels p = panels(keys, cols, 0);
    int8_t *q = bytes(rows * p.depth), *weights[2];
    float *q_scale = floats(rows, 0, 0.02f), *scale[2], *part[2], *sum[2];
    for (int biased = 0; biased < 2; biased++) {
      for (int i = 0; i < 2; i++) {
        weights[i] = bytes(rows * stride), scale[i] = floats(rows * blocks, 0, 1),
        part[i] = floats(rows * blocks, 0, 1);
        sum[i] = floats(rows, 0, 1);
        const ck_table *table = i ? t : s;
        table->softmax_weights(table, q, p.depth, q_scale, rows, &p, keys, 0.125f, biased ? bias_h : NULL,
                               biased ? bias_w : NULL, grid_w, weights[i], stride, scale[i], part[i], blocks,
                               sum[i]);
      }
      same(t, "softmax_weights", weights[0], weights[1], rows * stride, rows, keys, cols);
      same(t, "softmax_weights scale", scale[0], scale[1], rows * blocks * 4, rows, keys, cols);
      same(t, "softmax_weights sum", sum[0], sum[1], rows * 4, rows, keys, cols);
    }
  }
}

static void check_softmax(const ck_table *t, size_t rows, size_t grid_h, size_t grid_w) {
  const ck_table *s = ck_table_for(CK_PATH_SCALAR);
  size_t keys = grid_h * grid_w, count = rows * keys;
  float *bias_h = floats(rows * grid_h, -2, 2), *bias_w = floats(rows * grid_w, -2, 2);
  for (int biased = 0; biased < 2; biased++) {
    float *x = floats(count, -200, 200), *y = copy(x, count * 4), *sum = floats(rows, 0, 1),
          *sum2 = floats(rows, 0, 1);
    if (keys > 3) x[2] = y[2] = -1.0f / 0.0f;
    const float *h = biased ? bias_h : NULL, *w = biased ? bias_w : NULL;
    s->exp_rows(x, keys, rows, keys, 0.125f, h, w, grid_w, sum);
    t->exp_rows(y, keys, rows, keys, 0.125f, h, w, grid_w, sum2);
    same(t, "exp_rows", x, y, count * 4, rows, grid_h, grid_w);
    same(t, "exp_rows sum", sum, sum2, rows * 4, rows, grid_h, grid_w);
    size_t q_stride = (keys + 63) / 64 * 64, block = 128, blocks = (keys + 127) / 128;
    int8_t *q = bytes(rows * q_stride), *q2 = bytes(rows * q_stride);
    float *scale = floats(rows * blocks, 0, 1), *scale2 = floats(rows * blocks, 0, 1);
    s->quantize_blocks(x, keys, rows, keys, block, q, q_stride, scale, blocks, sum);
    t->quantize_blocks(x, keys, rows, keys, block, q2, q_stride, scale2, blocks, sum2);
    same(t, "quantize_blocks", q, q2, rows * q_stride, rows, keys, 0);
    same(t, "quantize_blocks scale", scale, scale2, rows * blocks * 4, rows, keys, 0);
    same(t, "quantize_blocks sum", sum, sum2, rows * 4, rows, keys, 0);
  }
  check_weights(t, rows, keys, bias_h, bias_w, grid_w);
  float *p = floats(count, 0, 1), *cosine = floats(count, -1, 1), *factor = floats(rows, 0, 1);
  float *threshold = floats(rows, -1, 1), *x = floats(count, 0, 1), *y = copy(x, count * 4);
  s->masked_add(p, keys, cosine, keys, rows, keys, factor, threshold, x, keys);
  t->masked_add(p, keys, cosine, keys, rows, keys, factor, threshold, y, keys);
  same(t, "masked_add", x, y, count * 4, rows, keys, 0);
  release();
}

static void check_floats(const ck_table *t, size_t rows, size_t cols, size_t depth) {
  const ck_table *s = ck_table_for(CK_PATH_SCALAR);
  float *a = floats(rows * depth, -1, 1), *b = floats(cols * depth, -1, 1), *bias = floats(cols, -1, 1);
  float *x = floats(rows * cols, -1, 1), *y = copy(x, rows * cols * 4);
  for (int accumulate = 0; accumulate < 2; accumulate++) {
    s->gemm_f32_nt(a, depth, rows, b, depth, cols, depth, accumulate ? NULL : bias, accumulate, x, cols);
    t->gemm_f32_nt(a, depth, rows, b, depth, cols, depth, accumulate ? NULL : bias, accumulate, y, cols);
    same(t, "gemm_f32_nt", x, y, rows * cols * 4, rows, cols, depth);
    s->gemm_f32_nn(a, depth, rows, b, cols, cols, depth, accumulate, x, cols);
    t->gemm_f32_nn(a, depth, rows, b, cols, cols, depth, accumulate, y, cols);
    same(t, "gemm_f32_nn", x, y, rows * cols * 4, rows, cols, depth);
  }
  size_t n = rows * depth;
  for (int activation = 0; activation < 4; activation++) {
    float *u = floats(n, -20, 20), *v = copy(u, n * 4);
    s->activate(u, n, (ck_activation)activation);
    t->activate(v, n, (ck_activation)activation);
    same(t, "activate", u, v, n * 4, n, (size_t)activation, 0);
  }
  float *wild = guarded(n * 4), *back = guarded(n * 4), *back2 = guarded(n * 4);
  uint16_t *h = guarded(n * 2), *h2 = guarded(n * 2);
  for (size_t i = 0; i < n; i++) {
    uint32_t bits = (uint32_t)next();
    if (i % 3) bits = (bits & 0x87ffffffu) | 0x38000000u;
    if (i % 7 == 1) bits = (bits & 0x83ffffffu) | 0x30000000u;
    memcpy(wild + i, &bits, 4);
  }
  s->to_half(wild, n, h);
  t->to_half(wild, n, h2);
  same(t, "to_half", h, h2, n * 2, n, 0, 0);
  for (size_t i = 0; i < n; i++) h[i] = (uint16_t)next();
  s->from_half(h, n, back);
  t->from_half(h, n, back2);
  same(t, "from_half", back, back2, n * 4, n, 0, 0);
  release();
}

static void check_path(const ck_table *t) {
  for (size_t rows = 1; rows <= 18; rows++) {
    for (size_t channels = 1; channels <= 49; channels += rows % 3 + 5) {
      ck_epilogue e = {(ck_activation)(next() % 4), (int)(next() % 2)};
      check_gemm(t, rows, channels, 1 + next() % 300, e, (int)(next() % 2));
    }
    check_quantize(t, rows, 1 + next() % 100);
    check_quantize(t, rows, rows);
    check_softmax(t, rows, 1 + next() % 20, 1 + next() % 70);
    check_floats(t, rows, rows, 1 + next() % 50);
    check_floats(t, 1 + next() % 9, 1 + next() % 150, 1 + next() % 70);
  }
  ck_epilogue none = {CK_ACTIVATION_NONE, 0}, gelu = {CK_ACTIVATION_GELU, 1};
  check_gemm(t, 67, 130, 768, gelu, 1);
  check_gemm(t, 31, 257, 64, none, 0);
  check_gemm(t, 33, 48, 4160, none, 1);
  check_quantize(t, 101, 768);
  check_softmax(t, 3, 64, 64);
}

int main(int count, char **arguments) {
  printf("seed 1; paths:");
  for (int p = 0; p < CK_PATH_COUNT; p++) {
    if (ck_path_supported((ck_path)p)) printf(" %s", ck_path_name((ck_path)p));
  }
  printf("; best %s\n", ck_path_name(ck_path_best()));
  for (int p = 1; p < CK_PATH_COUNT; p++) {
    if (!ck_path_supported((ck_path)p)) continue;
    state = 1;
    int before = failures;
    check_path(ck_table_for((ck_path)p));
    printf("%s: %s\n", ck_path_name((ck_path)p), failures == before ? "agrees with scalar" : "DIFFERS");
  }
  for (int i = 1; i < count; i++) {
    int found = 0;
    for (int p = 0; p < CK_PATH_COUNT; p++) {
      found |= ck_path_supported((ck_path)p) && strcmp(arguments[i], ck_path_name((ck_path)p)) == 0;
    }
    if (!found) {
      printf("FAIL: path %s is missing here\n", arguments[i]);
      failures++;
    }
  }
  return failures != 0;
}
