// Where the numbers of a quantised weight are in a packed strip; the layout itself is described in packed_weight.h.
// Integers only, so that the kernels have them as constants.
#pragma once

#include <cstdint>

#include "kernels/quant_block.h"

namespace cascade::kernels {

inline constexpr int kStripRows = 16;
inline constexpr int kQuantBlock = 32;  // columns of a unit: they share a scale of the activations

struct PackedLayout {
  QuantFormat format;

  constexpr int units() const { return format.block / kQuantBlock; }
  constexpr int unit_words() const { return format.low_bits + format.high_bits; }  // 32-bit words of each row
  constexpr int halves() const { return format.has_minimum ? 2 : 1; }              // f16 numbers of each row
  // Byte offsets in a group, the 16 rows' version of a block.
  constexpr int scales_at() const { return 2 * halves() * kStripRows; }
  constexpr int minimums_at() const { return scales_at() + format.sub_blocks() * kStripRows; }
  constexpr int units_at() const {
    return scales_at() + (format.has_scales() ? halves() * format.sub_blocks() * kStripRows : 0);
  }
  constexpr int unit_bytes() const { return 4 * unit_words() * kStripRows; }
  constexpr int group_bytes() const { return units_at() + units() * unit_bytes(); }
};

constexpr PackedLayout PackedLayoutOf(DType type) { return {FormatOf(type)}; }

}  // namespace cascade::kernels
