// The C surface of Raster: libjpeg, libpng and libtiff behind calls that always return.
//
// Both libraries report errors by jumping out of the middle of a call. Every jump starts and lands inside one
// function of this target, so no Swift frame is ever skipped, and no function here ends the process, prints,
// or touches global state.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Why a call failed. The numbers are part of the interface to Swift.
enum {
  CR_OK = 0,
  CR_TRUNCATED = 1,    // the file ends before the picture does
  CR_CORRUPT = 2,      // the bytes contradict the format
  CR_UNSUPPORTED = 3,  // a valid file of a kind that the library cannot read
  CR_NO_MEMORY = 4,    // a library asked for more memory than its limit
  CR_IO = 5,           // the operating system refused; system_error says how
  CR_TOO_MUCH = 6,     // more than the caller allows; the message says of what
};

// What a failed call leaves behind. Memory: plain value, owned by the caller.
typedef struct cr_failure {
  int32_t code;          // CR_TRUNCATED ... CR_TOO_MUCH
  int32_t system_error;  // errno for CR_IO, else 0
  int64_t offset;        // bytes of the file consumed so far
  char message[200];     // the library's own words, terminated, never translated
} cr_failure;

// ---- JPEG -------------------------------------------------------------------------------------------------

typedef struct cr_jpeg cr_jpeg;

typedef struct cr_jpeg_info {
  uint32_t width, height;     // as stored, pixels
  int32_t components;         // 1, 3 or 4
  int32_t needs_whole_image;  // progressive, or one scan a component
  uint64_t whole_bytes;       // coefficient memory if needs_whole_image, else 0
  uint64_t working_bytes;     // upper bound of what a sequential decode allocates
} cr_jpeg_info;

// Reads the headers of the JPEG file behind `fd`, which stays the caller's and must outlive the decoder.
// Memory: about 30 KiB. Errors: returns NULL and fills `failure`.
cr_jpeg *cr_jpeg_open(int fd, cr_jpeg_info *info, cr_failure *failure);

// Starts decoding. Memory: working_bytes, plus whole_bytes if the file needs it; libjpeg is held to the sum.
// `most_scans`: a progressive file may hold any number over the same pixels; encoders write about ten.
// Errors: returns a code and fills `failure`.
int cr_jpeg_start(cr_jpeg *jpeg, int most_scans, cr_failure *failure);

// Decodes the next row. Shapes: `row` [width * 3], RGB.
// Units: libjpeg's default path (accurate integer DCT, fancy upsampling). Errors: returns a code.
// Source: OpenCV `imread` for CMYK and YCCK, whose samples are taken as inverted (Adobe's habit).
int cr_jpeg_row(cr_jpeg *jpeg, uint8_t *row, cr_failure *failure);

