// A stand-in for a Video4Linux driver, for machines without a camera: loaded in front of the C library it
// answers for one device, by the documentation of the streaming calls. A picture every 100 ms; buffers fill
// in the order in which they were given; a picture without a buffer is left out, and its number is missing.
//   FAKE_CAMERA=/dev/full FAKE_PICTURE=photo.jpg FAKE_FORMAT=MJPG LD_PRELOAD=fake-camera.so trident watch ...
//   /dev/full
// It offers FAKE_FIRST (YUYV) and FAKE_FORMAT. Plain pixels have any size that is asked for, rows FAKE_STRIDE
// bytes apart, and are whatever the file holds.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SIZE (1 << 20)
#define TICK_US 100000
static int device = -1, streaming;
static unsigned count, queue[8], queued, done[8], finished;
static struct v4l2_buffer buffers[8];
static char *memory[8];
static char picture[SIZE];
static size_t picture_size;
static int64_t start, ticks;

static int64_t now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

static void tick(void) {
  for (; streaming && start + (ticks + 1) * TICK_US <= now_us(); ticks++) {
    if (queued == 0) continue;
    unsigned index = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    memcpy(memory[index], picture, picture_size);
    int64_t time = start + (ticks + 1) * TICK_US;
    buffers[index].bytesused = (uint32_t)picture_size;
    buffers[index].sequence = (uint32_t)ticks;
    buffers[index].flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffers[index].timestamp.tv_sec = time / 1000000;
    buffers[index].timestamp.tv_usec = time % 1000000;
    done[finished++] = index;
  }
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
  va_list rest;
  va_start(rest, flags);
  int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
  va_end(rest);
  const char *wanted = getenv("FAKE_CAMERA");
  if (!wanted || strcmp(path, wanted) != 0) return real(path, flags, mode);
  int file = real(getenv("FAKE_PICTURE"), O_RDONLY);
  picture_size = (size_t)read(file, picture, SIZE);
  close(file);
  return device = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

void *mmap(void *place, size_t size, int protection, int flags, int fd, off_t offset) {
  static void *(*real)(void *, size_t, int, int, int, off_t);
  if (!real) real = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  if (fd < 0 || fd != device) return real(place, size, protection, flags, fd, offset);
  char *bytes = real(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory[offset / SIZE] = bytes;
}

static int answer(unsigned long request, void *argument) {
  struct v4l2_capability *can = argument;
  struct v4l2_fmtdesc *format = argument;
  struct v4l2_format *settled = argument;
  struct v4l2_requestbuffers *wanted = argument;
  struct v4l2_buffer *buffer = argument;
  struct itimerspec every = {.it_interval.tv_nsec = TICK_US * 1000, .it_value.tv_nsec = TICK_US * 1000};
  uint64_t expired;
  const char *letters = getenv("FAKE_FORMAT") ? getenv("FAKE_FORMAT") : "MJPG";
  tick();
  switch (request) {
    case VIDIOC_QUERYCAP:
      can->capabilities = V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    case VIDIOC_ENUM_FMT:
      if (format->index > 1) return EINVAL;
      if (format->index == 0) letters = getenv("FAKE_FIRST") ? getenv("FAKE_FIRST") : "YUYV";
      format->pixelformat = v4l2_fourcc(letters[0], letters[1], letters[2], letters[3]);
      return 0;
    case VIDIOC_S_FMT:
      if (getenv("FAKE_STRIDE")) settled->fmt.pix.bytesperline = (uint32_t)atoi(getenv("FAKE_STRIDE"));
      settled->fmt.pix.colorspace = V4L2_COLORSPACE_SRGB;
      return 0;
    case VIDIOC_REQBUFS: count = wanted->count; return 0;
    case VIDIOC_QUERYBUF:
      if (buffer->index >= count) return EINVAL;
      buffer->length = SIZE;
      buffer->m.offset = buffer->index * SIZE;
      return 0;
    case VIDIOC_QBUF:
      for (unsigned at = 0; at < queued; at++) {
        if (queue[at] == buffer->index) return EINVAL;
      }
      if (buffer->index >= count) return EINVAL;
      queue[queued++] = buffer->index;
      return 0;
    case VIDIOC_STREAMON:
      streaming = 1;
      start = now_us();
      return timerfd_settime(device, 0, &every, NULL) == 0 ? 0 : errno;
    case VIDIOC_STREAMOFF: streaming = 0; return 0;
    case VIDIOC_DQBUF:
      if (finished == 0) {
        (void)!read(device, &expired, sizeof expired);
        return EAGAIN;
      }
      *buffer = buffers[done[0]];
      buffer->index = done[0];
      memmove(done, done + 1, --finished * sizeof *done);
      return 0;
    default: return ENOTTY;
  }
}

int ioctl(int fd, unsigned long request, ...) {
  static int (*real)(int, unsigned long, ...);
  if (!real) real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (fd < 0 || fd != device) return real(fd, request, argument);
  int code = answer(request, argument);
  if (code == 0) return 0;
  errno = code;
  return -1;
}
