/* Trident for small boards, from C: which of your words does each pixel of a photo belong to?
 *
 *   trident_error error;
 *   trident_model *model;
 *   if (trident_open("demo.gguf", NULL, 0, &model, &error)) { puts(error.text); return 1; }
 *   const char *classes[] = {"cow", "grass; meadow", "sky"};
 *   trident_request request = {.size = sizeof request, .path = "photo.jpg", .classes = classes,
 *                              .class_count = 3};
 *   trident_sinks sinks = {.size = sizeof sinks, .context = my_map, .row = my_row};
 *   if (trident_segment(model, &request, &sinks, &error)) puts(error.text);
 *   trident_close(model);
 *
 * Link with `pkg-config --cflags --libs trident`.
 *
 * Threads: any thread may call with any model. Calls with one model wait for each other; each uses all
 * threads of the model. Callbacks come from the calling thread, one at a time; they must not call with the
 * same model. A model is closed once, when no call uses it.
 *
 * Memory: the model file is mapped, not loaded. A call reserves what trident_plan says and gives it back.
 * If the file is cut short meanwhile, the system ends the process with SIGBUS; the option copy_model reads
 * it into memory instead.
 *
 * Strings are UTF-8. Nothing that is passed is kept after the call, nothing that a callback is handed is
 * valid after it.
 */
#ifndef TRIDENT_H
#define TRIDENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when a program that was built with an older header can no longer run with the library. */
#define TRIDENT_ABI 1

/* What functions return; 2 to 6 are also the exit codes of the program `trident`. */
enum trident_code {
  TRIDENT_OK = 0,
  TRIDENT_CANCELLED = 1, /* a callback said so */
  TRIDENT_USAGE = 2,     /* arguments, options or classes that cannot work */
  TRIDENT_PHOTO = 3,     /* the photo cannot be read */
  TRIDENT_MODEL = 4,     /* the model file or the vocabulary is damaged, of another kind or does not fit */
  TRIDENT_MEMORY = 5,    /* the memory or time limit is too small */
  TRIDENT_SYSTEM = 6     /* the system refused something else */
};

/* The largest trident_error.text, with its final zero. */
#define TRIDENT_ERROR_BYTES 1024

typedef struct trident_error {
  int32_t code;                   /* what the function returned */
  char text[TRIDENT_ERROR_BYTES]; /* one line: file, field, problem, fix; empty after TRIDENT_OK */
} trident_error;

typedef struct trident_model trident_model;

/* A setting by name. Of a model: threads, memory_limit ("48M"), time_limit (seconds), keep_weights,
 * copy_model, verify_weights, lift_ceilings ("true" or "false"), cpu_path. Of a request: background ("true"
 * or "false"), negative ("wall; floor"), templates (sentences that words are placed in: "all", "seven", "one"
 * or a file of them; not beside a vocabulary), and whatever `trident segment --help` lists under Method, such
 * as refine ("sam", "pamr", "bilateral", "crf", "none"), method, short_side, absent, unknown_threshold. */
typedef struct trident_option {
  const char *key;
  const char *value;
} trident_option;

/* One photo's work. Members that are zero are not used. */
typedef struct trident_request {
  size_t size; /* sizeof(trident_request) */

  const char *path;      /* JPEG, PNG or PPM, turned as EXIF says; or pixels: */
  const uint8_t *rgb;    /* red, green, blue, upright, row by row */
  int32_t width, height; /* of rgb */
  size_t stride;         /* bytes from one row of rgb to the next; 0: 3 * width */

  const char *const *classes; /* a phrase each, or synonyms: "cat; kitten := a small pet" */
  size_t class_count;
  const char *vocabulary; /* a file made by `trident text` or an .npz, instead of classes */

  const trident_option *options;
  size_t option_count;
} trident_request;

/* Takes results while they are made. What is NULL is not computed. A callback that returns something other
 * than 0 ends the call with TRIDENT_CANCELLED: at the next block of a network or row of labels. */
typedef struct trident_sinks {
  size_t size; /* sizeof(trident_sinks) */
  void *context;

  /* Before all others: size of the upright photo, and what each label is called. The last label is
   * "unknown" where pixels may be of no class. */
  int (*begin)(void *context, int32_t width, int32_t height, const char *const *titles, size_t title_count);
  /* Labels of a row, [width], top to bottom. `confidence`: how sure the scores are of each pixel, [width],
   * 255 is certain; NULL unless wants_confidence. */
  int (*row)(void *context, int32_t y, const uint16_t *labels, const uint8_t *confidence);
  int32_t wants_confidence;
  /* Cosine scores on the grid before upsampling, class by class and row by row: [columns]. */
  int (*scores)(void *context, const float *row, size_t columns);
  /* A stage's name and the share of all work that is done, 0 to 1. */
  int (*progress)(void *context, const char *stage, double fraction);
} trident_sinks;

/* TRIDENT_ABI of the library that runs, and its release. */
int32_t trident_abi(void);
const char *trident_version(void);

/* Opens a model file made by trident-quantize. `error` may be NULL everywhere. After an error *model is
 * NULL. */
int32_t trident_open(const char *path, const trident_option *options, size_t option_count,
                     trident_model **model, trident_error *error);

/* Gives everything back; NULL is fine. */
void trident_close(trident_model *model);

/* Private memory, in bytes, that a request will take, with everything that this process holds already.
 * Nothing is computed; of a photo the header is read. */
int32_t trident_plan(trident_model *model, const trident_request *request, size_t *bytes,
                     trident_error *error);

/* Segments one photo. `row` must be there. Words are encoded once for calls with the same classes and
 * templates. */
int32_t trident_segment(trident_model *model, const trident_request *request, const trident_sinks *sinks,
                        trident_error *error);

#ifdef __cplusplus
}
#endif
#endif
