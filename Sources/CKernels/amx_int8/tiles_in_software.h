// Tiles without a tile unit, for tests: with CK_STAND_INS the `amx_int8` path runs on any processor with
// AVX-512 VNNI, slowly. Names and arguments are those of <immintrin.h>. Rows and bytes outside a tile's shape
// are never touched, shapes that the unit would refuse stop the process.
// Source: Intel 64 manual, volume 2, LDTILECFG, TILELOADD, TILESTORED, TDPBSSD.
#pragma once

typedef struct soft_tile {
  size_t rows, bytes;
  _Alignas(64) int8_t data[16][64];
} soft_tile;

static _Thread_local soft_tile soft_tiles[8];

static inline void soft_config(const void *description) {
  const uint8_t *shapes = description;
  if (shapes[0] != 1) __builtin_trap();
  for (int t = 0; t < 8; t++) {
    soft_tile *tile = &soft_tiles[t];
    memset(tile, 0, sizeof *tile);
    tile->bytes = (size_t)shapes[16 + 2 * t] | (size_t)shapes[17 + 2 * t] << 8;
    tile->rows = shapes[48 + t];
    if (tile->rows > 16 || tile->bytes > 64) __builtin_trap();
  }
}

static inline soft_tile *soft_configured(int t) {
  if (soft_tiles[t].rows == 0 || soft_tiles[t].bytes == 0) __builtin_trap();
  return &soft_tiles[t];
}

static inline void soft_zero(int t) {
  soft_tile *tile = soft_configured(t);
  memset(tile->data, 0, sizeof tile->data);
}

static inline void soft_load(int t, const void *from, size_t stride) {
  soft_tile *tile = soft_configured(t);
  memset(tile->data, 0, sizeof tile->data);
  for (size_t r = 0; r < tile->rows; r++)
    memcpy(tile->data[r], (const int8_t *)from + r * stride, tile->bytes);
}

static inline void soft_store(int t, void *to, size_t stride) {
  const soft_tile *tile = soft_configured(t);
  for (size_t r = 0; r < tile->rows; r++) memcpy((int8_t *)to + r * stride, tile->data[r], tile->bytes);
}

// sums[m][n] += a[m][4 k .. 4 k + 3] . b[k][4 n .. 4 n + 3]
static inline void soft_multiply(int sums, int a, int b) {
  soft_tile *to = soft_configured(sums);
  const soft_tile *left = soft_configured(a), *right = soft_configured(b);
  if (left->rows != to->rows || right->bytes != to->bytes || left->bytes != 4 * right->rows) __builtin_trap();
  for (size_t m = 0; m < to->rows; m++) {
    int32_t row[16];
    memcpy(row, to->data[m], sizeof row);
    for (size_t k = 0; k < right->rows; k++) {
      for (size_t n = 0; n < to->bytes / 4; n++) {
        for (size_t i = 0; i < 4; i++) row[n] += left->data[m][4 * k + i] * right->data[k][4 * n + i];
      }
    }
    memcpy(to->data[m], row, sizeof row);
  }
}

// The unit forgets its shapes; using a tile before the next LDTILECFG is an error.
static inline void soft_release(void) { memset(soft_tiles, 0, sizeof soft_tiles); }

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbssd
#define _tile_loadconfig soft_config
#define _tile_release soft_release
#define _tile_zero soft_zero
#define _tile_loadd soft_load
#define _tile_stream_loadd soft_load
#define _tile_stored soft_store
#define _tile_dpbssd soft_multiply
