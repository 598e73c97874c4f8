// TIFF and BigTIFF in: libtiff's strips and tiles, one row of RGB after another.
//
// libtiff unpacks; which samples are colours is decided here, because its own way to RGB holds the whole
// picture and multiplies by alpha. Rows that are not compressed are read without it: it would hold a whole
// strip, and a strip may be the whole picture. A strip is unpacked row by row, its compressed bytes held.
// Planes that lie apart are read through a handle each, so that none is unpacked twice.
#include "tiff_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Numbers of the format: TIFF 6.0, sections 3 to 22, and libtiff's own pseudo tag.
enum {
  TAG_WIDTH = 256,
  TAG_HEIGHT = 257,
  TAG_BITS = 258,
  TAG_COMPRESSION = 259,
  TAG_PHOTOMETRIC = 262,
  TAG_FILL_ORDER = 266,
  TAG_STRIP_OFFSETS = 273,
  TAG_ORIENTATION = 274,
  TAG_SAMPLES = 277,
  TAG_STRIP_ROWS = 278,
  TAG_STRIP_BYTES = 279,
  TAG_PLANAR = 284,
  TAG_COLOURS = 320,
  TAG_TILE_WIDTH = 322,
  TAG_TILE_HEIGHT = 323,
  TAG_TILE_BYTES = 325,
  TAG_EXTRA_SAMPLES = 338,
  TAG_SAMPLE_FORMAT = 339,
  TAG_JPEG_COLOUR_MODE = 65538,
};
enum { NOT_COMPRESSED = 1, JPEG = 7 };

// What a handle takes besides strips and tiles: directory, codec.
enum { HANDLE_BYTES = 512 << 10, LIBRARY_LIMIT = 64 << 20 };

#define NAME(result, name, parameters) #name,
const char *const cr_tiff_names[CR_TIFF_FUNCTIONS + 1] = {CR_TIFF_CALLS(NAME) CR_TIFF_NEW_CALLS(NAME) NULL};
#define ONE(result, name, parameters) +1
_Static_assert(0 CR_TIFF_CALLS(ONE) == CR_TIFF_NEEDED, "functions that every version has");
_Static_assert(sizeof(calls) == CR_TIFF_FUNCTIONS * sizeof(void *), "one pointer a function");

// ---- What libtiff calls -----------------------------------------------------------------------------------

static tmsize_t read_some(thandle_t file, void *bytes, tmsize_t count) {
  handle *h = file;
  tmsize_t done = 0;
  while (done < count) {
    size_t got = cr_input_read(&h->input, (uint8_t *)bytes + done, (size_t)(count - done));
    if (got == 0) break;
    done += (tmsize_t)got;
  }
  return done;
}

static tmsize_t write_nothing(thandle_t file, void *bytes, tmsize_t count) {
  (void)file, (void)bytes, (void)count;
  return 0;
}

static toff_t seek(thandle_t file, toff_t offset, int from) {
  handle *h = file;
  int64_t base = from == SEEK_CUR ? h->input.next : from == SEEK_END ? h->owner->file_bytes : 0;
  if (offset > (toff_t)INT64_MAX - (toff_t)base) return (toff_t)-1;
  h->input.next = base + (int64_t)offset;
  return (toff_t)h->input.next;
}

static int close_nothing(thandle_t file) {
  (void)file;
  return 0;
}

static toff_t size_of(thandle_t file) { return (toff_t)((handle *)file)->owner->file_bytes; }

static int map_nothing(thandle_t file, void **base, toff_t *size) {
  (void)file, (void)base, (void)size;
  return 0;
}

static void unmap_nothing(thandle_t file, void *base, toff_t size) { (void)file, (void)base, (void)size; }

// The first error is the cause; what follows is what the library makes of it.
static int keep_error(TIFF *tiff, void *user, const char *module, const char *format, va_list values) {
  (void)tiff, (void)module;
  cr_tiff *t = user;
  if (!t->message[0]) vsnprintf(t->message, sizeof t->message, format, values);
  return 1;
}

// Damage that libjpeg would paint grey is a warning; of directories, warnings are about tags that nobody
// needs.
static int weigh_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list values) {
  return ((cr_tiff *)user)->is_strict ? keep_error(tiff, user, module, format, values) : 1;
}

