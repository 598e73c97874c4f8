// PNG in: libpng with its own limited heap, rows delivered as 8-bit RGB.
#include "internal.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

// Rows are at most 100,000 pixels of 8 bytes; libpng holds two, zlib about 45 KiB.
#define CR_PNG_HEAP (16u << 20)
#define CR_PNG_SIDE 100000u

struct cr_png {
  png_structp codec;
  png_infop header;
  jmp_buf escape;
  cr_input input;
  cr_failure failure;
  cr_png_info info;
  size_t heap;   // bytes libpng holds at the moment
  int channels;  // after the transformations: 1 grey or numbers, 3 RGB
  int depth;     // bits a sample after the transformations, 8 but for 16-bit numbers
  int passes;
  size_t row_bytes;
  uint32_t next_row;
  uint8_t *row;       // one row before it becomes RGB
  uint8_t *whole;     // interlaced only
  size_t held, used;  // of `window`
  uint8_t window[8192];
};

static int64_t position(const cr_png *png) { return png->input.next - (int64_t)(png->held - png->used); }

static void leave(png_structp codec, png_const_charp message) {
  cr_png *png = png_get_error_ptr(codec);
  int code = png->input.problem ? png->input.problem : CR_CORRUPT;
  if (png->failure.code == CR_NO_MEMORY) code = CR_NO_MEMORY;
  cr_fail(&png->failure, code, png->input.system_error, position(png), message);
  longjmp(png->escape, 1);
}

static void stay_silent(png_structp codec, png_const_charp message) {
  (void)codec;
  (void)message;
}

// Each block carries its size in front, so that the heap count can go down again.
typedef union cr_block {
  size_t size;
  max_align_t alignment;
} cr_block;

static png_voidp heap_take(png_structp codec, png_alloc_size_t size) {
  cr_png *png = png_get_mem_ptr(codec);
  if (size > CR_PNG_HEAP || png->heap + size > CR_PNG_HEAP) {
    png->failure.code = CR_NO_MEMORY;
    return NULL;
  }
  cr_block *block = malloc(sizeof *block + size);
  if (!block) {
    png->failure.code = CR_NO_MEMORY;
    return NULL;
  }
  block->size = size;
  png->heap += size;
  return block + 1;
}

static void heap_give(png_structp codec, png_voidp bytes) {
  if (!bytes) return;
  cr_png *png = png_get_mem_ptr(codec);
  cr_block *block = (cr_block *)bytes - 1;
  png->heap -= block->size;
  free(block);
}

// Through a window: millions of tiny chunks would otherwise be three calls to the system each.
static void read_bytes(png_structp codec, png_bytep bytes, size_t count) {
  cr_png *png = png_get_io_ptr(codec);
  while (count > 0) {
    if (png->used == png->held) {
      png->used = 0;
      png->held = cr_input_read(&png->input, png->window, sizeof png->window);
      if (png->held == 0) png_error(codec, "the file ends early");
    }
    size_t part = png->held - png->used;
    if (part > count) part = count;
    memcpy(bytes, png->window + png->used, part);
    png->used += part;
    bytes += part;
    count -= part;
  }
}

// Everything becomes 8 bits a sample: palettes are expanded, 16 bits lose their low byte, transparency is
// left out.
static void expand_to_bytes(cr_png *png) {
  png_structp codec = png->codec;
  int colour = png_get_color_type(codec, png->header);
  int depth = png_get_bit_depth(codec, png->header);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(codec);
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(codec);
  if (depth == 16) png_set_strip_16(codec);
  png_set_strip_alpha(codec);
}

// Numbers stay as they are, one or two bytes each.
static void keep_numbers(cr_png *png) {
  png_structp codec = png->codec;
  int colour = png_get_color_type(codec, png->header);
  if (colour != PNG_COLOR_TYPE_PALETTE && colour != PNG_COLOR_TYPE_GRAY) {
    png->input.problem = CR_UNSUPPORTED;
    png_error(codec, "it holds colours, not numbers");
  }
  png_set_packing(codec);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  png_set_swap(codec);
#endif
}

static void choose_transformations(cr_png *png, int flags) {
  png_structp codec = png->codec;
  if (flags & CR_PNG_NUMBERS) {
    keep_numbers(png);
  } else {
    expand_to_bytes(png);
  }
  png->passes = png_set_interlace_handling(codec);
  png_read_update_info(codec, png->header);
  png->channels = png_get_channels(codec, png->header);
  png->depth = png_get_bit_depth(codec, png->header);
  png->row_bytes = png_get_rowbytes(codec, png->header);
}

