// Video4Linux's streaming calls, for pictures that are JPEGs or plain pixels.
//
// The driver fills buffers that this process maps. While nobody asks, all of them fill and the driver leaves
// out what comes then, so what lies there is old. Whoever asks therefore gets nothing but the newest that is
// there, and asks again where that is too old.
#define _GNU_SOURCE
#include "csystem_camera.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BUFFERS 4
// Older pictures were taken while something else was worked on.
#define OLDEST_NS 500000000

struct cs_camera {
  int fd;
  unsigned count;
  int held;
  uint32_t next;
  int has_next;
  // Bytes of a picture of plain pixels; what is shorter is not whole. 1 for JPEGs.
  size_t least;
  struct {
    void *bytes;
    size_t size;
  } buffers[BUFFERS];
};

static int ask(int fd, unsigned long request, void *argument) {
  int code;
  do code = ioctl(fd, request, argument);
  while (code < 0 && errno == EINTR);
  return code < 0 ? -errno : 0;
}

// What is read, the best first.
static const uint32_t formats[] = {
    V4L2_PIX_FMT_MJPEG,  V4L2_PIX_FMT_JPEG,  V4L2_PIX_FMT_YUYV,  V4L2_PIX_FMT_UYVY, V4L2_PIX_FMT_NV12,
    V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_BGR24, V4L2_PIX_FMT_GREY,
};
#define FORMATS (sizeof formats / sizeof formats[0])

static uint32_t choose_format(int fd, uint32_t wanted, char found[128]) {
  size_t best = FORMATS, length = 0;
  struct v4l2_fmtdesc format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  for (; format.index < 256 && ask(fd, VIDIOC_ENUM_FMT, &format) == 0; format.index++) {
    if (length + 6 < 128) {
      for (int shift = 0; shift < 32; shift += 8) {
        char letter = (char)(format.pixelformat >> shift & 0x7F);
        found[length++] = letter > ' ' ? letter : '?';
      }
      found[length++] = ' ';
    }
    for (size_t at = 0; at < best; at++) {
      if (format.pixelformat == formats[at] && (!wanted || wanted == formats[at])) best = at;
    }
  }
  found[length] = 0;
  return best < FORMATS ? formats[best] : 0;
}

// Bytes of a row of the first plane, and of a whole picture whose rows are `stride` apart: every row but the
// last plane's last, which may end with its pixels.
static size_t row_size(const struct cs_camera_format *format) {
  size_t width = format->width;
  switch (format->pixels) {
    case V4L2_PIX_FMT_YUYV:
    case V4L2_PIX_FMT_UYVY: return (width + 1) / 2 * 4;
    case V4L2_PIX_FMT_RGB24:
    case V4L2_PIX_FMT_BGR24: return width * 3;
    default: return width;
  }
}

static size_t picture_size(const struct cs_camera_format *format) {
  size_t stride = format->stride, height = format->height;
  size_t half_width = (format->width + 1) / 2, half_height = (height + 1) / 2;
  switch (format->pixels) {
    case V4L2_PIX_FMT_NV12: return stride * height + stride * (half_height - 1) + half_width * 2;
    case V4L2_PIX_FMT_YUV420: return stride * height + stride / 2 * (2 * half_height - 1) + half_width;
    default: return stride * (height - 1) + row_size(format);
  }
}