static int open_handle(cr_tiff *t, int index, uint64_t limit) {
  handle *h = &t->handles[index];
  *h = (handle){.owner = t, .input = {.fd = t->fd}};
  // m: not mapped, as a file may shrink; c: strips as they are stored.
  const char *mode = "rmc";
  calls *c = &t->calls;
  if (c->TIFFClientOpenExt) {
    TIFFOpenOptions *options = c->TIFFOpenOptionsAlloc();
    if (!options) return 0;
    c->TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)limit);
    c->TIFFOpenOptionsSetErrorHandlerExtR(options, keep_error, t);
    c->TIFFOpenOptionsSetWarningHandlerExtR(options, weigh_warning, t);
    h->tiff = c->TIFFClientOpenExt("photo", mode, h, read_some, write_nothing, seek, close_nothing, size_of,
                                   map_nothing, unmap_nothing, options);
    c->TIFFOpenOptionsFree(options);
  } else {
    c->TIFFSetErrorHandler(NULL);
    c->TIFFSetWarningHandler(NULL);
    h->tiff = c->TIFFClientOpen("photo", mode, h, read_some, write_nothing, seek, close_nothing, size_of,
                                map_nothing, unmap_nothing);
  }
  if (!h->tiff) return 0;
  if (t->photometric == YCBCR) c->TIFFSetField(h->tiff, TAG_JPEG_COLOUR_MODE, 1);
  return 1;
}

// ---- Errors -----------------------------------------------------------------------------------------------

// Why the last call on a handle failed.
static int fail_handle(cr_tiff *t, const handle *h, cr_failure *failure, const char *otherwise) {
  int code = h->input.problem ? h->input.problem : CR_CORRUPT;
  if (strstr(t->message, "MaxSingleMemAlloc") || strstr(t->message, "emory")) code = CR_NO_MEMORY;
  cr_fail(failure, code, h->input.system_error, h->input.next, t->message[0] ? t->message : otherwise);
  return code;
}

static int refuse(cr_failure *failure, int code, const char *format, unsigned number) {
  char text[120];
  snprintf(text, sizeof text, format, number);
  cr_fail(failure, code, 0, 0, text);
  return code;
}

// ---- What is in the file ----------------------------------------------------------------------------------

static uint16_t short_of(cr_tiff *t, uint32_t tag, uint16_t otherwise) {
  uint16_t value = otherwise;
  return t->calls.TIFFGetFieldDefaulted(t->handles[0].tiff, tag, &value) ? value : otherwise;
}

// Codecs whose memory is known: none, CCITT, LZW, JPEG, deflate, PackBits. Zstandard's and LZMA's windows are
// the file's choice.
static int is_bounded(uint16_t compression) {
  static const uint16_t known[] = {1, 2, 3, 4, 5, 7, 8, 32773, 32946};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i] == compression) return 1;
  return 0;
}

static int check_samples(cr_tiff *t, cr_failure *failure) {
  uint16_t format = short_of(t, TAG_SAMPLE_FORMAT, 1);
  if (format != 1 && format != 4)
    return refuse(failure, CR_UNSUPPORTED,
                  "samples are not unsigned integers but of kind %u; gdal_translate -ot Byte -scale", format);
  if (!t->calls.TIFFGetField(t->handles[0].tiff, TAG_PHOTOMETRIC, &t->photometric))
    return refuse(failure, CR_UNSUPPORTED, "it does not say what its samples mean, tag %u", TAG_PHOTOMETRIC);
  int grey = t->photometric == WHITE_IS_ZERO || t->photometric == BLACK_IS_ZERO;
  unsigned needed = t->photometric == INKS ? 4 : t->photometric == RGB || t->photometric == YCBCR ? 3 : 1;
  if (!grey && t->photometric != RGB && t->photometric != PALETTE && t->photometric != INKS &&
      !(t->photometric == YCBCR && t->compression == JPEG))
    return refuse(failure, CR_UNSUPPORTED, "photometric interpretation %u", t->photometric);
  if (t->samples < needed) return refuse(failure, CR_CORRUPT, "%u samples are too few", t->samples);
  if (needed == 1 && t->samples > (t->has_alpha ? 2 : 1))
    return refuse(failure, CR_UNSUPPORTED,
                  "%u bands of grey; choose three: gdal_translate -b 3 -b 2 -b 1 -co PHOTOMETRIC=RGB",
                  t->samples);
  int few = t->bits == 1 || t->bits == 2 || t->bits == 4;
  int fits = t->bits == 8 || (t->bits == 16 && t->photometric != PALETTE) ||
             (few && needed == 1 && (t->samples == 1 || t->planar == 2));
  if (!fits) return refuse(failure, CR_UNSUPPORTED, "%u bits a sample", t->bits);
  if ((t->photometric == INKS || t->photometric == YCBCR) && t->planar == 2)
    return refuse(failure, CR_UNSUPPORTED, t->photometric == INKS ? "%u planes of ink" : "%u planes of YCbCr",
                  t->samples);
  return CR_OK;
}

