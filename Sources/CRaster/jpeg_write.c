// JPEG out: rows in, a file descriptor at the other end.
#include "internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#define CR_JPEG_OUTPUT 16384

struct cr_jpeg_writer {
  struct jpeg_compress_struct codec;
  struct jpeg_error_mgr errors;
  struct jpeg_destination_mgr destination;
  jmp_buf escape;
  int fd;
  int system_error;
  int64_t written;
  cr_failure failure;
  JOCTET bytes[CR_JPEG_OUTPUT];
};

static cr_jpeg_writer *owner_of(j_common_ptr codec) { return (cr_jpeg_writer *)codec->client_data; }

static void leave(j_common_ptr codec) {
  cr_jpeg_writer *writer = owner_of(codec);
  char message[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, message);
  int code = writer->system_error ? CR_IO : CR_NO_MEMORY;
  cr_fail(&writer->failure, code, writer->system_error, writer->written, message);
  longjmp(writer->escape, 1);
}

static void stay_silent(j_common_ptr codec, int level) {
  (void)codec;
  (void)level;
}

static void print_nothing(j_common_ptr codec) { (void)codec; }

static void begin_output(j_compress_ptr codec) {
  cr_jpeg_writer *writer = owner_of((j_common_ptr)codec);
  writer->destination.next_output_byte = writer->bytes;
  writer->destination.free_in_buffer = CR_JPEG_OUTPUT;
}

static void flush(cr_jpeg_writer *writer, size_t count) {
  writer->system_error = cs_write_all(writer->fd, writer->bytes, count);
  if (writer->system_error) ERREXIT(&writer->codec, JERR_FILE_WRITE);
  writer->written += (int64_t)count;
}

static boolean empty_buffer(j_compress_ptr codec) {
  flush(owner_of((j_common_ptr)codec), CR_JPEG_OUTPUT);
  begin_output(codec);
  return TRUE;
}

static void end_output(j_compress_ptr codec) {
  cr_jpeg_writer *writer = owner_of((j_common_ptr)codec);
  flush(writer, CR_JPEG_OUTPUT - writer->destination.free_in_buffer);
}

// A comment in front of everything else says which program wrote the file.
static void write_header(cr_jpeg_writer *writer, uint32_t width, uint32_t height, int quality) {
  j_compress_ptr codec = &writer->codec;
  codec->image_width = width;
  codec->image_height = height;
  codec->input_components = 3;
  codec->in_color_space = JCS_RGB;
  jpeg_set_defaults(codec);
  jpeg_set_quality(codec, quality, TRUE);
  // Full colour resolution: outlines of one pixel keep their colour.
  for (int i = 0; i < 3; i++) codec->comp_info[i].h_samp_factor = codec->comp_info[i].v_samp_factor = 1;
  jpeg_start_compress(codec, TRUE);
  static const JOCTET text[] = "Software: trident";
  jpeg_write_marker(codec, JPEG_COM, text, sizeof text - 1);
}

cr_jpeg_writer *cr_jpeg_writer_open(int fd, uint32_t width, uint32_t height, int quality,
                                    cr_failure *failure) {
  cr_jpeg_writer *writer = calloc(1, sizeof *writer);
  if (!writer) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for the writer");
    return NULL;
  }
  writer->fd = fd;
  writer->codec.err = jpeg_std_error(&writer->errors);
  writer->errors.error_exit = leave;
  writer->errors.emit_message = stay_silent;
  writer->errors.output_message = print_nothing;
  writer->codec.client_data = writer;
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    cr_jpeg_writer_close(writer);
    return NULL;
  }
  jpeg_create_compress(&writer->codec);
  writer->destination.init_destination = begin_output;
  writer->destination.empty_output_buffer = empty_buffer;
  writer->destination.term_destination = end_output;
  writer->codec.dest = &writer->destination;
  write_header(writer, width, height, quality);
  return writer;
}

int cr_jpeg_writer_row(cr_jpeg_writer *writer, const uint8_t *row, cr_failure *failure) {
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    return failure->code;
  }
  JSAMPROW rows[1] = {(JSAMPROW)(uintptr_t)row};
  jpeg_write_scanlines(&writer->codec, rows, 1);
  return CR_OK;
}

int cr_jpeg_writer_finish(cr_jpeg_writer *writer, cr_failure *failure) {
  if (setjmp(writer->escape)) {
    *failure = writer->failure;
    return failure->code;
  }
  jpeg_finish_compress(&writer->codec);
  return CR_OK;
}

void cr_jpeg_writer_close(cr_jpeg_writer *writer) {
  if (!writer) return;
  jpeg_destroy_compress(&writer->codec);
  free(writer);
}
