// Compressed strips of a TIFF: rows in, a file descriptor at the other end, and the small zlib of PNG out.
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

struct cr_deflate {
  z_stream stream;
  int fd;
  uint64_t written;
  uint8_t bytes[8192];
};

cr_deflate *cr_deflate_open(int fd, cr_failure *failure) {
  cr_deflate *deflater = calloc(1, sizeof *deflater);
  // A window of 16 KiB and level 7 of memory: 64 KiB + 64 KiB.
  if (!deflater || deflateInit2(&deflater->stream, 6, Z_DEFLATED, 14, 7, Z_DEFAULT_STRATEGY) != Z_OK) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for zlib");
    free(deflater);
    return NULL;
  }
  deflater->fd = fd;
  return deflater;
}

int cr_deflate_row(cr_deflate *deflater, const void *row, size_t count, int ends_strip, cr_failure *failure) {
  z_stream *stream = &deflater->stream;
  stream->next_in = (z_const Bytef *)row;
  stream->avail_in = (uInt)count;
  int state = Z_OK;
  do {
    stream->next_out = deflater->bytes;
    stream->avail_out = sizeof deflater->bytes;
    state = deflate(stream, ends_strip ? Z_FINISH : Z_NO_FLUSH);
    size_t made = sizeof deflater->bytes - stream->avail_out;
    int problem = made > 0 ? cs_write_all(deflater->fd, deflater->bytes, made) : 0;
    if (problem) {
      cr_fail(failure, CR_IO, problem, (int64_t)deflater->written, "the file cannot be written");
      return CR_IO;
    }
    deflater->written += made;
  } while (stream->avail_out == 0 || (ends_strip && state == Z_OK));
  if (ends_strip && (state != Z_STREAM_END || deflateReset(stream) != Z_OK)) {
    cr_fail(failure, CR_CORRUPT, 0, (int64_t)deflater->written, "zlib");
    return CR_CORRUPT;
  }
  return CR_OK;
}

uint64_t cr_deflate_written(const cr_deflate *deflater) { return deflater->written; }

void cr_deflate_close(cr_deflate *deflater) {
  if (!deflater) return;
  deflateEnd(&deflater->stream);
  free(deflater);
}
