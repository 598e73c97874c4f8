// Cameras by Video4Linux: pictures as JPEG or as plain pixels, in buffers that driver and program share.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A camera that streams.
struct cs_camera;

// Why a camera was not opened, beside errno.
enum {
  CS_CAMERA_NONE = -1000,
  // None of the formats below, or not the one that was asked for.
  CS_CAMERA_NO_FORMAT = -1001,
  // Fields that lie one below the other, or one a picture.
  CS_CAMERA_FIELDS = -1002,
  // Rows or buffers that are too short for the picture.
  CS_CAMERA_LAYOUT = -1003,
  // Brightness and colour by another rule than those below.
  CS_CAMERA_COLOURS = -1004,
};

// How brightness is made of red, green and blue: ITU-R BT.601, BT.709, BT.2020 (not constant luminance),
// SMPTE 240M.
enum { CS_COLOURS_601, CS_COLOURS_709, CS_COLOURS_2020, CS_COLOURS_240 };

// What the driver settled on.
struct cs_camera_format {
  // Four letters, the first in the lowest byte.
  uint32_t pixels;
  uint32_t width, height;
  // Bytes from a row to the next, of the first plane; of no meaning where is_jpeg.
  uint32_t stride;
  int is_jpeg;
  // One of CS_COLOURS_...
  int colours;
  // 0...255 is used, not 16...235 (colour 240).
  int is_full;
};

// Opens a device, asks for pictures of at most this size and starts the stream. `wanted`: the four letters of
// a format; 0: JPEG where the camera has it, else the first of YUYV, UYVY, NV12, YU12, RGB3, BGR3, GREY.
// `found` gets the formats that the device offers, four letters each and a space behind them.
// Errors: returns minus errno, or one of CS_CAMERA_...
int cs_camera_open(const char *path, int width, int height, uint32_t wanted, struct cs_camera **camera,
                   char found[128], struct cs_camera_format *format);

// Readable when a picture is there.
int cs_camera_descriptor(const struct cs_camera *camera);

// The newest picture that is there, the others are given back: its bytes stay until the next call. `passed`
// counts pictures that were given back or that the driver left out. Pixels that end before the picture does
// are such a picture. Never waits.
// Errors: returns 1 for a picture, 0 for none, minus errno.
int cs_camera_newest(struct cs_camera *camera, const void **bytes, size_t *count, int64_t *passed);

// Stops the stream.
void cs_camera_close(struct cs_camera *camera);
