// JPEG in: libjpeg held to a memory limit, with every error turned into a returned code.
#include "internal.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#define CR_JPEG_INPUT 16384

struct cr_jpeg {
  struct jpeg_decompress_struct codec;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf escape;
  cr_input input;
  cr_failure failure;
  cr_jpeg_info info;
  uint8_t *four;  // one CMYK row, else NULL
  int most_scans;
  int may_end;           // the picture has begun: where the file ends, an end marker is put
  int ended;             // it was
  int64_t last_content;  // file position of the last byte that is not zero, -1 for none
  int64_t discarded;     // bytes between markers that were not decoded
  JOCTET bytes[CR_JPEG_INPUT];
};

static cr_jpeg *owner_of(j_common_ptr codec) { return (cr_jpeg *)codec->client_data; }

static int64_t position(const cr_jpeg *jpeg) {
  return jpeg->input.next - (int64_t)jpeg->source.bytes_in_buffer;
}

static int code_of(const cr_jpeg *jpeg, int message) {
  if (jpeg->input.problem) return jpeg->input.problem;
  switch (message) {
    case JERR_OUT_OF_MEMORY:
    case JERR_NO_BACKING_STORE:
    case JERR_WIDTH_OVERFLOW: return CR_NO_MEMORY;
    default:
      if (jpeg->ended) return CR_TRUNCATED;
  }
  switch (message) {
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL: return CR_UNSUPPORTED;
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY: return CR_TRUNCATED;
    // Entropy-coded data that stops at a marker: the picture is shorter than its header says.
    case JWRN_HIT_MARKER:
    case JWRN_JPEG_EOF: return CR_TRUNCATED;
    default: return CR_CORRUPT;
  }
}

static void leave(j_common_ptr codec) {
  cr_jpeg *jpeg = owner_of(codec);
  char text[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, text);
  int code = code_of(jpeg, codec->err->msg_code);
  cr_fail(&jpeg->failure, code, jpeg->input.system_error, position(jpeg), text);
  longjmp(jpeg->escape, 1);
}

static void stay_silent(j_common_ptr codec) { (void)codec; }

// libjpeg calls recoverable damage a warning and paints it grey. We take the picture or refuse it.
static void weigh_message(j_common_ptr codec, int level) {
  if (level >= 0) return;
  codec->err->num_warnings++;
  switch (codec->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_JPEG_EOF:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL: leave(codec); break;
    case JWRN_EXTRANEOUS_DATA: owner_of(codec)->discarded += codec->err->msg_parm.i[0]; break;
    default: break;
  }
}

static void count_scans(j_common_ptr codec) {
  j_decompress_ptr decoder = (j_decompress_ptr)codec;
  cr_jpeg *jpeg = owner_of(codec);
  if (decoder->input_scan_number <= jpeg->most_scans) return;
  cr_fail(&jpeg->failure, CR_TOO_MUCH, 0, position(jpeg), "scans");
  longjmp(jpeg->escape, 1);
}

static void source_nothing(j_decompress_ptr codec) { (void)codec; }

// Cameras that lose power, and cards that are rescued, leave photos whose rows are all there and whose end
// marker is not. It is put where the file ends: data that stops short of the last row then run into it, which
// `weigh_message` refuses. Arithmetic coding would go on with zeros without a word.
static boolean source_fill(j_decompress_ptr codec) {
  cr_jpeg *jpeg = owner_of((j_common_ptr)codec);
  size_t got = cr_input_read(&jpeg->input, jpeg->bytes, sizeof jpeg->bytes);
  if (got == 0 && jpeg->input.problem == CR_TRUNCATED && jpeg->may_end && !codec->arith_code) {
    jpeg->input.problem = 0;
    jpeg->ended = 1;
    jpeg->bytes[0] = 0xFF;
    jpeg->bytes[1] = JPEG_EOI;
    jpeg->source.next_input_byte = jpeg->bytes;
    jpeg->source.bytes_in_buffer = 2;
    return TRUE;
  }
  if (got == 0) {
    jpeg->source.bytes_in_buffer = 0;
    ERREXIT(codec, JERR_INPUT_EOF);
  }
  for (size_t i = got; i > 0; i--) {
    if (jpeg->bytes[i - 1] == 0) continue;
    jpeg->last_content = jpeg->input.next - (int64_t)(got - i) - 1;
    break;
  }
  jpeg->source.next_input_byte = jpeg->bytes;
  jpeg->source.bytes_in_buffer = got;
  return TRUE;
}

