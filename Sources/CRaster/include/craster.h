// The C surface of Raster: libjpeg and libpng behind calls that always return.
//
// Both libraries report errors by jumping out of the middle of a call. Every jump starts and lands inside one
// function of this target, so no Swift frame is ever skipped, and no function here ends the process, prints,
// or touches global state, but for the table of temporary files (which signal handlers need) and a counter.
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
};

// What a failed call leaves behind. Memory: plain value, owned by the caller.
typedef struct cr_failure {
  int32_t code;          // CR_TRUNCATED ... CR_IO
  int32_t system_error;  // errno for CR_IO, else 0
  int64_t offset;        // bytes of the file consumed so far
  char message[200];     // the library's own words, terminated, never translated
} cr_failure;

// ---- files ------------------------------------------------------------------------------------------------

// Writes all `count` bytes, through short writes and interruptions. Errors: returns errno, 0 if all is
// written.
int cr_write_all(int fd, const void *bytes, size_t count);

// Reads up to `count` bytes at `offset`, fewer only at the end of the file.
// Errors: returns the bytes read, or minus errno.
int64_t cr_read_at(int fd, void *bytes, size_t count, int64_t offset);

// Opens a regular file for reading; never blocks on a FIFO.
// Errors: returns a descriptor, or minus errno; `mode` receives st_mode, `byte_count` the size.
int cr_open_for_reading(const char *path, uint32_t *mode, int64_t *byte_count);

// Creates `path` anew for writing (never follows or reuses a name), mode 0666 less the umask, and locks it until
// the descriptor is closed. Errors: returns a descriptor, or minus errno.
int cr_create_new(const char *path);

// Removes `.trident-*.part` files of `directory` that no process holds: leftovers of runs that were killed.
// Does nothing for the directory of the call before. Returns how many it removed. Errors: none, best effort.
int cr_sweep(const char *directory);

// What stands at `path`: fills `mode` (following links) and `is_link`. Errors: returns errno, ENOENT if
// nothing.
int cr_status(const char *path, uint32_t *mode, int *is_link);

// A file without a name that lives in memory; close it to free it. Errors: returns a descriptor, or minus errno.
int cr_create_in_memory(void);

// Gives `fd` the permission bits of `mode`. Errors: returns errno.
int cr_set_permissions(int fd, uint32_t mode);

// Makes the rename of a file inside `directory` durable. Errors: none, best effort.
void cr_sync_directory(const char *directory);

// ---- temporary files that a signal handler may remove -----------------------------------------------------

// Remembers `path` (copied). Errors: returns a ticket, or -1 if 64 files are open already or memory is short.
int cr_temporary_add(const char *path);

// Forgets a ticket; the file itself is left alone. Errors: none.
void cr_temporary_remove(int ticket);

// Unlinks every remembered file. Async-signal-safe. Returns how many files it removed.
int cr_temporary_unlink_all(void);

// A number that this process has not handed out before. Thread-safe.
uint64_t cr_next_number(void);

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
// Errors: returns a code and fills `failure`.
int cr_jpeg_start(cr_jpeg *jpeg, cr_failure *failure);

// Decodes the next row. Shapes: `row` [width * 3], RGB.
// Units: libjpeg's default path (accurate integer DCT, fancy upsampling). Errors: returns a code.
// Source: OpenCV `imread` for CMYK and YCCK, whose samples are taken as inverted (Adobe's habit).
int cr_jpeg_row(cr_jpeg *jpeg, uint8_t *row, cr_failure *failure);

// Checks that the file really ends where the picture does. Errors: returns a code and fills `failure`.
int cr_jpeg_finish(cr_jpeg *jpeg, cr_failure *failure);

// Frees everything; NULL is fine. Does not close the descriptor.
void cr_jpeg_close(cr_jpeg *jpeg);

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

// ---- PNG out ----------------------------------------------------------------------------------------------

typedef struct cr_png_writer cr_png_writer;

enum { CR_INDEXED = 1, CR_GREY16 = 2, CR_RGB = 3 };

typedef struct cr_png_layout {
  uint32_t width, height;
  int32_t kind;            // CR_INDEXED, CR_GREY16 or CR_RGB
  int32_t level;           // zlib, 0...9
  int32_t colour_count;    // CR_INDEXED: 1...256
  const uint8_t *colours;  // CR_INDEXED: [colour_count * 3], copied
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
