// TIFF in: samples of every kind to RGB.
#include "tiff_read.h"

#include <string.h>

// Packed samples as bytes: few bits of grey are stretched, indices are not; of 16 bits the high byte stays.
static const uint8_t *to_bytes(const cr_tiff *t, const uint8_t *in, size_t count) {
  uint8_t *out = t->samples8;
  if (t->bits == 16) {
    for (size_t i = 0; i < count; i++) {
      uint16_t value;
      memcpy(&value, in + 2 * i, sizeof value);
      out[i] = (uint8_t)(value >> 8);
    }
    return out;
  }
  if (t->bits == 8) return in;
  unsigned mask = (1u << t->bits) - 1, scale = t->photometric == PALETTE ? 1 : 255 / mask;
  for (size_t i = 0; i < count; i++) {
    size_t bit = i * t->bits;
    out[i] = (uint8_t)(((in[bit >> 3] >> (8 - t->bits - (bit & 7))) & mask) * scale);
  }
  return out;
}

static uint8_t divided(unsigned colour, unsigned alpha) {
  if (alpha == 0) return 0;
  unsigned value = colour * 255 / alpha;
  return (uint8_t)(value > 255 ? 255 : value);
}

static uint8_t without_ink(unsigned ink, unsigned rest) {
  unsigned product = ink * rest + 128;
  product = ((product >> 8) + product) >> 8;
  return (uint8_t)(rest > product ? rest - product : 0);
}

// Samples of pixels that lie together, as RGB. Source: Pillow `Unpack.c` and `Convert.c` for multiplied alpha
// and for inks.
static void colours_of(const cr_tiff *t, const uint8_t *in, uint8_t *out, size_t count) {
  for (size_t x = 0; x < count; x++, out += 3) {
    const uint8_t *s = in + x * t->samples;
    switch (t->photometric) {
      case WHITE_IS_ZERO: out[0] = out[1] = out[2] = (uint8_t)(255 - s[0]); break;
      case BLACK_IS_ZERO: out[0] = out[1] = out[2] = s[0]; break;
      case PALETTE:
        for (int c = 0; c < 3; c++) out[c] = t->colours[c][s[0]];
        break;
      case INKS:
        for (int c = 0; c < 3; c++) out[c] = without_ink(s[c], 255u - s[3]);
        break;
      default:
        for (int c = 0; c < 3; c++) out[c] = t->is_multiplied && t->samples == 4 ? divided(s[c], s[3]) : s[c];
    }
  }
}

// One plane of pixels whose samples lie apart.
static void plane_of(const cr_tiff *t, const uint8_t *in, uint8_t *out, size_t count, int plane) {
  if (t->photometric == RGB) {
    for (size_t x = 0; x < count; x++) out[3 * x + (size_t)plane] = in[x];
    return;
  }
  for (size_t x = 0; x < count; x++, out += 3) {
    for (int c = 0; c < 3; c++)
      out[c] = t->photometric == PALETTE         ? t->colours[c][in[x]]
               : t->photometric == WHITE_IS_ZERO ? (uint8_t)(255 - in[x])
                                                 : in[x];
  }
}

int cr_tiff_plane_count(const cr_tiff *t) { return t->planar == 2 && t->photometric == RGB ? 3 : 1; }

void cr_tiff_put(const cr_tiff *t, const uint8_t *packed, uint8_t *out, size_t count, int plane) {
  if (t->planar == 2) plane_of(t, to_bytes(t, packed, count), out, count, plane);
  else colours_of(t, to_bytes(t, packed, count * t->samples), out, count);
}
