// What the two halves of TIFF in share: the decoder, and the way from its samples to RGB.
#pragma once

#include "internal.h"
#include "tiff_calls.h"

// Photometric interpretations: TIFF 6.0, sections 3 to 21.
enum { WHITE_IS_ZERO = 0, BLACK_IS_ZERO = 1, RGB = 2, PALETTE = 3, INKS = 5, YCBCR = 6 };

#define MEMBER(result, name, parameters) result(*name) parameters;
typedef struct calls { CR_TIFF_CALLS(MEMBER) CR_TIFF_NEW_CALLS(MEMBER) } calls;

// A handle of libtiff with its place in the file.
typedef struct handle {
  struct cr_tiff *owner;
  TIFF *tiff;
  cr_input input;
} handle;

struct cr_tiff {
  calls calls;
  int fd;
  int64_t file_bytes;
  handle handles[3];
  uint32_t width, height, strip_rows, tile_width, tile_height;
  uint16_t bits, samples, photometric, planar, compression;
  int has_alpha, is_multiplied, is_raw, is_strict;
  uint64_t row_bytes, packed_bytes,
      tile_bytes;     // of a row (of a plane), of the longest strip or tile, of a tile
  uint64_t *offsets;  // of strips, where is_raw
  uint32_t offset_count;
  uint8_t colours[3][256];
  uint8_t *packed;    // a row or a tile as the library gives it
  uint8_t *samples8;  // a row or a tile's row, 8 bits a sample
  uint8_t *band;      // a row of tiles, RGB
  uint32_t next_row;
  char message[160];
};

// Planes that are put into a row, one after another: 1 where samples lie together.
int cr_tiff_plane_count(const cr_tiff *t);

// Samples as libtiff gives them, of `count` pixels (of one plane where they lie apart), to RGB.
void cr_tiff_put(const cr_tiff *t, const uint8_t *packed, uint8_t *out, size_t count, int plane);