static int read_colours(cr_tiff *t, cr_failure *failure) {
  if (t->photometric != PALETTE) return CR_OK;
  uint16_t *colours[3];
  if (!t->calls.TIFFGetField(t->handles[0].tiff, TAG_COLOURS, &colours[0], &colours[1], &colours[2]))
    return refuse(failure, CR_CORRUPT, "no colours, tag %u", TAG_COLOURS);
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < 1 << t->bits; i++) t->colours[c][i] = (uint8_t)(colours[c][i] >> 8);
  return CR_OK;
}

// Longest strip or tile as stored. A length of 0 is a part that nobody wrote, or one that the library
// guesses.
static int measure_parts(cr_tiff *t, uint32_t tag, uint32_t count, cr_failure *failure) {
  uint64_t *lengths = NULL;
  if (!t->calls.TIFFGetField(t->handles[0].tiff, tag, &lengths) || !lengths)
    return refuse(failure, CR_CORRUPT, "no lengths, tag %u", tag);
  for (uint32_t i = 0; i < count; i++) {
    if (lengths[i] > (uint64_t)t->file_bytes)
      return refuse(failure, CR_TRUNCATED, "part %u is longer than the file", i);
    if (lengths[i] > t->packed_bytes) t->packed_bytes = lengths[i];
  }
  return CR_OK;
}

static int measure_tiles(cr_tiff *t, cr_tiff_info *info, cr_failure *failure) {
  TIFF *tiff = t->handles[0].tiff;
  if (!t->calls.TIFFGetField(tiff, TAG_TILE_WIDTH, &t->tile_width) ||
      !t->calls.TIFFGetField(tiff, TAG_TILE_HEIGHT, &t->tile_height) || t->tile_width == 0 ||
      t->tile_height == 0 || t->tile_width > 1 << 16 || t->tile_height > 1 << 16)
    return refuse(failure, CR_CORRUPT, "tiles of %u columns", t->tile_width);
  tmsize_t size = t->calls.TIFFTileSize(tiff), row = t->calls.TIFFTileRowSize(tiff);
  if (size <= 0 || row <= 0) return fail_handle(t, &t->handles[0], failure, "size of a tile");
  t->tile_bytes = (uint64_t)size;
  t->row_bytes = (uint64_t)row;
  uint64_t across = (t->width - 1) / t->tile_width + 1, down = (t->height - 1) / t->tile_height + 1;
  uint64_t parts = across * down * (t->planar == 2 ? t->samples : 1);
  if (parts > UINT32_MAX) return refuse(failure, CR_CORRUPT, "tiles of %u columns", t->tile_width);
  int code = measure_parts(t, TAG_TILE_BYTES, (uint32_t)parts, failure);
  uint64_t rows = t->tile_height < t->height ? t->tile_height : t->height;
  info->working_bytes = t->tile_bytes + rows * t->width * 3 + 4 * (uint64_t)t->tile_width * t->samples;
  info->working_bytes +=
      24 * (uint64_t)t->tile_width * t->samples + t->packed_bytes + 16 * parts + HANDLE_BYTES;
  return code;
}

static int measure_strips(cr_tiff *t, cr_tiff_info *info, cr_failure *failure) {
  TIFF *tiff = t->handles[0].tiff;
  tmsize_t row = t->calls.TIFFScanlineSize(tiff);
  if (row <= 0) return fail_handle(t, &t->handles[0], failure, "size of a row");
  t->row_bytes = (uint64_t)row;
  t->strip_rows = UINT32_MAX;
  t->calls.TIFFGetFieldDefaulted(tiff, TAG_STRIP_ROWS, &t->strip_rows);
  if (t->strip_rows == 0) return refuse(failure, CR_CORRUPT, "strips of %u rows", 0);
  uint32_t parts = t->calls.TIFFNumberOfStrips(tiff);
  t->offset_count = parts;
  t->is_raw = t->compression == NOT_COMPRESSED && short_of(t, TAG_FILL_ORDER, 1) == 1;
  int handles = t->planar == 2 && t->photometric == RGB ? 3 : 1;
  info->working_bytes =
      t->row_bytes + 4 * (uint64_t)t->width * t->samples + HANDLE_BYTES + 16 * (uint64_t)parts;
  if (t->is_raw) return CR_OK;
  int code = measure_parts(t, TAG_STRIP_BYTES, parts, failure);
  uint64_t codec = 96 * t->row_bytes;
  info->working_bytes += (uint64_t)handles * (t->packed_bytes + codec + 16 * (uint64_t)parts + HANDLE_BYTES);
  return code;
}