// Skipping past the end shows as a short read at the next refill.
static void source_skip(j_decompress_ptr codec, long count) {
  cr_jpeg *jpeg = owner_of((j_common_ptr)codec);
  if (count <= 0) return;
  size_t held = jpeg->source.bytes_in_buffer;
  if ((size_t)count <= held) {
    jpeg->source.next_input_byte += count;
    jpeg->source.bytes_in_buffer -= (size_t)count;
    return;
  }
  jpeg->input.next += (int64_t)((size_t)count - held);
  jpeg->source.next_input_byte = jpeg->bytes;
  jpeg->source.bytes_in_buffer = 0;
}

// Called after read_header, when the sampling factors have been checked and the block counts set.
static void describe(cr_jpeg *jpeg) {
  j_decompress_ptr codec = &jpeg->codec;
  cr_jpeg_info *info = &jpeg->info;
  info->width = codec->image_width;
  info->height = codec->image_height;
  info->components = codec->num_components;
  info->needs_whole_image = jpeg_has_multiple_scans(codec) ? 1 : 0;
  uint64_t tallest = 1, rows = 0;
  for (int i = 0; i < codec->num_components; i++) {
    const jpeg_component_info *component = &codec->comp_info[i];
    uint64_t h = (uint64_t)component->h_samp_factor, v = (uint64_t)component->v_samp_factor;
    uint64_t columns = (component->width_in_blocks + h - 1) / h * h;
    uint64_t lines = (component->height_in_blocks + v - 1) / v * v;
    if (info->needs_whole_image) info->whole_bytes += columns * lines * 64 * sizeof(JCOEF);
    if (v > tallest) tallest = v;
    // Eight lines a block row, two row groups of context, and one upsampled group at full width.
    rows += columns * 8 * (v * 8 + v * 4);
  }
  uint64_t full = (uint64_t)info->width + 64;
  info->working_bytes = 96 * 1024 + rows + full * (uint64_t)info->components * (tallest + 1) + full * 4;
}

cr_jpeg *cr_jpeg_open(int fd, cr_jpeg_info *info, cr_failure *failure) {
  cr_jpeg *jpeg = calloc(1, sizeof *jpeg);
  if (!jpeg) {
    cr_fail(failure, CR_NO_MEMORY, 0, 0, "no memory for the decoder");
    return NULL;
  }
  jpeg->input.fd = fd;
  jpeg->last_content = -1;
  jpeg->codec.err = jpeg_std_error(&jpeg->errors);
  jpeg->errors.error_exit = leave;
  jpeg->errors.output_message = stay_silent;
  jpeg->errors.emit_message = weigh_message;
  jpeg->codec.client_data = jpeg;
  if (setjmp(jpeg->escape)) {
    *failure = jpeg->failure;
    cr_jpeg_close(jpeg);
    return NULL;
  }
  jpeg_create_decompress(&jpeg->codec);
  jpeg->codec.client_data = jpeg;
  jpeg->source.init_source = source_nothing;
  jpeg->source.fill_input_buffer = source_fill;
  jpeg->source.skip_input_data = source_skip;
  jpeg->source.resync_to_restart = jpeg_resync_to_restart;
  jpeg->source.term_source = source_nothing;
  jpeg->source.next_input_byte = jpeg->bytes;
  jpeg->codec.src = &jpeg->source;
  jpeg->codec.mem->max_memory_to_use = 1 << 20;
  jpeg_read_header(&jpeg->codec, TRUE);
  describe(jpeg);
  *info = jpeg->info;
  return jpeg;
}

