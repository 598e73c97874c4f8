// One head of attention on random rows: time and error of softmax weights in bytes, for the block size that
// the kernels were compiled with. Usage: see softmax-blocks.sh.
#include "ckernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WIDTH = 64, REPEATS = 400 };
static const float SHARPNESS = 4;  // deviation of the logits

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Sum of twelve uniform numbers: nearly normal.
static float normal(void) {
  static unsigned state = 7;
  float sum = 0;
  for (int i = 0; i < 12; i++) {
    state = state * 1664525u + 1013904223u;
    sum += (float)(state >> 8) / 16777216.0f - 0.5f;
  }
  return sum;
}

static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 127) / 64 * 64); }

static float *numbers(size_t count) {
  float *x = room(4 * count);
  for (size_t i = 0; i < count; i++) x[i] = normal();
  return x;
}

typedef struct strip {
  size_t keys, rows, grid;
  float *q, *k, *v, *bias_h, *bias_w, *out;
  int8_t *weights;
  size_t stride;
} strip;

// Root mean square of the error over that of the answer, and the share of weight in bytes that are zero.
static void judge(const strip *s, double *error, double *lost) {
  double wrong = 0, size = 0, zero = 0;
  double *p = malloc(sizeof(double) * s->keys);
  for (size_t r = 0; r < s->rows; r++) {
    double total = 0, gone = 0;
    for (size_t j = 0; j < s->keys; j++) {
      double y = 0;
      for (size_t c = 0; c < WIDTH; c++) y += (double)s->q[r * WIDTH + c] * (double)s->k[j * WIDTH + c];
      y *= (double)SHARPNESS / 8;
      if (s->grid)
        y += (double)s->bias_h[r * (s->keys / s->grid) + j / s->grid] +
             (double)s->bias_w[r * s->grid + j % s->grid];
      p[j] = exp(y);
      total += p[j];
      if (s->weights[r * s->stride + j] == 0) gone += p[j];
    }
    zero += gone / total;
    for (size_t c = 0; c < WIDTH; c++) {
      double y = 0;
      for (size_t j = 0; j < s->keys; j++) y += p[j] * (double)s->v[j * WIDTH + c];
      y /= total;
      wrong += (y - (double)s->out[r * WIDTH + c]) * (y - (double)s->out[r * WIDTH + c]);
      size += y * y;
    }
  }
  free(p);
  *error = sqrt(wrong / size);
  *lost = zero / (double)s->rows;
}

static void measure(const ck_table *t, size_t keys, size_t rows, size_t grid) {
  size_t depth = (keys + 63) / 64 * 64, blocks = (depth + CK_SOFTMAX_BLOCK - 1) / CK_SOFTMAX_BLOCK;
  strip s = {keys, rows, grid, numbers(rows * WIDTH), numbers(keys * WIDTH), numbers(keys * WIDTH)};
  s.bias_h = grid ? numbers(rows * (keys / grid)) : NULL;
  s.bias_w = grid ? numbers(rows * grid) : NULL;
  s.out = room(4 * rows * WIDTH);
  s.stride = depth + 64;
  s.weights = room(rows * s.stride);
  size_t padded = (keys + 15) / 16 * 16;
  int8_t *q = room(rows * WIDTH), *k = room(padded * WIDTH), *v = room(depth * WIDTH);
  float *q_scale = room(4 * rows), *k_scale = room(4 * padded), *v_scale = room(4 * WIDTH);
  int32_t *k_sum = room(4 * padded), *v_sum = room(4 * WIDTH);
  t->quantize_rows(s.q, WIDTH, rows, WIDTH, q, WIDTH, q_scale);
  t->pack_rows(s.k, WIDTH, keys, 0, keys, WIDTH, NULL, k, k_scale, k_sum, WIDTH);
  t->pack_columns(s.v, WIDTH, keys, WIDTH, v, v_scale, v_sum, depth);
  ck_panels key = {k, k_scale, k_sum, NULL, WIDTH, padded / 16};
  ck_panels value = {v, v_scale, v_sum, NULL, depth, WIDTH / 16};
  float *scale = room(4 * rows * blocks), *part = room(4 * rows * blocks);
  float *sum = room(4 * rows), *factor = room(4 * rows);
  double best = 1e9;
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    double start = now();
    t->softmax_weights(t, q, WIDTH, q_scale, rows, &key, keys, SHARPNESS / 8, s.bias_h, s.bias_w,
                       grid ? grid : 1, s.weights, s.stride, scale, part, blocks, sum);
    for (size_t r = 0; r < rows; r++) factor[r] = 1 / sum[r];
    t->gemm_s8_blocks(s.weights, s.stride, scale, CK_SOFTMAX_BLOCK, blocks, keys, rows, &value, WIDTH, factor,
                      s.out, WIDTH);
    best = fmin(best, now() - start);
  }
  double error, lost;
  judge(&s, &error, &lost);
  printf("| %s, %zu keys | %d | %.1f | %.4f | %.2f %% |\n", t->name, keys, CK_SOFTMAX_BLOCK, 1e6 * best,
         error, 100 * lost);
}

int main(void) {
  for (int path = CK_PATH_SCALAR + 1; path < CK_PATH_COUNT; path++) {
    if (!ck_path_supported((ck_path)path)) continue;
    const ck_table *t = ck_table_for((ck_path)path);
    measure(t, 196, 196, 14);  // a window of SAM's
    measure(t, 441, 64, 0);    // strips of CLIP and DINO
    measure(t, 577, 128, 0);
    measure(t, 4096, 64, 64);  // of SAM's global blocks
  }
}