static int describe(cr_tiff *t, cr_tiff_info *info, cr_failure *failure) {
  TIFF *tiff = t->handles[0].tiff;
  if (!t->calls.TIFFGetField(tiff, TAG_WIDTH, &t->width) ||
      !t->calls.TIFFGetField(tiff, TAG_HEIGHT, &t->height) || t->width == 0 || t->height == 0)
    return refuse(failure, CR_CORRUPT, "%u columns, or no rows", t->width);
  info->width = t->width;
  info->height = t->height;
  info->orientation = short_of(t, TAG_ORIENTATION, 1);
  // The caller refuses it by its size.
  if (t->width > CR_TIFF_SIDE || t->height > CR_TIFF_SIDE) return CR_OK;
  t->bits = short_of(t, TAG_BITS, 1);
  t->samples = short_of(t, TAG_SAMPLES, 1);
  t->planar = short_of(t, TAG_PLANAR, 1);
  t->compression = short_of(t, TAG_COMPRESSION, NOT_COMPRESSED);
  if (!is_bounded(t->compression) || !t->calls.TIFFIsCODECConfigured(t->compression))
    return refuse(failure, CR_UNSUPPORTED, "compression %u; gdal_translate -co COMPRESS=DEFLATE",
                  t->compression);
  uint16_t extra_count = 0, *extra = NULL;
  if (t->calls.TIFFGetField(tiff, TAG_EXTRA_SAMPLES, &extra_count, &extra) && extra_count > 0) {
    t->has_alpha = extra[0] <= 2;
    t->is_multiplied = extra[0] == 1;
  }
  int code = check_samples(t, failure);
  if (code == CR_OK) code = read_colours(t, failure);
  if (code != CR_OK) return code;
  if (t->photometric == YCBCR) t->calls.TIFFSetField(tiff, TAG_JPEG_COLOUR_MODE, 1);
  return t->calls.TIFFIsTiled(tiff) ? measure_tiles(t, info, failure) : measure_strips(t, info, failure);
}

cr_tiff *cr_tiff_open(int fd, int64_t file_bytes, void *const *functions, cr_tiff_info *info,
                      cr_failure *failure) {
  cr_tiff *t = calloc(1, sizeof *t);
  if (!t) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for the decoder");
    return NULL;
  }
  memcpy(&t->calls, functions, sizeof t->calls);
  t->fd = fd;
  t->file_bytes = file_bytes;
  *info = (cr_tiff_info){0};
  int code = CR_OK;
  if (!open_handle(t, 0, LIBRARY_LIMIT)) code = fail_handle(t, &t->handles[0], failure, "no directory");
  else code = describe(t, info, failure);
  if (code == CR_OK) return t;
  cr_tiff_close(t);
  return NULL;
}

static int keep_offsets(cr_tiff *t) {
  uint64_t *offsets = NULL;
  if (!t->calls.TIFFGetField(t->handles[0].tiff, TAG_STRIP_OFFSETS, &offsets) || !offsets) return 0;
  t->offsets = offsets;
  return 1;
}

int cr_tiff_start(cr_tiff *t, cr_failure *failure) {
  uint64_t row = (uint64_t)t->width * t->samples, rows = t->tile_height;
  if (t->tile_height) row = (uint64_t)t->tile_width * t->samples;
  if (rows > t->height) rows = t->height;
  t->packed = malloc(t->tile_height ? t->tile_bytes : t->row_bytes);
  t->samples8 = malloc(row);
  t->band = t->tile_height ? malloc(rows * t->width * 3) : NULL;
  if (!t->packed || !t->samples8 || (t->tile_height && !t->band)) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for a row");
    return CR_NO_MEMORY;
  }
  if (t->is_raw)
    return keep_offsets(t) ? CR_OK : refuse(failure, CR_CORRUPT, "no offsets, tag %u", TAG_STRIP_OFFSETS);
  uint64_t limit = t->packed_bytes + t->tile_bytes + LIBRARY_LIMIT;
  int handles = t->tile_height ? 1 : cr_tiff_plane_count(t);
  for (int i = 0; i < handles; i++) {
    if (t->handles[i].tiff) {
      if (limit == LIBRARY_LIMIT) continue;
      t->calls.TIFFClose(t->handles[i].tiff);
    }
    if (!open_handle(t, i, limit)) return fail_handle(t, &t->handles[i], failure, "no directory");
  }
  t->message[0] = 0;
  t->is_strict = t->compression == JPEG;
  return CR_OK;
}

