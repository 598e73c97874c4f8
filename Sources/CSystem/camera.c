// Video4Linux's streaming calls, for pictures that are JPEGs.
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

static uint32_t choose_format(int fd, char found[128]) {
  uint32_t chosen = 0;
  size_t length = 0;
  struct v4l2_fmtdesc format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  for (; format.index < 64 && ask(fd, VIDIOC_ENUM_FMT, &format) == 0; format.index++) {
    if (length + 6 < 128) {
      for (int shift = 0; shift < 32; shift += 8) {
        char letter = (char)(format.pixelformat >> shift & 0x7F);
        found[length++] = letter > ' ' ? letter : '?';
      }
      found[length++] = ' ';
    }
    int is_jpeg = format.pixelformat == V4L2_PIX_FMT_MJPEG || format.pixelformat == V4L2_PIX_FMT_JPEG;
    if (is_jpeg && chosen != V4L2_PIX_FMT_MJPEG) chosen = format.pixelformat;
  }
  found[length] = 0;
  return chosen;
}

static int give(struct cs_camera *camera, unsigned index) {
  struct v4l2_buffer buffer = {
      .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = index};
  return ask(camera->fd, VIDIOC_QBUF, &buffer);
}

static int start(struct cs_camera *camera, int width, int height, uint32_t pixels) {
  struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  format.fmt.pix.width = (uint32_t)width;
  format.fmt.pix.height = (uint32_t)height;
  format.fmt.pix.pixelformat = pixels;
  format.fmt.pix.field = V4L2_FIELD_ANY;
  int code = ask(camera->fd, VIDIOC_S_FMT, &format);
  if (code != 0) return code;
  if (format.fmt.pix.pixelformat != pixels) return CS_CAMERA_NO_JPEG;
  struct v4l2_requestbuffers request = {
      .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  if ((code = ask(camera->fd, VIDIOC_REQBUFS, &request)) != 0) return code;
  if (request.count == 0) return -ENOMEM;
  unsigned count = request.count < BUFFERS ? request.count : BUFFERS;
  for (; camera->count < count; camera->count++) {
    struct v4l2_buffer buffer = {
        .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP, .index = camera->count};
    if ((code = ask(camera->fd, VIDIOC_QUERYBUF, &buffer)) != 0) return code;
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

int cs_camera_open(const char *path, int width, int height, struct cs_camera **camera, char found[128]) {
  found[0] = 0;
  int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct v4l2_capability can;
  memset(&can, 0, sizeof can);
  int code = ask(fd, VIDIOC_QUERYCAP, &can);
  uint32_t abilities = can.capabilities & V4L2_CAP_DEVICE_CAPS ? can.device_caps : can.capabilities;
  uint32_t wanted = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
  uint32_t pixels = 0;
  if (code != 0 || (abilities & wanted) != wanted) {
    code = CS_CAMERA_NONE;
  } else {
    pixels = choose_format(fd, found);
    code = pixels ? 0 : CS_CAMERA_NO_JPEG;
  }
  struct cs_camera *made = code == 0 ? calloc(1, sizeof *made) : NULL;
  if (!made) {
    close(fd);
    return code == 0 ? -ENOMEM : code;
  }
  made->fd = fd;
  made->held = -1;
  code = start(made, width, height, pixels);
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
    int is_useless = buffer.flags & V4L2_BUF_FLAG_ERROR || buffer.bytesused == 0 ||
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