// What the driver says of colours, and the documented default where it says nothing. Brightness alone counts
// as RGB does there: the kernel's own test driver writes it so.
static int read_colours(const struct v4l2_pix_format *pix, struct cs_camera_format *format) {
  int has_colours = pix->pixelformat != V4L2_PIX_FMT_RGB24 && pix->pixelformat != V4L2_PIX_FMT_BGR24 &&
                    pix->pixelformat != V4L2_PIX_FMT_GREY;
  uint32_t space = pix->colorspace ? pix->colorspace : V4L2_COLORSPACE_SRGB;
  uint32_t rule = pix->ycbcr_enc ? pix->ycbcr_enc : V4L2_MAP_YCBCR_ENC_DEFAULT(space);
  uint32_t range = pix->quantization;
  if (range == V4L2_QUANTIZATION_DEFAULT) range = V4L2_MAP_QUANTIZATION_DEFAULT(!has_colours, space, rule);
  format->is_full = range == V4L2_QUANTIZATION_FULL_RANGE;
  switch (rule) {
    case V4L2_YCBCR_ENC_601:
    case V4L2_YCBCR_ENC_XV601: format->colours = CS_COLOURS_601; return 0;
    case V4L2_YCBCR_ENC_709:
    case V4L2_YCBCR_ENC_XV709: format->colours = CS_COLOURS_709; return 0;
    case V4L2_YCBCR_ENC_BT2020: format->colours = CS_COLOURS_2020; return 0;
    case V4L2_YCBCR_ENC_SMPTE240M: format->colours = CS_COLOURS_240; return 0;
    default: return has_colours ? CS_CAMERA_COLOURS : 0;
  }
}

// What the driver made of the wish, checked: all later arithmetic relies on it.
static int read_format(const struct v4l2_pix_format *pix, struct cs_camera_format *format) {
  *format = (struct cs_camera_format){.pixels = pix->pixelformat, .width = pix->width, .height = pix->height};
  int is_apart = pix->field == V4L2_FIELD_SEQ_TB || pix->field == V4L2_FIELD_SEQ_BT;
  if (is_apart || pix->field == V4L2_FIELD_ALTERNATE) return CS_CAMERA_FIELDS;
  format->is_jpeg = pix->pixelformat == V4L2_PIX_FMT_MJPEG || pix->pixelformat == V4L2_PIX_FMT_JPEG;
  if (format->is_jpeg) return 0;
  int is_sane = pix->width >= 1 && pix->width <= 65535 && pix->height >= 1 && pix->height <= 65535;
  // Old drivers leave it to the reader.
  format->stride = pix->bytesperline ? pix->bytesperline : (uint32_t)(is_sane ? row_size(format) : 0);
  if (!is_sane || format->stride < row_size(format) || format->stride > 1 << 20) return CS_CAMERA_LAYOUT;
  // The halves of a plane's row share it.
  if (format->pixels == V4L2_PIX_FMT_YUV420 && format->stride / 2 < (format->width + 1) / 2)
    return CS_CAMERA_LAYOUT;
  if (format->pixels == V4L2_PIX_FMT_NV12 && format->stride < (format->width + 1) / 2 * 2)
    return CS_CAMERA_LAYOUT;
  return read_colours(pix, format);
}

static int give(struct cs_camera *camera, unsigned index) {
  struct v4l2_buffer buffer = {
      .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = index};
  return ask(camera->fd, VIDIOC_QBUF, &buffer);
}

static int start(struct cs_camera *camera, int width, int height, uint32_t pixels,
                 struct cs_camera_format *settled) {
  struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  format.fmt.pix.width = (uint32_t)width;
  format.fmt.pix.height = (uint32_t)height;
  format.fmt.pix.pixelformat = pixels;
  format.fmt.pix.field = V4L2_FIELD_ANY;
  // Rule and range of colours have a meaning.
  format.fmt.pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
  int code = ask(camera->fd, VIDIOC_S_FMT, &format);
  if (code != 0) return code;
  if (format.fmt.pix.pixelformat != pixels) return CS_CAMERA_NO_FORMAT;
  if ((code = read_format(&format.fmt.pix, settled)) != 0) return code;
  camera->least = settled->is_jpeg ? 1 : picture_size(settled);
  struct v4l2_requestbuffers request = {
      .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  if ((code = ask(camera->fd, VIDIOC_REQBUFS, &request)) != 0) return code;
  if (request.count == 0) return -ENOMEM;
  unsigned count = request.count < BUFFERS ? request.count : BUFFERS;
  for (; camera->count < count; camera->count++) {
    struct v4l2_buffer buffer = {
        .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = camera->count};
    if ((code = ask(camera->fd, VIDIOC_QUERYBUF, &buffer)) != 0) return code;
    if (buffer.length < camera->least) return CS_CAMERA_LAYOUT;
    void *bytes = mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, camera->fd, buffer.m.offset);
    if (bytes == MAP_FAILED) return -errno;
    camera->buffers[camera->count].bytes = bytes;
    camera->buffers[camera->count].size = buffer.length;
    if ((code = give(camera, camera->count)) != 0) {
      camera->count++;
      return code;
    }
  }
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  return ask(camera->fd, VIDIOC_STREAMON, &type);
}

