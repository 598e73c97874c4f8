// INT8 product with 256-bit vpdpbusd: 6 rows x 1 panel of 16 channels in 12 of 16 registers. Everything else
// is AVX2's.
#include "../internal.h"

#if CK_X86
#if defined(__clang__) && defined(CK_STAND_INS)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512vl,avx512vnni"))), \
                             apply_to = function)
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#elif defined(CK_STAND_INS)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512vl,avx512vnni")
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif
#include "lanes.h"
#include "../lane_functions.h"

enum {
  TILE_ROWS = 6,
  TILE_PANELS = 1,
  TILE_KINDS = 4,
  // Panels walked by all rows before the next ones: half of a core's share of a second cache.
  CHUNK_BYTES = 256 * 1024
};
#include "../lane_dot_product.h"

CK_TILE(6, 1, 16, avx_vnni)
CK_TILE(4, 1, 16, avx_vnni)
CK_TILE(2, 1, 16, avx_vnni)
CK_TILE(1, 1, 16, avx_vnni)

static const tile_kind tiles[TILE_KINDS] = {
    {6, {ck_gemm_u8s8_6x16k4__avx_vnni}},
    {4, {ck_gemm_u8s8_4x16k4__avx_vnni}},
    {2, {ck_gemm_u8s8_2x16k4__avx_vnni}},
    {1, {ck_gemm_u8s8_1x16k4__avx_vnni}},
};

// The largest that fits; 8 = 4 + 4.
static const uint8_t next_kinds[2 * TILE_ROWS] = {0, 3, 2, 2, 1, 1, 0, 0, 1, 0, 0, 0};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__avx_vnni(ck_table *table) { fill_products(table); }
#endif
