// The K types, rounded simply: a sub-block's scale from its extremes, all scales from the largest one. Not the search
// for the smallest error that published files come from.
#include "tests/support/quantize_k.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/dequantize.h"
#include "kernels/quant_block.h"
#include "tests/support/quantize.h"

namespace cascade {
namespace {

using kernels::DType;
using kernels::QuantBlock;
using kernels::QuantFormat;

// The largest scale and minimum that a sub-block can have.
int MostOf(DType type) {
  return type == DType::kQ2_K ? 15 : type == DType::kQ3_K ? 31 : type == DType::kQ6_K ? 127 : 63;
}

// numbers ~ returned step * units, units up to `most`; the step as f16.
uint16_t ToUnits(const std::vector<float>& numbers, int most, int8_t* units) {
  const uint16_t half = FloatToHalf(*std::max_element(numbers.begin(), numbers.end()) / static_cast<float>(most));
  const float step = kernels::HalfToFloat(half);
  for (size_t s = 0; s < numbers.size(); ++s) {
    units[s] = step > 0 ? static_cast<int8_t>(std::min<float>(std::round(numbers[s] / step), most)) : 0;
  }
  return half;
}

// block.minimum is what the file stores: subtracted.
QuantBlock Round(DType type, const float* x) {
  const QuantFormat format = kernels::FormatOf(type);
  const int n = format.sub_block;
  std::vector<float> scales(format.sub_blocks());
  std::vector<float> minimums(format.sub_blocks());
  for (int s = 0; s < format.sub_blocks(); ++s) {
    const auto [low, high] = std::minmax_element(x + s * n, x + (s + 1) * n);
    if (format.has_minimum) {
      minimums[s] = std::max(0.0f, -*low);
      scales[s] = (*high + minimums[s]) / format.largest();
    } else {
      scales[s] = std::max(std::abs(*low), std::abs(*high)) / (format.offset - 1);
    }
    scales[s] = std::max(scales[s], 0.0f);
  }
  QuantBlock block = {};
  block.scale = ToUnits(scales, MostOf(type), block.scales);
  if (format.has_minimum) block.minimum = ToUnits(minimums, MostOf(type), block.minimums);
  for (int i = 0; i < format.block; ++i) {
    const float scale = kernels::HalfToFloat(block.scale) * block.scales[i / n];
    const float minimum = kernels::HalfToFloat(block.minimum) * block.minimums[i / n];
    const float quant = scale > 0 ? std::round((x[i] + minimum) / scale) + format.offset : format.offset;
    block.quants[i] = static_cast<uint8_t>(std::clamp<float>(quant, 0, format.largest()));
  }
  return block;
}

// Columns [field * columns, ..) of each `columns` bytes in bits [field * bits, ..); the lowest `bits` of the quants
// after dropping `drop`.
void PutFields(const uint8_t* quants, int columns, int bits, int drop, uint8_t* bytes) {
  for (int field = 0; field < 8 / bits; ++field) {
    for (int i = 0; i < columns; ++i) {
      bytes[i] |= ((quants[field * columns + i] >> drop) & ((1 << bits) - 1)) << (bits * field);
    }
  }
}

void PutHalf(uint16_t half, uint8_t* bytes) { std::memcpy(bytes, &half, sizeof half); }

void PutQ3Scales(const QuantBlock& block, uint8_t* bytes) {
  for (int i = 0; i < 16; ++i) {
    const int scale = block.scales[i] + 32;
    bytes[i % 8] |= (scale & 15) << (4 * (i / 8));
    bytes[8 + i % 4] |= (scale >> 4) << (2 * (i / 4));
  }
}

void PutScalesAndMinimums(const QuantBlock& block, uint8_t* bytes) {
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<uint8_t>(block.scales[i] | ((block.scales[4 + i] >> 4) << 6));
    bytes[4 + i] = static_cast<uint8_t>(block.minimums[i] | ((block.minimums[4 + i] >> 4) << 6));
    bytes[8 + i] = static_cast<uint8_t>((block.scales[4 + i] & 15) | ((block.minimums[4 + i] & 15) << 4));
  }
}

void Put(DType type, const QuantBlock& block, uint8_t* to) {
  const uint8_t* q = block.quants;
  switch (type) {
    case DType::kQ2_K:
      for (int i = 0; i < 16; ++i) to[i] = static_cast<uint8_t>(block.scales[i] | (block.minimums[i] << 4));
      for (int half = 0; half < 2; ++half) PutFields(q + 128 * half, 32, 2, 0, to + 16 + 32 * half);
      PutHalf(block.scale, to + 80);
      PutHalf(block.minimum, to + 82);
      return;
    case DType::kQ3_K:
      PutFields(q, 32, 1, 2, to);
      for (int half = 0; half < 2; ++half) PutFields(q + 128 * half, 32, 2, 0, to + 32 + 32 * half);
      PutQ3Scales(block, to + 96);
      PutHalf(block.scale, to + 108);
      return;
    case DType::kQ4_K:
    case DType::kQ5_K: {
      PutHalf(block.scale, to);
      PutHalf(block.minimum, to + 2);
      PutScalesAndMinimums(block, to + 4);
      if (type == DType::kQ5_K) PutFields(q, 32, 1, 4, to + 16);
      uint8_t* nibbles = to + (type == DType::kQ5_K ? 48 : 16);
      for (int part = 0; part < 4; ++part) PutFields(q + 64 * part, 32, 4, 0, nibbles + 32 * part);
      return;
    }
    case DType::kQ6_K:
      for (int half = 0; half < 2; ++half) {
        PutFields(q + 128 * half, 64, 4, 0, to + 64 * half);
        PutFields(q + 128 * half, 32, 2, 4, to + 128 + 32 * half);
      }
      std::memcpy(to + 192, block.scales, sizeof block.scales);
      PutHalf(block.scale, to + 208);
      return;
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace

void QuantizeK(DType type, const float* x, std::string& bytes) {
  const size_t at = bytes.size();
  bytes.resize(at + kernels::BlockBytes(type), '\0');
  Put(type, Round(type, x), reinterpret_cast<uint8_t*>(bytes.data()) + at);
}

}  // namespace cascade