// ---- Rows -------------------------------------------------------------------------------------------------

static int read_raw(cr_tiff *t, uint32_t y, int plane, cr_failure *failure) {
  uint64_t strips = (t->height - 1) / t->strip_rows + 1;
  uint64_t strip = y / t->strip_rows + strips * (uint64_t)plane;
  handle *h = &t->handles[0];
  uint64_t offset = strip < t->offset_count ? t->offsets[strip] : 0;
  uint64_t within = (uint64_t)(y % t->strip_rows) * t->row_bytes;
  if (offset == 0 || offset > (uint64_t)t->file_bytes || within > (uint64_t)t->file_bytes - offset) {
    cr_fail(failure, CR_TRUNCATED, 0, t->file_bytes, "a strip lies behind the end");
    return CR_TRUNCATED;
  }
  h->input = (cr_input){.fd = t->fd, .next = (int64_t)(offset + within)};
  if (read_some(h, t->packed, (tmsize_t)t->row_bytes) != (tmsize_t)t->row_bytes)
    return fail_handle(t, h, failure, "a row is not whole");
  if (t->bits == 16 && t->calls.TIFFIsByteSwapped(h->tiff)) {
    for (uint64_t i = 0; i + 1 < t->row_bytes; i += 2) {
      uint8_t low = t->packed[i];
      t->packed[i] = t->packed[i + 1];
      t->packed[i + 1] = low;
    }
  }
  return CR_OK;
}

static int strip_row(cr_tiff *t, uint8_t *row, cr_failure *failure) {
  for (int plane = 0; plane < cr_tiff_plane_count(t); plane++) {
    if (t->is_raw) {
      int code = read_raw(t, t->next_row, plane, failure);
      if (code != CR_OK) return code;
    } else {
      handle *h = &t->handles[plane];
      h->input.problem = 0;
      if (t->calls.TIFFReadScanline(h->tiff, t->packed, t->next_row, (uint16_t)plane) != 1)
        return fail_handle(t, h, failure, "a strip cannot be decoded");
      if (t->message[0]) return fail_handle(t, h, failure, "a strip is damaged");
    }
    cr_tiff_put(t, t->packed, row, t->width, plane);
  }
  return CR_OK;
}

static int tile_band(cr_tiff *t, cr_failure *failure) {
  handle *h = &t->handles[0];
  uint32_t rows = t->height - t->next_row < t->tile_height ? t->height - t->next_row : t->tile_height;
  for (uint32_t left = 0; left < t->width; left += t->tile_width) {
    uint32_t columns = t->width - left < t->tile_width ? t->width - left : t->tile_width;
    for (int plane = 0; plane < cr_tiff_plane_count(t); plane++) {
      h->input.problem = 0;
      if (t->calls.TIFFReadTile(h->tiff, t->packed, left, t->next_row, 0, (uint16_t)plane) < 0)
        return fail_handle(t, h, failure, "a tile cannot be decoded");
      if (t->message[0]) return fail_handle(t, h, failure, "a tile is damaged");
      for (uint32_t y = 0; y < rows; y++)
        cr_tiff_put(t, t->packed + y * t->row_bytes, t->band + 3 * ((size_t)y * t->width + left), columns,
                    plane);
    }
    if (t->width - left <= t->tile_width) break;
  }
  return CR_OK;
}

int cr_tiff_row(cr_tiff *t, uint8_t *row, cr_failure *failure) {
  if (!t->tile_height) {
    int code = strip_row(t, row, failure);
    if (code == CR_OK) t->next_row++;
    return code;
  }
  uint32_t within = t->next_row % t->tile_height;
  if (within == 0) {
    int code = tile_band(t, failure);
    if (code != CR_OK) return code;
  }
  memcpy(row, t->band + (size_t)within * t->width * 3, (size_t)t->width * 3);
  t->next_row++;
  return CR_OK;
}

void cr_tiff_close(cr_tiff *t) {
  if (!t) return;
  for (int i = 0; i < 3; i++)
    if (t->handles[i].tiff) t->calls.TIFFClose(t->handles[i].tiff);
  free(t->packed);
  free(t->samples8);
  free(t->band);
  free(t);
}