int cr_jpeg_start(cr_jpeg *jpeg, int most_scans, cr_failure *failure) {
  jpeg->most_scans = most_scans;
  j_decompress_ptr codec = &jpeg->codec;
  if (setjmp(jpeg->escape)) {
    *failure = jpeg->failure;
    return failure->code;
  }
  if (codec->num_components == 4) {
    codec->out_color_space = JCS_CMYK;
    jpeg->four = malloc((size_t)codec->image_width * 4);
    if (!jpeg->four) {
      cr_fail(failure, CR_NO_MEMORY, 0, position(jpeg), "no memory for one row");
      return CR_NO_MEMORY;
    }
  } else {
    codec->out_color_space = JCS_RGB;
  }
  uint64_t limit = jpeg->info.whole_bytes + jpeg->info.working_bytes + (1 << 20);
  codec->mem->max_memory_to_use = limit > (uint64_t)__LONG_MAX__ ? __LONG_MAX__ : (long)limit;
  jpeg->progress.progress_monitor = count_scans;
  codec->progress = &jpeg->progress;
  jpeg->may_end = 1;
  jpeg_start_decompress(codec);
  return CR_OK;
}

// Inverted samples: 255 is no ink. The product is shifted, not divided, because OpenCV's is.
static void inks_to_rgb(const uint8_t *four, uint8_t *row, size_t width) {
  for (size_t x = 0; x < width; x++) {
    int k = four[4 * x + 3];
    for (int c = 0; c < 3; c++) row[3 * x + c] = (uint8_t)(k - (((255 - four[4 * x + c]) * k) >> 8));
  }
}

int cr_jpeg_row(cr_jpeg *jpeg, uint8_t *row, cr_failure *failure) {
  if (setjmp(jpeg->escape)) {
    *failure = jpeg->failure;
    return failure->code;
  }
  JSAMPROW target = jpeg->four ? jpeg->four : row;
  if (jpeg_read_scanlines(&jpeg->codec, &target, 1) != 1) {
    cr_fail(failure, CR_TRUNCATED, 0, position(jpeg), "no more rows");
    return CR_TRUNCATED;
  }
  if (jpeg->four) inks_to_rgb(jpeg->four, row, jpeg->info.width);
  return CR_OK;
}

// Whether a file without an end marker holds every scan. A progressive file does once every coefficient is
// known to its last bit, one with a scan a component once each has had its scan.
static int holds_all_scans(const struct jpeg_decompress_struct *codec) {
  for (int i = 0; i < codec->num_components; i++) {
    if (!codec->comp_info[i].quant_table) return 0;
    for (int k = 0; codec->progressive_mode && codec->coef_bits && k < DCTSIZE2; k++) {
      if (codec->coef_bits[i][k] != 0) return 0;
    }
  }
  return 1;
}

int cr_jpeg_finish(cr_jpeg *jpeg, int *ended_early, cr_failure *failure) {
  if (setjmp(jpeg->escape)) {
    *failure = jpeg->failure;
    return failure->code;
  }
  // Before libjpeg forgets them.
  int whole = holds_all_scans(&jpeg->codec);
  jpeg_finish_decompress(&jpeg->codec);
  *ended_early = jpeg->ended;
  if (!jpeg->ended) return CR_OK;
  // Rows that were read out of zeros behind the last content are a rescued file's filling, not rows: zeros
  // behind the rows are discarded. libjpeg may hold a few bytes that it has not used.
  int64_t zeros = jpeg->input.next - jpeg->last_content - 1;
  if (whole && zeros - jpeg->discarded <= 16) return CR_OK;
  cr_fail(failure, CR_TRUNCATED, 0, jpeg->last_content + 1, "no end marker, and rows are missing");
  return CR_TRUNCATED;
}

void cr_jpeg_close(cr_jpeg *jpeg) {
  if (!jpeg) return;
  // Destroying only frees; it has no error path, and it accepts a codec that was never created.
  jpeg_destroy_decompress(&jpeg->codec);
  free(jpeg->four);
  free(jpeg);
}
