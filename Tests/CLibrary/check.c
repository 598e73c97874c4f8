/* The C library as a program uses it: every function, every callback, what is refused, and that an ended
 * call leaves the model usable. Usage: check MODEL PHOTO; prints the labels' checksum. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <trident.h>

typedef struct seen {
  int width, height, rows, titles, score_rows, steps;
  int stop_at_row, stop_at_step;
  unsigned long sum;
  int lowest, highest;
  char last_title[64];
} seen;

static int begin(void *context, int32_t width, int32_t height, const char *const *titles, size_t count) {
  seen *s = context;
  s->width = width, s->height = height, s->titles = (int)count;
  snprintf(s->last_title, sizeof s->last_title, "%s", titles[count - 1]);
  return 0;
}

static int row(void *context, int32_t y, const uint16_t *labels, const uint8_t *confidence) {
  seen *s = context;
  assert(y == s->rows);
  for (int x = 0; x < s->width; x++) {
    assert(labels[x] < s->titles);
    s->sum = s->sum * 31 + labels[x];
    if (!confidence) continue;
    if (confidence[x] < s->lowest) s->lowest = confidence[x];
    if (confidence[x] > s->highest) s->highest = confidence[x];
  }
  return s->rows++ == s->stop_at_row;
}

static int scores(void *context, const float *values, size_t columns) {
  assert(columns && values[0] > -1.01f && values[0] < 1.01f);
  ((seen *)context)->score_rows++;
  return 0;
}

static int progress(void *context, const char *stage, double fraction) {
  assert(*stage && fraction >= 0 && fraction <= 1);
  seen *s = context;
  return s->steps++ == s->stop_at_step;
}

static seen nothing(void) {
  seen s = {.stop_at_row = -1, .stop_at_step = -1, .lowest = 255};
  return s;
}

static const char *const classes[] = {"cow", "grass; meadow", "sky"};

/* What cannot work says so, in one line, and leaves nothing behind. */
static void refused_models(const char *path) {
  trident_error error;
  trident_model *model = (trident_model *)1;
  assert(trident_open("no such file", NULL, 0, &model, &error) == TRIDENT_MODEL && !model);
  assert(error.code == TRIDENT_MODEL && strstr(error.text, "no such file") && !strchr(error.text, '\n'));
  assert(trident_open(NULL, NULL, 0, &model, NULL) == TRIDENT_USAGE);
  trident_option odd[] = {{"treads", "2"}}, wrong[] = {{"memory_limit", "much"}};
  assert(trident_open(path, odd, 1, &model, &error) == TRIDENT_USAGE && strstr(error.text, "threads"));
  assert(trident_open(path, wrong, 1, &model, &error) == TRIDENT_USAGE);
  assert(trident_open(path, NULL, 1, &model, &error) == TRIDENT_USAGE);
  trident_close(NULL);
}

/* Pixels instead of a file: a white square of 40 by 30, rows 128 bytes apart; only what is asked for. */
static void pixels(trident_model *model) {
  static uint8_t rgb[30 * 128];
  memset(rgb, 255, sizeof rgb);
  trident_option options[] = {{"refine", "none"}, {"negative", "sky; sea"}};
  trident_request request = {.size = sizeof request, .rgb = rgb, .width = 40, .height = 30, .stride = 128};
  request.classes = classes, request.class_count = 2;
  request.options = options, request.option_count = 2;
  seen square = nothing();
  trident_sinks sinks = {.size = sizeof sinks, .context = &square, .begin = begin, .row = row};
  trident_error error;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_OK);
  assert(square.rows == 30 && square.width == 40 && square.highest == 0);
  assert(!strcmp(square.last_title, "unknown"));
  request.stride = 20;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_PHOTO);
  request.width = -1, request.stride = 0;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_PHOTO);
}

