// Weights as they lie on the device.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace cascade::kernels::cuda {

// How a matrix is stored, row by row. Quantised ones: codes, then per group of consecutive columns a scale and a
// minimum, value = code * scale + minimum:
//   kQuant4   32 columns in 16 bytes, codes 0..15: column 2 i in the low, 2 i + 1 in the high bits of byte i
//   kQuant8   32 columns in 32 bytes, codes -128..127
// kCols: columns of a group; kWide: scale and minimum are float2, else half2 (exact for types with blocks of 32).
enum class WeightFormat : uint8_t {
  kBf16,
  kHalf,
  kQuant4Group32,      // Q4_0 Q4_1: half2
  kQuant8Group32,      // Q5_0 Q5_1 Q8_0 IQ4_NL: half2
  kQuant4Group32Wide,  // Q4_K
  kQuant8Group32Wide,  // Q5_K
  kQuant4Group16Wide,  // Q2_K Q3_K
  kQuant8Group16Wide,  // Q6_K
};

// A matrix [rows, cols], or a float row. Kernels take it by value.
struct DeviceWeight {
  WeightFormat format = WeightFormat::kBf16;
  int64_t rows = 0;
  int64_t cols = 0;
  const void* data = nullptr;  // codes or elements; a row takes row_bytes, a multiple of 16
  int64_t row_bytes = 0;
  const void* groups = nullptr;      // quantised: [rows][cols / group] half2 or float2
  const float* dense_row = nullptr;  // of one row (a gain, a bias): as float32 as well
};

// Of weights that are as linear layers multiply them. compute: kBF16 or kF16.
constexpr WeightFormat FormatOfType(DType compute) {
  return compute == DType::kBF16 ? WeightFormat::kBf16 : WeightFormat::kHalf;
}
constexpr bool IsQuantised(WeightFormat format) { return format > WeightFormat::kHalf; }
// Columns of a group.
constexpr int GroupColumns(WeightFormat format) { return format >= WeightFormat::kQuant4Group16Wide ? 16 : 32; }
constexpr bool IsWide(WeightFormat format) { return format >= WeightFormat::kQuant4Group32Wide; }
constexpr bool IsFourBit(WeightFormat format) {
  return format == WeightFormat::kQuant4Group32 || format == WeightFormat::kQuant4Group32Wide ||
         format == WeightFormat::kQuant4Group16Wide;
}

}  // namespace cascade::kernels::cuda
