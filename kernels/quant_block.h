// What the quantised types have in common. A block is `block` columns of one row; with q its numbers of low_bits +
// high_bits bits, its values are
//   value[i] = (scale * scales[s]) * (q[i] - offset) + minimum * minimums[s],   s = i / sub_block
// where products and the sum round one by one in float32, a type without a minimum has no sum, and one with a table
// (IQ4_NL) has kIq4Values[q[i]] for q[i] - offset. Types with blocks of 32 have scales and minimums of 1.
#pragma once

#include <cstdint>

#include "kernels/base/check.h"
#include "kernels/dtype.h"

namespace cascade::kernels {

struct QuantFormat {
  int block = 32;      // or 256
  int sub_block = 32;  // or 16
  int low_bits = 4;    // a quant is kept in a plane of these ..
  int high_bits = 0;   // .. and one of these, above them
  int offset = 0;      // of kIq4Values + offset where there is a table: makes them unsigned
  bool has_minimum = false;
  bool has_table = false;

  constexpr int sub_blocks() const { return block / sub_block; }
  // The K types; others have one sub-block, whose scale is the block's.
  constexpr bool has_scales() const { return block > 32; }
  constexpr int largest() const { return has_table ? 255 : (1 << (low_bits + high_bits)) - 1; }
};

// type: a quantised one.
constexpr QuantFormat FormatOf(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {.offset = 8};
    case DType::kQ4_1:
      return {.has_minimum = true};
    case DType::kQ5_0:
      return {.high_bits = 1, .offset = 16};
    case DType::kQ5_1:
      return {.high_bits = 1, .has_minimum = true};
    case DType::kQ8_0:
      return {.low_bits = 8, .offset = 128};
    case DType::kIQ4_NL:
      return {.offset = 128, .has_table = true};
    case DType::kQ2_K:
      return {.block = 256, .sub_block = 16, .low_bits = 2, .has_minimum = true};
    case DType::kQ3_K:
      return {.block = 256, .sub_block = 16, .low_bits = 2, .high_bits = 1, .offset = 4};
    case DType::kQ4_K:
      return {.block = 256, .has_minimum = true};
    case DType::kQ5_K:
      return {.block = 256, .high_bits = 1, .has_minimum = true};
    case DType::kQ6_K:
      return {.block = 256, .sub_block = 16, .high_bits = 2, .offset = 32};
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  CASCADE_CHECK(false);
  return {};
}

inline constexpr int kMaxQuantBlock = 256;
inline constexpr int kMaxSubBlocks = 16;
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// One block, all numbers widened. Of the arrays, the format's first sub_blocks() and block entries are set.
struct QuantBlock {
  uint16_t scale;    // f16
  uint16_t minimum;  // f16; 0 where there is none. The K types subtract theirs: here its sign is turned
  int8_t scales[kMaxSubBlocks];
  int8_t minimums[kMaxSubBlocks];
  uint8_t quants[kMaxQuantBlock];
};

// stored: BlockBytes(type) bytes, any alignment.
void ReadQuantBlock(DType type, const uint8_t* stored, QuantBlock& block);

// The block's float32 values. out: [FormatOf(type).block].
void ExpandQuantBlock(DType type, const QuantBlock& block, float* out);

}  // namespace cascade::kernels
