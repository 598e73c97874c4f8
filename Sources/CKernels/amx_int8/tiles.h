// The tile unit: its shapes, and where CK_STAND_INS asks for it, its instructions in software.
#pragma once
#include "../internal.h"
#if defined(CK_STAND_INS)
#include "tiles_in_software.h"
#endif

// Source: Intel 64 manual, volume 2A, LDTILECFG: palette 1, 64-byte description.
typedef struct tile_shapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} tile_shapes;

// Tiles for blocks of first + second rows (second may be 0).
static void set_shapes(size_t first, size_t second) {
  _Alignas(64) tile_shapes shapes;
  memset(&shapes, 0, sizeof shapes);
  shapes.palette = 1;
  size_t lower = second ? second : 1;
  size_t rows[8] = {first, first, lower, lower, first, lower, 16, 16};
  for (int i = 0; i < 8; i++) {
    shapes.bytes[i] = 64;
    shapes.rows[i] = (uint8_t)rows[i];
  }
  _tile_loadconfig(&shapes);
}
