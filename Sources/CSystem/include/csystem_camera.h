// Cameras by Video4Linux: pictures as JPEG, in buffers that driver and program share.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A camera that streams.
struct cs_camera;

// Why a camera was not opened, beside errno.
enum { CS_CAMERA_NONE = -1000, CS_CAMERA_NO_JPEG = -1001 };

// Opens a device, asks for JPEGs of at most this size and starts the stream. `found` gets the formats that
// the device offers, four letters each and a space behind them.
// Errors: returns minus errno, CS_CAMERA_NONE for no camera that streams, CS_CAMERA_NO_JPEG.
int cs_camera_open(const char *path, int width, int height, struct cs_camera **camera, char found[128]);

// Readable when a picture is there.
int cs_camera_descriptor(const struct cs_camera *camera);

// The newest picture that is there, the others are given back: its bytes stay until the next call. `passed`
// counts pictures that were given back or that the driver left out. Never waits.
// Errors: returns 1 for a picture, 0 for none, minus errno.
int cs_camera_newest(struct cs_camera *camera, const void **bytes, size_t *count, int64_t *passed);

// Stops the stream.
void cs_camera_close(struct cs_camera *camera);
