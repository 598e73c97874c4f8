// Doors to zlib's initialisers, which are macros and so invisible to Swift.
#ifndef TRIDENT_CZLIB_SHIM_H
#define TRIDENT_CZLIB_SHIM_H

#include <zlib.h>

/// Bare deflate, as inside a zip entry.
static inline int cz_inflate_init_raw(z_stream *stream) { return inflateInit2(stream, -15); }

/// Deflate inside a gzip frame; its checksum is verified by zlib.
static inline int cz_inflate_init_gzip(z_stream *stream) { return inflateInit2(stream, 15 + 16); }

#endif
