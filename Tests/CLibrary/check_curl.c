// Our numbers of libcurl's interface against its own headers; only compiled.
#include <curl/curl.h>

#include "../../Sources/CSystem/download.c"

_Static_assert(OPTION_LOW_SPEED_LIMIT == (int)CURLOPT_LOW_SPEED_LIMIT, "option");
_Static_assert(OPTION_LOW_SPEED_TIME == (int)CURLOPT_LOW_SPEED_TIME, "option");
_Static_assert(OPTION_NOPROGRESS == (int)CURLOPT_NOPROGRESS, "option");
_Static_assert(OPTION_FAILONERROR == (int)CURLOPT_FAILONERROR, "option");
_Static_assert(OPTION_FOLLOWLOCATION == (int)CURLOPT_FOLLOWLOCATION, "option");
_Static_assert(OPTION_MAXREDIRS == (int)CURLOPT_MAXREDIRS, "option");
_Static_assert(OPTION_CONNECTTIMEOUT == (int)CURLOPT_CONNECTTIMEOUT, "option");
_Static_assert(OPTION_NOSIGNAL == (int)CURLOPT_NOSIGNAL, "option");
_Static_assert(OPTION_WRITEDATA == (int)CURLOPT_WRITEDATA, "option");
_Static_assert(OPTION_URL == (int)CURLOPT_URL, "option");
_Static_assert(OPTION_ERRORBUFFER == (int)CURLOPT_ERRORBUFFER, "option");
_Static_assert(OPTION_USERAGENT == (int)CURLOPT_USERAGENT, "option");
_Static_assert(OPTION_XFERINFODATA == (int)CURLOPT_XFERINFODATA, "option");
_Static_assert(OPTION_PROTOCOLS_STR == (int)CURLOPT_PROTOCOLS_STR, "option");
_Static_assert(OPTION_REDIR_PROTOCOLS_STR == (int)CURLOPT_REDIR_PROTOCOLS_STR, "option");
_Static_assert(OPTION_WRITEFUNCTION == (int)CURLOPT_WRITEFUNCTION, "option");
_Static_assert(OPTION_XFERINFOFUNCTION == (int)CURLOPT_XFERINFOFUNCTION, "option");
_Static_assert(OPTION_RESUME_FROM_LARGE == (int)CURLOPT_RESUME_FROM_LARGE, "option");
_Static_assert(INFO_RESPONSE_CODE == (int)CURLINFO_RESPONSE_CODE, "information");
_Static_assert(CS_CURL_HTTP == (int)CURLE_HTTP_RETURNED_ERROR, "code");
_Static_assert(CS_CURL_WRITE == (int)CURLE_WRITE_ERROR, "code");
_Static_assert(CS_CURL_RANGE == (int)CURLE_RANGE_ERROR, "code");
_Static_assert(CURL_GLOBAL_ALL == 3, "flag");
_Static_assert(CURL_ERROR_SIZE <= sizeof(((cs_download_end *)0)->message), "room for a message");

// What callbacks take, and what functions give.
curl_write_callback written = take;
curl_xferinfo_callback told = (curl_xferinfo_callback)tell;
CURL *(*begins)(void) = curl_easy_init;
CURLcode (*performs)(CURL *) = curl_easy_perform;
void (*ends)(CURL *) = curl_easy_cleanup;
const char *(*words)(CURLcode) = curl_easy_strerror;
