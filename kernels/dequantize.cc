#include "kernels/dequantize.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include "kernels/base/check.h"

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

namespace cascade::kernels {
namespace {

constexpr int kBlock = 32;

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Element i of a 4-bit block is the low nibble of byte i, element i + 16 the high one.
void Q4_0(const uint8_t* block, float* out) {
  const float scale = HalfToFloat(LoadU16(block));
  const uint8_t* nibbles = block + 2;
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = scale * static_cast<float>((nibbles[i] & 15) - 8);
    out[i + kBlock / 2] = scale * static_cast<float>((nibbles[i] >> 4) - 8);
  }
}

void Q4_1(const uint8_t* block, float* out) {
  const float scale = HalfToFloat(LoadU16(block));
  const float minimum = HalfToFloat(LoadU16(block + 2));
  const uint8_t* nibbles = block + 4;
  for (int i = 0; i < kBlock / 2; ++i) {
    out[i] = scale * static_cast<float>(nibbles[i] & 15) + minimum;
    out[i + kBlock / 2] = scale * static_cast<float>(nibbles[i] >> 4) + minimum;
  }
}

void Q8_0(const uint8_t* block, float* out) {
  const float scale = HalfToFloat(LoadU16(block));
  for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * scale;
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
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
      break;
  }
  const auto block = type == DType::kQ4_0 ? Q4_0 : type == DType::kQ4_1 ? Q4_1 : Q8_0;
  for (int64_t i = 0; i < n; i += kBlock, bytes += BlockBytes(type)) block(bytes, out + i);
}

}  // namespace cascade::kernels
