// Weight panels: 16 output channels, depth interleaved by 4. Runs offline, so one plain version serves all.
//
//   panel p:  group 0 | channel 0: d0 d1 d2 d3 | channel 1: d0 d1 d2 d3 | ... | channel 15: d0 d1 d2 d3 |
//             group 1 | channel 0: d4 d5 d6 d7 | ...                                        64 bytes a group
#include "internal.h"

void ck_pack_panels(const int8_t *rows, size_t row_stride, size_t channels, size_t cols, size_t depth,
                    int8_t *weight, int32_t *sum) {
  size_t panels = (channels + 15) / 16;
  memset(weight, 0, panels * 16 * depth);
  for (size_t channel = 0; channel < panels * 16; channel++) {
    int32_t total = 0;
    int8_t *panel = weight + (channel / 16) * 16 * depth + (channel % 16) * 4;
    if (channel < channels) {
      const int8_t *row = rows + channel * row_stride;
      for (size_t k = 0; k < cols; k++) {
        panel[(k / 4) * 64 + k % 4] = row[k];
        total += row[k];
      }
    }
    sum[channel] = total;
  }
}
