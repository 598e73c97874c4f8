// The functions of libtiff that are used, as this program declares them: nobody needs its headers to build.
//
// Scripts/check-rasters.sh compiles this list against the real <tiffio.h>. Where the two disagree, that one
// is right.
#pragma once

#ifndef _TIFFIO_
#include <stdarg.h>
#include <stdint.h>

typedef struct tiff TIFF;
typedef struct TIFFOpenOptions TIFFOpenOptions;
typedef int64_t tmsize_t;
typedef uint64_t toff_t;
typedef void *thandle_t;
typedef void (*TIFFErrorHandler)(const char *, const char *, va_list);
typedef int (*TIFFErrorHandlerExtR)(TIFF *, void *, const char *, const char *, va_list);
typedef tmsize_t (*TIFFReadWriteProc)(thandle_t, void *, tmsize_t);
typedef toff_t (*TIFFSeekProc)(thandle_t, toff_t, int);
typedef int (*TIFFCloseProc)(thandle_t);
typedef toff_t (*TIFFSizeProc)(thandle_t);
typedef int (*TIFFMapFileProc)(thandle_t, void **, toff_t *);
typedef void (*TIFFUnmapFileProc)(thandle_t, void *, toff_t);
#endif

// clang-format off
#define CR_TIFF_FILE thandle_t, TIFFReadWriteProc, TIFFReadWriteProc, TIFFSeekProc, TIFFCloseProc, \
  TIFFSizeProc, TIFFMapFileProc, TIFFUnmapFileProc

// In every version.
#define CR_TIFF_CALLS(CALL) \
  CALL(TIFF *, TIFFClientOpen, (const char *, const char *, CR_TIFF_FILE)) \
  CALL(void, TIFFClose, (TIFF *)) \
  CALL(int, TIFFGetField, (TIFF *, uint32_t, ...)) \
  CALL(int, TIFFGetFieldDefaulted, (TIFF *, uint32_t, ...)) \
  CALL(int, TIFFSetField, (TIFF *, uint32_t, ...)) \
  CALL(int, TIFFIsTiled, (TIFF *)) \
  CALL(int, TIFFIsByteSwapped, (TIFF *)) \
  CALL(uint32_t, TIFFNumberOfStrips, (TIFF *)) \
  CALL(tmsize_t, TIFFScanlineSize, (TIFF *)) \
  CALL(tmsize_t, TIFFTileSize, (TIFF *)) \
  CALL(tmsize_t, TIFFTileRowSize, (TIFF *)) \
  CALL(int, TIFFReadScanline, (TIFF *, void *, uint32_t, uint16_t)) \
  CALL(tmsize_t, TIFFReadTile, (TIFF *, void *, uint32_t, uint32_t, uint32_t, uint16_t)) \
  CALL(int, TIFFIsCODECConfigured, (uint16_t)) \
  CALL(TIFFErrorHandler, TIFFSetErrorHandler, (TIFFErrorHandler)) \
  CALL(TIFFErrorHandler, TIFFSetWarningHandler, (TIFFErrorHandler))

// From 4.5 on: errors by file, and a limit of memory.
#define CR_TIFF_NEW_CALLS(CALL) \
  CALL(TIFFOpenOptions *, TIFFOpenOptionsAlloc, (void)) \
  CALL(void, TIFFOpenOptionsFree, (TIFFOpenOptions *)) \
  CALL(void, TIFFOpenOptionsSetMaxSingleMemAlloc, (TIFFOpenOptions *, tmsize_t)) \
  CALL(void, TIFFOpenOptionsSetErrorHandlerExtR, (TIFFOpenOptions *, TIFFErrorHandlerExtR, void *)) \
  CALL(void, TIFFOpenOptionsSetWarningHandlerExtR, (TIFFOpenOptions *, TIFFErrorHandlerExtR, void *)) \
  CALL(TIFF *, TIFFClientOpenExt, (const char *, const char *, CR_TIFF_FILE, TIFFOpenOptions *))
// clang-format on
