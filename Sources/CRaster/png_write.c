// PNG out: rows in, a file descriptor at the other end, and a small zlib.
#include "internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

struct cr_png_writer {
  png_structp codec;
  png_infop header;
  jmp_buf escape;
  int fd;
  int system_error;
  int64_t written;
  cr_failure failure;
};

static void leave(png_structp codec, png_const_charp message) {
  cr_png_writer *writer = png_get_error_ptr(codec);
  int code = writer->system_error ? CR_IO : CR_CORRUPT;
  cr_fail(&writer->failure, code, writer->system_error, writer->written, message);
  longjmp(writer->escape, 1);
}

static void stay_silent(png_structp codec, png_const_charp message) {
  (void)codec;
  (void)message;
}

static void write_bytes(png_structp codec, png_bytep bytes, size_t count) {
  cr_png_writer *writer = png_get_io_ptr(codec);
  writer->system_error = cs_write_all(writer->fd, bytes, count);
  if (writer->system_error) png_error(codec, "the file cannot be written");
  writer->written += (int64_t)count;
}

static void flush_nothing(png_structp codec) { (void)codec; }

// zlib's deflate takes 4 * window + 512 * 2^level bytes: 64 KiB + 64 KiB here, against 256 KiB by default.
static void set_compression(cr_png_writer *writer, const cr_png_layout *layout) {
  png_set_compression_level(writer->codec, layout->level);
  png_set_compression_window_bits(writer->codec, 14);
  png_set_compression_mem_level(writer->codec, 7);
  png_set_filter(writer->codec, 0, layout->kind == CR_RGB ? PNG_FILTER_UP | PNG_FILTER_SUB : PNG_FILTER_NONE);
}

static void write_header(cr_png_writer *writer, const cr_png_layout *layout) {
  int colour = PNG_COLOR_TYPE_PALETTE, depth = 8;
  if (layout->kind == CR_GREY8) colour = PNG_COLOR_TYPE_GRAY;
  if (layout->kind == CR_GREY16) colour = PNG_COLOR_TYPE_GRAY, depth = 16;
  if (layout->kind == CR_RGB) colour = PNG_COLOR_TYPE_RGB;
  png_set_user_limits(writer->codec, 0x7fffffff, 0x7fffffff);
  png_set_IHDR(writer->codec, writer->header, layout->width, layout->height, depth, colour,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (layout->kind == CR_INDEXED) {
    png_color colours[256];
    for (int i = 0; i < layout->colour_count; i++) {
      const uint8_t *rgb = layout->colours + 3 * i;
      colours[i] = (png_color){.red = rgb[0], .green = rgb[1], .blue = rgb[2]};
    }
    png_set_PLTE(writer->codec, writer->header, colours, layout->colour_count);
  }
  png_write_info(writer->codec, writer->header);
  if (layout->is_signed) {
    static const char text[] = "Software\0trident";
    png_write_chunk(writer->codec, (png_const_bytep) "tEXt", (png_const_bytep)text, sizeof text - 1);
  }
  const uint16_t one = 1;
  if (layout->kind == CR_GREY16 && *(const uint8_t *)&one == 1) png_set_swap(writer->codec);
}

cr_png_writer *cr_png_writer_open(int fd, const cr_png_layout *layout, cr_failure *failure) {
  cr_png_writer *writer = calloc(1, sizeof *writer);
  if (!writer) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for the writer");
    return NULL;
  }
  writer->fd = fd;
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    cr_png_writer_close(writer);
    return NULL;
  }
  writer->codec = png_create_write_struct(PNG_LIBPNG_VER_STRING, writer, leave, stay_silent);
  if (writer->codec) writer->header = png_create_info_struct(writer->codec);
  if (!writer->header) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "libpng would not start");
    cr_png_writer_close(writer);
    return NULL;
  }
  png_set_write_fn(writer->codec, writer, write_bytes, flush_nothing);
  set_compression(writer, layout);
  write_header(writer, layout);
  return writer;
}

int cr_png_writer_row(cr_png_writer *writer, const void *row, cr_failure *failure) {
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    return failure->code;
  }
  png_write_row(writer->codec, row);
  return CR_OK;
}

int cr_png_writer_finish(cr_png_writer *writer, cr_failure *failure) {
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    return failure->code;
  }
  png_write_end(writer->codec, writer->header);
  return CR_OK;
}

void cr_png_writer_close(cr_png_writer *writer) {
  if (!writer) return;
  if (writer->codec) png_destroy_write_struct(&writer->codec, &writer->header);
  free(writer);
}
