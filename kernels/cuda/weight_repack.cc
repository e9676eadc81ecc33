#include "kernels/cuda/weight_repack.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/cuda/host_convert.h"
#include "kernels/dequantize.h"
#include "kernels/quant_block.h"

namespace cascade::kernels::cuda {
namespace {

uint16_t TurnSign(uint16_t half) { return half ^ 0x8000; }
uint16_t ToHalf(float x) {
  uint16_t half;
  NarrowFromFloat(DType::kF16, {&x, 1}, {&half, 1});
  return half;
}

// codes: [block / 2], column 2 i in the low bits of byte i.
void WriteFourBit(const QuantBlock& block, int columns, unsigned char* codes) {
  for (int i = 0; i < columns / 2; ++i) {
    codes[i] = static_cast<unsigned char>(block.quants[2 * i] | (block.quants[2 * i + 1] << 4));
  }
}

void WriteEightBit(const QuantFormat& format, const QuantBlock& block, unsigned char* codes) {
  if (format.has_table) {
    for (int i = 0; i < format.block; ++i) codes[i] = static_cast<unsigned char>(kIq4Values[block.quants[i]]);
    return;
  }
  const int offset = format.has_minimum ? 0 : format.offset;
  for (int i = 0; i < format.block; ++i) codes[i] = static_cast<unsigned char>(block.quants[i] - offset);
}

// What codes are less than a quant by the format's offset: it goes to the minimum.
bool OffsetInMinimum(WeightFormat device, const QuantFormat& format) {
  return IsFourBit(device) && !format.has_minimum && !format.has_table;
}

// One group: half scale and minimum, both as they are stored but for Q4_0, whose minimum is -8 scale: exact unless the
// scale is beyond 8,190.
void WriteHalfGroup(WeightFormat device, const QuantFormat& format, const QuantBlock& block, unsigned char* group) {
  uint16_t pair[2] = {block.scale, block.minimum};
  if (OffsetInMinimum(device, format)) {
    pair[1] = TurnSign(ToHalf(HalfToFloat(block.scale) * static_cast<float>(format.offset)));
  }
  std::memcpy(group, pair, sizeof pair);
}

void WriteWideGroups(WeightFormat device, const QuantFormat& format, const QuantBlock& block, unsigned char* groups) {
  const float scale = HalfToFloat(block.scale);
  const float minimum = HalfToFloat(block.minimum);
  for (int s = 0; s < format.sub_blocks(); ++s) {
    const float sub_scale = scale * static_cast<float>(block.scales[s]);
    float pair[2] = {sub_scale, 0};
    if (format.has_minimum) pair[1] = minimum * static_cast<float>(block.minimums[s]);
    if (OffsetInMinimum(device, format)) pair[1] = -sub_scale * static_cast<float>(format.offset);
    std::memcpy(groups + s * sizeof pair, pair, sizeof pair);
  }
}

void RepackQuantisedRow(DType type, WeightFormat device, const uint8_t* stored, int64_t cols, unsigned char* codes,
                        unsigned char* groups) {
  const QuantFormat format = FormatOf(type);
  const int code_bytes = IsFourBit(device) ? format.block / 2 : format.block;
  const int group_bytes = static_cast<int>(DeviceGroupBytes(device, format.block));
  const int stored_bytes = BlockBytes(type);
  QuantBlock block;
  for (int64_t column = 0; column < cols; column += format.block) {
    ReadQuantBlock(type, stored, block);
    if (IsFourBit(device)) {
      WriteFourBit(block, format.block, codes);
    } else {
      WriteEightBit(format, block, codes);
    }
    if (IsWide(device)) {
      WriteWideGroups(device, format, block, groups);
    } else {
      WriteHalfGroup(device, format, block, groups);
    }
    stored += stored_bytes;
    codes += code_bytes;
    groups += group_bytes;
  }
}

// Files need not align their floats.
void NarrowRow(DType compute, const uint8_t* stored, int64_t cols, unsigned char* elements) {
  constexpr int64_t kPiece = 1024;
  float wide[kPiece];
  uint16_t narrow[kPiece];
  for (int64_t column = 0; column < cols; column += kPiece) {
    const size_t count = static_cast<size_t>(std::min(kPiece, cols - column));
    std::memcpy(wide, stored + column * sizeof(float), count * sizeof(float));
    NarrowFromFloat(compute, {wide, count}, {narrow, count});
    std::memcpy(elements + column * sizeof(uint16_t), narrow, count * sizeof(uint16_t));
  }
}

}  // namespace

WeightFormat DeviceFormat(DType type, DType compute) {
  switch (type) {
    case DType::kF32:
      CASCADE_CHECK(compute == DType::kBF16 || compute == DType::kF16);
      return DeviceFormat(compute, compute);
    case DType::kBF16:
      return WeightFormat::kBf16;
    case DType::kF16:
      return WeightFormat::kHalf;
    case DType::kQ4_0:
    case DType::kQ4_1:
      return WeightFormat::kQuant4Group32;
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return WeightFormat::kQuant8Group32;
    case DType::kQ4_K:
      return WeightFormat::kQuant4Group32Wide;
    case DType::kQ5_K:
      return WeightFormat::kQuant8Group32Wide;
    case DType::kQ2_K:
    case DType::kQ3_K:
      return WeightFormat::kQuant4Group16Wide;
    case DType::kQ6_K:
      return WeightFormat::kQuant8Group16Wide;
  }
  CASCADE_CHECK(false);
  return {};
}

int64_t DeviceRowBytes(WeightFormat format, int64_t cols) {
  constexpr int64_t kAlignment = 16;
  const int64_t bytes = !IsQuantised(format) ? 2 * cols : IsFourBit(format) ? cols / 2 : cols;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t DeviceGroupBytes(WeightFormat format, int64_t cols) {
  return IsQuantised(format) ? cols / GroupColumns(format) * (IsWide(format) ? 8 : 4) : 0;
}

CodeRange DeviceCodes(DType type) {
  const QuantFormat format = FormatOf(type);
  const bool from_zero = format.has_minimum || IsFourBit(DeviceFormat(type, DType::kBF16));
  return {.lowest = from_zero ? 0 : -format.offset, .count = format.largest() + 1};
}

void RepackRows(const HostWeight& weight, DType compute, int64_t first, int64_t count, unsigned char* elements,
                unsigned char* groups) {
  const WeightFormat device = DeviceFormat(weight.type, compute);
  const int64_t stored_bytes = static_cast<int64_t>(RowBytes(weight.type, weight.cols));
  const int64_t row_bytes = DeviceRowBytes(device, weight.cols);
  const int64_t group_bytes = DeviceGroupBytes(device, weight.cols);
  const uint8_t* stored = static_cast<const uint8_t*>(weight.data) + first * stored_bytes;
  const bool as_is = weight.type == DType::kF16 || weight.type == DType::kBF16;
  if (as_is && stored_bytes == row_bytes) {
    std::memcpy(elements, stored, static_cast<size_t>(count * row_bytes));
    return;
  }
  for (int64_t row = 0; row < count; ++row) {
    if (IsQuantised(device)) {
      RepackQuantisedRow(weight.type, device, stored, weight.cols, elements, groups);
    } else {
      if (as_is) {
        std::memcpy(elements, stored, static_cast<size_t>(stored_bytes));
      } else {
        NarrowRow(compute, stored, weight.cols, elements);
      }
      std::memset(elements + 2 * weight.cols, 0, static_cast<size_t>(row_bytes - 2 * weight.cols));
    }
    stored += stored_bytes;
    elements += row_bytes;
    groups += group_bytes;
  }
}

}  // namespace cascade::kernels::cuda
