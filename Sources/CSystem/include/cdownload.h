// Downloads with libcurl, which the caller has opened: curl_easy_setopt and curl_easy_getinfo take any number
// of arguments, which Swift cannot call.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Functions of libcurl, as `dlsym` gave them; none may be NULL.
typedef struct cs_curl {
  void *easy_init, *easy_setopt, *easy_perform, *easy_cleanup, *easy_getinfo, *easy_strerror;
} cs_curl;

typedef struct cs_download {
  const char *address;
  int64_t first;           // byte to begin with; above 0 a range is asked for
  const char *protocols;   // of the address, with commas: "https"
  const char *redirected;  // of where it may lead on
  const char *agent;
  long stall_seconds;  // ends where less than a byte a second came for so long
  void *context;
  // Takes bytes; returns 0, or a number that ends the download.
  int (*take)(void *context, const uint8_t *bytes, size_t count);
  // Told now and then; returns 0, or 1 to end. `total`: bytes of this answer, 0 where they are not known.
  int (*progress)(void *context, int64_t total, int64_t now);
} cs_download;

typedef struct cs_download_end {
  int code;           // libcurl's, 0 for none
  long status;        // of the last answer: 200, 404; 0 where the protocol has none
  char message[256];  // libcurl's own words, terminated
} cs_download_end;

// What libcurl's codes mean that a caller tells apart. The numbers are part of its binary interface.
enum {
  CS_CURL_HTTP = 22,
  CS_CURL_WRITE = 23,
  CS_CURL_RANGE = 33,
};

// Fetches one address. Memory: libcurl's, some 100 KiB. Errors: in `end`, also where libcurl would not start.
void cs_download_run(const cs_curl *curl, const cs_download *request, cs_download_end *end);