static void refused_requests(trident_model *model, trident_request request) {
  trident_error error;
  seen any = nothing();
  trident_sinks sinks = {.size = sizeof sinks, .context = &any, .row = row};
  trident_request old = request, bare = request, odd = request, lost = request, mixed = request;
  old.size = 8;
  assert(trident_segment(model, &old, &sinks, &error) == TRIDENT_USAGE && strstr(error.text, "size"));
  bare.class_count = 0;
  assert(trident_segment(model, &bare, &sinks, &error) == TRIDENT_USAGE);
  trident_option nicely[] = {{"refine", "nicely"}};
  odd.options = nicely;
  assert(trident_segment(model, &odd, &sinks, &error) == TRIDENT_USAGE && strstr(error.text, "nicely"));
  lost.path = "no such photo";
  assert(trident_segment(model, &lost, &sinks, &error) == TRIDENT_PHOTO && strstr(error.text, lost.path));
  mixed.vocabulary = request.path, mixed.class_count = 0;
  assert(trident_segment(model, &mixed, &sinks, &error) == TRIDENT_MODEL);
  assert(trident_segment(NULL, &request, &sinks, &error) == TRIDENT_USAGE);
}

static unsigned long sum_with(trident_model *model, trident_request request, const char *templates) {
  trident_option options[] = {{"refine", "none"}, {"templates", templates}};
  request.options = options, request.option_count = templates ? 2 : 1;
  seen any = nothing();
  trident_sinks sinks = {.size = sizeof sinks, .context = &any, .begin = begin, .row = row};
  trident_error error;
  int32_t code = trident_segment(model, &request, &sinks, &error);
  if (code) fprintf(stderr, "%s\n", error.text);
  assert(code == TRIDENT_OK && any.rows == any.height);
  return any.sum;
}

/* The sentences that words are placed in: those of a call, not of the call before. */
static void templates(trident_model *model, trident_request request) {
  unsigned long usual = sum_with(model, request, NULL);
  unsigned long seven = sum_with(model, request, "seven"), one = sum_with(model, request, "one");
  assert(usual != seven && seven != one && one != usual);
  assert(sum_with(model, request, "all") == usual && sum_with(model, request, "seven") == seven);

  trident_option eight[] = {{"templates", "eight"}}, some[] = {{"templates", "one"}};
  seen any = nothing();
  trident_sinks sinks = {.size = sizeof sinks, .context = &any, .row = row};
  trident_error error;
  request.option_count = 1, request.options = eight;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_USAGE && strstr(error.text, "seven"));
  request.options = some, request.class_count = 0, request.vocabulary = "words.tvoc";
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_USAGE);
  assert(strstr(error.text, "templates"));
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  assert(trident_abi() == TRIDENT_ABI && strlen(trident_version()) > 4);
  refused_models(argv[1]);

  trident_error error;
  trident_model *model;
  trident_option settings[] = {{"threads", "2"}, {"memory_limit", "64M"}};
  assert(trident_open(argv[1], settings, 2, &model, &error) == TRIDENT_OK && model && !error.text[0]);

  trident_option options[] = {{"refine", "none"}};
  trident_request request = {.size = sizeof request, .path = argv[2], .classes = classes, .class_count = 3};
  request.options = options, request.option_count = 1;
  size_t bytes = 0;
  assert(trident_plan(model, &request, &bytes, &error) == TRIDENT_OK && bytes > 1 << 20 && bytes < 64 << 20);

  seen first = nothing();
  trident_sinks sinks = {.size = sizeof sinks, .context = &first, .begin = begin, .row = row};
  sinks.wants_confidence = 1, sinks.scores = scores, sinks.progress = progress;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_OK);
  assert(first.rows == first.height && first.titles == 3 && !strcmp(first.last_title, "sky"));
  assert(first.score_rows && first.score_rows % 3 == 0 && first.steps > 3 && first.highest > first.lowest);

  /* A callback that has seen enough. */
  seen cut = nothing();
  cut.stop_at_row = 7, sinks.context = &cut;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_CANCELLED && cut.rows == 8);
  cut = nothing(), cut.stop_at_step = 1;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_CANCELLED);
  assert(cut.rows == 0 && cut.steps == 2);

  pixels(model);
  templates(model, request);
  refused_requests(model, request);

  /* After all that the same labels. */
  seen again = nothing();
  sinks.context = &again;
  assert(trident_segment(model, &request, &sinks, &error) == TRIDENT_OK && again.sum == first.sum);
  trident_close(model);
  printf("%lu\n", first.sum);
  return 0;
}