static void set_limits(cr_png *png, int ignore_checksums) {
  png_structp codec = png->codec;
  png_set_user_limits(codec, CR_PNG_SIDE, CR_PNG_SIDE);
  // Text, profiles and every other chunk that does not change pixels are skipped without being stored.
  png_set_keep_unknown_chunks(codec, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_set_chunk_cache_max(codec, 64);
  if (!ignore_checksums) return;
  png_set_crc_action(codec, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
#ifdef PNG_IGNORE_ADLER32  // Debian 13's libpng is built without it; its zlib checksums then still count.
  png_set_option(codec, PNG_IGNORE_ADLER32, PNG_OPTION_ON);
#endif
}

cr_png *cr_png_open(int fd, int flags, cr_png_info *info, cr_failure *failure) {
  cr_png *png = calloc(1, sizeof *png);
  if (!png) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for the decoder");
    return NULL;
  }
  png->input.fd = fd;
  if (setjmp(png->escape)) {
    *failure = png->failure;
    cr_png_close(png);
    return NULL;
  }
  png->codec =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, png, leave, stay_silent, png, heap_take, heap_give);
  if (png->codec) png->header = png_create_info_struct(png->codec);
  if (!png->header) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "libpng would not start");
    cr_png_close(png);
    return NULL;
  }
  set_limits(png, flags & CR_PNG_IGNORE_CHECKSUMS);
  png_set_read_fn(png->codec, png, read_bytes);
  png_read_info(png->codec, png->header);
  choose_transformations(png, flags);
  png->info.width = png_get_image_width(png->codec, png->header);
  png->info.height = png_get_image_height(png->codec, png->header);
  png->info.needs_whole_image = png->passes > 1;
  if (png->info.needs_whole_image) {
    png->info.whole_bytes = (uint64_t)png->row_bytes * png->info.height;
  }
  png->info.working_bytes = 96 * 1024 + (uint64_t)png->info.width * 8 * 3;
  *info = png->info;
  return png;
}

int cr_png_start(cr_png *png, cr_failure *failure) {
  if (setjmp(png->escape)) {
    *failure = png->failure;
    return failure->code;
  }
  size_t bytes = png->info.needs_whole_image ? (size_t)png->info.whole_bytes : png->row_bytes;
  uint8_t *memory = calloc(bytes ? bytes : 1, 1);
  if (!memory) {
    cr_fail(failure, CR_NO_MEMORY, 0, position(png), "no memory for the picture");
    return CR_NO_MEMORY;
  }
  if (!png->info.needs_whole_image) {
    png->row = memory;
    return CR_OK;
  }
  png->whole = memory;
  for (int pass = 0; pass < png->passes; pass++) {
    for (uint32_t y = 0; y < png->info.height; y++) {
      png_read_row(png->codec, memory + (size_t)y * png->row_bytes, NULL);
    }
  }
  return CR_OK;
}

static void rows_to_rgb(const cr_png *png, const uint8_t *from, uint8_t *row) {
  size_t width = png->info.width;
  if (png->channels == 3) {
    memcpy(row, from, 3 * width);
  } else {
    for (size_t x = 0; x < width; x++) memset(row + 3 * x, from[x], 3);
  }
}

// The next row as the transformations leave it. Leaves through `escape` on damage.
static const uint8_t *next_row(cr_png *png) {
  const uint8_t *from = png->row;
  if (png->whole) {
    from = png->whole + (size_t)png->next_row * png->row_bytes;
  } else {
    png_read_row(png->codec, png->row, NULL);
  }
  png->next_row++;
  return from;
}

int cr_png_row(cr_png *png, uint8_t *row, cr_failure *failure) {
  if (setjmp(png->escape)) {
    *failure = png->failure;
    return failure->code;
  }
  rows_to_rgb(png, next_row(png), row);
  return CR_OK;
}

int cr_png_numbers(cr_png *png, uint16_t *row, cr_failure *failure) {
  if (setjmp(png->escape)) {
    *failure = png->failure;
    return failure->code;
  }
  const uint8_t *from = next_row(png);
  if (png->depth == 16) {
    memcpy(row, from, 2 * (size_t)png->info.width);
  } else {
    for (size_t x = 0; x < png->info.width; x++) row[x] = from[x];
  }
  return CR_OK;
}

int cr_png_finish(cr_png *png, cr_failure *failure) {
  if (setjmp(png->escape)) {
    *failure = png->failure;
    return failure->code;
  }
  png_read_end(png->codec, NULL);
  return CR_OK;
}

void cr_png_close(cr_png *png) {
  if (!png) return;
  if (png->codec) png_destroy_read_struct(&png->codec, &png->header, NULL);
  free(png->row);
  free(png->whole);
  free(png);
}
