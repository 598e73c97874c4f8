// One download with libcurl. Options and their numbers are those of its binary interface, which has not
// changed since version 7.85; Scripts/check-pull.sh compares them with the headers where these are at hand.
#include "cdownload.h"

#include <stdio.h>
#include <string.h>

// Kinds of arguments are part of the numbers: 0 long, 10000 pointer, 20000 function, 30000 64 bits.
enum {
  OPTION_LOW_SPEED_LIMIT = 19,
  OPTION_LOW_SPEED_TIME = 20,
  OPTION_NOPROGRESS = 43,
  OPTION_FAILONERROR = 45,
  OPTION_FOLLOWLOCATION = 52,
  OPTION_MAXREDIRS = 68,
  OPTION_CONNECTTIMEOUT = 78,
  OPTION_NOSIGNAL = 99,
  OPTION_WRITEDATA = 10001,
  OPTION_URL = 10002,
  OPTION_ERRORBUFFER = 10010,
  OPTION_USERAGENT = 10018,
  OPTION_XFERINFODATA = 10057,
  OPTION_PROTOCOLS_STR = 10318,
  OPTION_REDIR_PROTOCOLS_STR = 10319,
  OPTION_WRITEFUNCTION = 20011,
  OPTION_XFERINFOFUNCTION = 20219,
  OPTION_RESUME_FROM_LARGE = 30116,
  INFO_RESPONSE_CODE = 0x200002,
};

typedef int (*setopt_function)(void *handle, int option, ...);
typedef int (*getinfo_function)(void *handle, int info, ...);

static size_t take(char *bytes, size_t size, size_t count, void *context) {
  const cs_download *request = context;
  if (request->take(request->context, (const uint8_t *)bytes, size * count)) return 0;
  return size * count;
}

static int tell(void *context, int64_t total, int64_t now, int64_t up_total, int64_t up_now) {
  (void)up_total;
  (void)up_now;
  const cs_download *request = context;
  return request->progress(request->context, total, now);
}

void cs_download_run(const cs_curl *curl, const cs_download *request, cs_download_end *end) {
  memset(end, 0, sizeof *end);
  void *handle = ((void *(*)(void))curl->easy_init)();
  if (!handle) {
    end->code = -1;
    snprintf(end->message, sizeof end->message, "libcurl would not start");
    return;
  }
  setopt_function setopt = (setopt_function)curl->easy_setopt;
  char words[256] = "";
  int refused = 0;
  refused |= setopt(handle, OPTION_URL, request->address);
  refused |= setopt(handle, OPTION_PROTOCOLS_STR, request->protocols);
  refused |= setopt(handle, OPTION_REDIR_PROTOCOLS_STR, request->redirected);
  refused |= setopt(handle, OPTION_FOLLOWLOCATION, 1L);
  refused |= setopt(handle, OPTION_MAXREDIRS, 10L);
  refused |= setopt(handle, OPTION_FAILONERROR, 1L);
  refused |= setopt(handle, OPTION_NOSIGNAL, 1L);
  refused |= setopt(handle, OPTION_CONNECTTIMEOUT, 30L);
  refused |= setopt(handle, OPTION_LOW_SPEED_LIMIT, 1L);
  refused |= setopt(handle, OPTION_LOW_SPEED_TIME, request->stall_seconds);
  refused |= setopt(handle, OPTION_USERAGENT, request->agent);
  refused |= setopt(handle, OPTION_ERRORBUFFER, words);
  refused |= setopt(handle, OPTION_WRITEFUNCTION, take);
  refused |= setopt(handle, OPTION_WRITEDATA, request);
  refused |= setopt(handle, OPTION_NOPROGRESS, 0L);
  refused |= setopt(handle, OPTION_XFERINFOFUNCTION, tell);
  refused |= setopt(handle, OPTION_XFERINFODATA, request);
  if (request->first > 0) refused |= setopt(handle, OPTION_RESUME_FROM_LARGE, (int64_t)request->first);
  if (refused) {
    end->code = -1;
    snprintf(end->message, sizeof end->message, "this libcurl is too old; 7.85 or newer is needed");
  } else {
    end->code = ((int (*)(void *))curl->easy_perform)(handle);
    ((getinfo_function)curl->easy_getinfo)(handle, INFO_RESPONSE_CODE, &end->status);
    const char *text = words[0] ? words : ((const char *(*)(int))curl->easy_strerror)(end->code);
    snprintf(end->message, sizeof end->message, "%s", text);
  }
  ((void (*)(void *))curl->easy_cleanup)(handle);
}
