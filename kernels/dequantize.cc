#include "kernels/dequantize.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/quant_block.h"

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

namespace cascade::kernels {
namespace {

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 31u;
  const uint32_t fraction = half & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal or zero
  return sign != 0 ? -magnitude : magnitude;
}

void DequantizeRow(DType type, const void* row, float* out, int64_t n) {
  CASCADE_CHECK(n >= 0 && n % BlockElements(type) == 0);
  const uint8_t* bytes = static_cast<const uint8_t*>(row);
  switch (type) {
    case DType::kF32:
      if (n > 0) std::memcpy(out, bytes, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) out[i] = HalfToFloat(LoadU16(bytes + 2 * i));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < n; ++i)
        out[i] = std::bit_cast<float>(static_cast<uint32_t>(LoadU16(bytes + 2 * i)) << 16);
      return;
    default:
      break;
  }
  QuantBlock block;
  for (int64_t i = 0; i < n; i += BlockElements(type), bytes += BlockBytes(type)) {
    ReadQuantBlock(type, bytes, block);
    ExpandQuantBlock(type, block, out + i);
  }
}

}  // namespace cascade::kernels