int cs_camera_open(const char *path, int width, int height, uint32_t wanted, struct cs_camera **camera,
                   char found[128], struct cs_camera_format *format) {
  found[0] = 0;
  int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct v4l2_capability can;
  memset(&can, 0, sizeof can);
  int code = ask(fd, VIDIOC_QUERYCAP, &can);
  uint32_t abilities = can.capabilities & V4L2_CAP_DEVICE_CAPS ? can.device_caps : can.capabilities;
  uint32_t needed = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
  uint32_t pixels = 0;
  if (code != 0 || (abilities & needed) != needed) {
    code = CS_CAMERA_NONE;
  } else {
    pixels = choose_format(fd, wanted, found);
    code = pixels ? 0 : CS_CAMERA_NO_FORMAT;
  }
  struct cs_camera *made = code == 0 ? calloc(1, sizeof *made) : NULL;
  if (!made) {
    close(fd);
    return code == 0 ? -ENOMEM : code;
  }
  made->fd = fd;
  made->held = -1;
  code = start(made, width, height, pixels, format);
  if (code != 0) {
    cs_camera_close(made);
    return code;
  }
  *camera = made;
  return 0;
}

int cs_camera_descriptor(const struct cs_camera *camera) { return camera->fd; }

static int is_old(const struct v4l2_buffer *buffer) {
  if ((buffer->flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) != V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC) return 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  int64_t age = ((int64_t)now.tv_sec - buffer->timestamp.tv_sec) * 1000000000 + now.tv_nsec -
                (int64_t)buffer->timestamp.tv_usec * 1000;
  return age > OLDEST_NS;
}

int cs_camera_newest(struct cs_camera *camera, const void **bytes, size_t *count, int64_t *passed) {
  int code = 0;
  if (camera->held >= 0) {
    if ((code = give(camera, (unsigned)camera->held)) != 0) return code;
    camera->held = -1;
  }
  for (;;) {
    struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    code = ask(camera->fd, VIDIOC_DQBUF, &buffer);
    if (code == -EAGAIN) break;
    if (code != 0) return code;
    if (buffer.index >= camera->count) return -EPROTO;
    // What the driver had no buffer for.
    if (camera->has_next && buffer.sequence > camera->next) *passed += buffer.sequence - camera->next;
    camera->next = buffer.sequence + 1;
    camera->has_next = 1;
    if (camera->held >= 0) {
      *passed += 1;
      if ((code = give(camera, (unsigned)camera->held)) != 0) return code;
      camera->held = -1;
    }
    int is_useless = buffer.flags & V4L2_BUF_FLAG_ERROR || buffer.bytesused < camera->least ||
                     buffer.bytesused > camera->buffers[buffer.index].size || is_old(&buffer);
    if (is_useless) {
      *passed += 1;
      if ((code = give(camera, buffer.index)) != 0) return code;
      continue;
    }
    camera->held = (int)buffer.index;
    *bytes = camera->buffers[buffer.index].bytes;
    *count = buffer.bytesused;
  }
  return camera->held >= 0;
}

void cs_camera_close(struct cs_camera *camera) {
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  (void)ask(camera->fd, VIDIOC_STREAMOFF, &type);
  for (unsigned index = 0; index < camera->count; index++)
    munmap(camera->buffers[index].bytes, camera->buffers[index].size);
  close(camera->fd);
  free(camera);
}
