// Reading a DeviceWeight in kernels, eight columns at a time.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/device_weight.h"

namespace cascade::kernels::cuda {

// Calls function(std::integral_constant<WeightFormat, weight.format>): a kernel for each format.
template <class Function>
void ForFormat(WeightFormat format, const Function& function) {
  switch (format) {
#define CASCADE_FORMAT(name) \
  case WeightFormat::name:   \
    return function(std::integral_constant<WeightFormat, WeightFormat::name>());
    CASCADE_FORMAT(kBf16)
    CASCADE_FORMAT(kHalf)
    CASCADE_FORMAT(kQuant4Group32)
    CASCADE_FORMAT(kQuant8Group32)
    CASCADE_FORMAT(kQuant4Group32Wide)
    CASCADE_FORMAT(kQuant8Group32Wide)
    CASCADE_FORMAT(kQuant4Group16Wide)
    CASCADE_FORMAT(kQuant8Group16Wide)
#undef CASCADE_FORMAT
  }
}

__device__ inline int8_t ByteOf(uint32_t word, int index) { return static_cast<int8_t>(word >> (8 * index)); }

// Columns [column, column + 8) of a row, column a multiple of 8. Beyond weight.cols they are zero.
template <WeightFormat format>
__device__ void LoadEight(const DeviceWeight& weight, int64_t row, int64_t column, float (&values)[8]) {
  const unsigned char* bytes = static_cast<const unsigned char*>(weight.data) + row * weight.row_bytes;
  if constexpr (format == WeightFormat::kBf16 || format == WeightFormat::kHalf) {
    const uint4 packed = *reinterpret_cast<const uint4*>(bytes + 2 * column);
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = format == WeightFormat::kBf16 ? Unpack<Bf16>(words[i]) : Unpack<Half>(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  } else {
    constexpr bool kWide = format >= WeightFormat::kQuant4Group32Wide;
    constexpr bool kFourBit = format == WeightFormat::kQuant4Group32 || format == WeightFormat::kQuant4Group32Wide ||
                              format == WeightFormat::kQuant4Group16Wide;
    constexpr int kGroup = format >= WeightFormat::kQuant4Group16Wide ? 16 : 32;
    const int64_t group = row * (weight.cols / kGroup) + column / kGroup;
    const float2 scale = kWide ? static_cast<const float2*>(weight.groups)[group]
                               : Unpack<Half>(static_cast<const uint32_t*>(weight.groups)[group]);
    if constexpr (kFourBit) {
      const uint32_t codes = *reinterpret_cast<const uint32_t*>(bytes + column / 2);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = static_cast<float>((codes >> (4 * i)) & 15) * scale.x + scale.y;
    } else {
      const uint2 codes = *reinterpret_cast<const uint2*>(bytes + column);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        values[i] = static_cast<float>(ByteOf(i < 4 ? codes.x : codes.y, i % 4)) * scale.x + scale.y;
      }
    }
  }
}

}  // namespace cascade::kernels::cuda