// Checks that the file really ends where the picture does. `ended_early`: all rows are there, but for the end
// marker. Errors: returns a code and fills `failure`.
int cr_jpeg_finish(cr_jpeg *jpeg, int *ended_early, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_jpeg_close(cr_jpeg *jpeg);

// ---- Compressed text --------------------------------------------------------------------------------------

// Unpacks what zlib made, as far as `out` has room. Shapes: `in` [in_count], `out` [out_count].
// Memory: about 48 KiB while it runs. Errors: returns the bytes that could be unpacked, 0 for none.
size_t cr_unpack(const uint8_t *in, size_t in_count, uint8_t *out, size_t out_count);

// ---- PNG in -----------------------------------------------------------------------------------------------

typedef struct cr_png cr_png;

typedef struct cr_png_info {
  uint32_t width, height;     // pixels
  int32_t needs_whole_image;  // interlaced
  uint64_t whole_bytes;       // bytes of the whole 8-bit picture if needs_whole_image, else 0
  uint64_t working_bytes;     // upper bound of what libpng and zlib allocate besides
} cr_png_info;

enum {
  CR_PNG_IGNORE_CHECKSUMS = 1,  // for fuzzing only
  CR_PNG_NUMBERS = 2,           // stored numbers, for cr_png_numbers; a picture in colour is CR_UNSUPPORTED
};

// Reads the headers of the PNG file behind `fd`, which stays the caller's and must outlive the decoder.
// `flags`: see above. Memory: at most 16 MiB, else CR_NO_MEMORY.
// Errors: returns NULL and fills `failure`.
cr_png *cr_png_open(int fd, int flags, cr_png_info *info, cr_failure *failure);

// Starts decoding; an interlaced file is decoded here as a whole. Memory: whole_bytes. Errors: returns a
// code.
int cr_png_start(cr_png *png, cr_failure *failure);

// Decodes the next row. Shapes: `row` [width * 3], RGB.
// Units: 16-bit samples lose their low byte; fewer bits are stretched to 0...255; transparency, gamma and
// profiles are ignored. Errors: returns a code.
int cr_png_row(cr_png *png, uint8_t *row, cr_failure *failure);

// Decodes the next row of a file opened with CR_PNG_NUMBERS. Shapes: `row` [width].
// Units: palette indices, or grey samples as stored (not stretched). Errors: returns a code.
int cr_png_numbers(cr_png *png, uint16_t *row, cr_failure *failure);

// Reads up to the end chunk, so that a file cut short is noticed. Errors: returns a code.
int cr_png_finish(cr_png *png, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_png_close(cr_png *png);

// ---- TIFF in ----------------------------------------------------------------------------------------------

typedef struct cr_tiff cr_tiff;

enum {
  CR_TIFF_NEEDED = 16,     // functions that every version of libtiff has
  CR_TIFF_FUNCTIONS = 22,  // and those that only new ones have
  CR_TIFF_SIDE = 100000,   // longest side that is decoded, pixels
};

// Names of libtiff's functions; those from CR_TIFF_NEEDED on may be missing, all together. NULL ends the
// list.
extern const char *const cr_tiff_names[CR_TIFF_FUNCTIONS + 1];

typedef struct cr_tiff_info {
  uint32_t width, height;  // as stored, pixels
  int32_t orientation;     // as EXIF numbers it
  uint64_t working_bytes;  // upper bound of what decoding allocates
} cr_tiff_info;

// Reads the first directory of the TIFF or BigTIFF file behind `fd`, which stays the caller's and must
// outlive the decoder. `functions` [CR_TIFF_FUNCTIONS]: libtiff's, in the order of the names. Before libtiff
// 4.5 its handlers of errors, which belong to the process, are switched off.
// Memory: the directory, in pieces of at most 64 MiB. Errors: returns NULL and fills `failure`.
cr_tiff *cr_tiff_open(int fd, int64_t file_bytes, void *const *functions, cr_tiff_info *info,
                      cr_failure *failure);

// Allocates what decoding needs. Memory: working_bytes. Errors: returns a code.
int cr_tiff_start(cr_tiff *tiff, cr_failure *failure);

// Decodes the next row. Shapes: `row` [width * 3], RGB.
// Units: 16-bit samples lose their low byte; fewer bits are stretched to 0...255; transparency is left out,
// and colours that were multiplied by it are divided again. Errors: returns a code.
int cr_tiff_row(cr_tiff *tiff, uint8_t *row, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_tiff_close(cr_tiff *tiff);

// ---- PNG out ----------------------------------------------------------------------------------------------

typedef struct cr_png_writer cr_png_writer;

enum { CR_INDEXED = 1, CR_GREY16 = 2, CR_RGB = 3, CR_GREY8 = 4 };

typedef struct cr_png_layout {
  uint32_t width, height;
  int32_t kind;            // CR_INDEXED, CR_GREY8, CR_GREY16 or CR_RGB
  int32_t level;           // zlib, 0...9
  int32_t colour_count;    // CR_INDEXED: 1...256
  const uint8_t *colours;  // CR_INDEXED: [colour_count * 3], copied
  int32_t is_signed;       // a text chunk says which software wrote it
} cr_png_layout;

// Writes the headers to `fd`, which stays the caller's. Memory: 128 KiB for zlib (window 16 KiB, level-7
// state), 8 KiB of output, four filter rows at most, and small change. Errors: returns NULL and fills
// `failure`.
cr_png_writer *cr_png_writer_open(int fd, const cr_png_layout *layout, cr_failure *failure);

// Writes one row. Shapes: `row` [width], [width] native 16-bit, or [width * 3]. Errors: returns a code.
int cr_png_writer_row(cr_png_writer *writer, const void *row, cr_failure *failure);

// Writes the end of the file. Errors: returns a code.
int cr_png_writer_finish(cr_png_writer *writer, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_png_writer_close(cr_png_writer *writer);

// ---- JPEG out ---------------------------------------------------------------------------------------------

typedef struct cr_jpeg_writer cr_jpeg_writer;

// Writes the headers of a baseline JPEG in full colour resolution to `fd`, which stays the caller's. Units:
// `quality` 1...100. Memory: about 64 KiB and 16 rows. Errors: returns NULL and fills `failure`.
cr_jpeg_writer *cr_jpeg_writer_open(int fd, uint32_t width, uint32_t height, int quality,
                                    cr_failure *failure);

// Writes one row. Shapes: `row` [width * 3], RGB. Errors: returns a code.
int cr_jpeg_writer_row(cr_jpeg_writer *writer, const uint8_t *row, cr_failure *failure);

// Writes the end of the file. Errors: returns a code.
int cr_jpeg_writer_finish(cr_jpeg_writer *writer, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_jpeg_writer_close(cr_jpeg_writer *writer);

// ---- Deflate out ------------------------------------------------------------------------------------------

typedef struct cr_deflate cr_deflate;

// Packs rows into strips, each a zlib stream, behind what `fd` holds; it stays the caller's.
// Memory: 128 KiB for zlib (window 16 KiB, level-7 state) and 8 KiB of output. Errors: returns NULL and fills
// `failure`.
cr_deflate *cr_deflate_open(int fd, cr_failure *failure);

// Packs one row; `ends_strip`: the next one begins a stream. Shapes: `row` [count] bytes. Errors: returns a
// code.
int cr_deflate_row(cr_deflate *deflater, const void *row, size_t count, int ends_strip, cr_failure *failure);

// Bytes written so far; those of a strip, once it has ended.
uint64_t cr_deflate_written(const cr_deflate *deflater);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_deflate_close(cr_deflate *deflater);
