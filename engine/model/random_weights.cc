#include "engine/model/random_weights.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/base/check.h"

namespace cascade {
namespace {

using kernels::DType;

// Of normal numbers; smaller ones become 0.
uint16_t ToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits & 0x7FFFFFFF) + 0xFFF + (bits >> 13 & 1);
  const uint32_t exponent = rounded >> 23;
  if (exponent < 113) return 0;
  CASCADE_CHECK(exponent < 143);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (rounded - (112u << 23)) >> 13);
}

uint16_t ToBfloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// SplitMix64, four numbers of 16 bits from each step.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  // In (-1, 1).
  float Next() {
    if (left_ == 0) {
      uint64_t z = state_ += 0x9E3779B97F4A7C15u;
      z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
      z = (z ^ z >> 27) * 0x94D049BB133111EBu;
      bits_ = z ^ z >> 31;
      left_ = 4;
    }
    const uint16_t number = static_cast<uint16_t>(bits_);
    bits_ >>= 16;
    --left_;
    return (static_cast<float>(number) - 32767.5f) / 32768.0f;
  }

 private:
  uint64_t state_, bits_ = 0;
  int left_ = 0;
};

template <class T, class Convert>
void Fill(std::vector<uint8_t>& bytes, Numbers& numbers, float width, Convert convert) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    const T value = convert(width * numbers.Next());
    std::memcpy(&bytes[at], &value, sizeof(T));
  }
}

// Blocks of a half-precision scale and 32 signed bytes.
void FillQ8(std::vector<uint8_t>& bytes, Numbers& numbers, float width) {
  const uint16_t scale = ToHalf(width / 127);
  for (size_t at = 0; at < bytes.size(); at += 34) {
    std::memcpy(&bytes[at], &scale, sizeof scale);
    for (size_t i = 2; i < 34; ++i) bytes[at + i] = static_cast<uint8_t>(static_cast<int8_t>(127 * numbers.Next()));
  }
}

}  // namespace

std::vector<uint8_t> MakeRandomWeight(const kernels::HostWeight& weight) {
  std::vector<uint8_t> bytes(kernels::RowBytes(weight.type, weight.cols) * static_cast<size_t>(weight.rows));
  if (weight.rows == 1) {
    CASCADE_CHECK(weight.type == DType::kF32);
    for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
      const float one = 1;
      std::memcpy(&bytes[at], &one, sizeof one);
    }
    return bytes;
  }
  Numbers numbers(weight.seed);
  const float width = std::sqrt(3.0f / static_cast<float>(weight.cols));
  switch (weight.type) {
    case DType::kF32:
      Fill<float>(bytes, numbers, width, [](float value) { return value; });
      break;
    case DType::kF16:
      Fill<uint16_t>(bytes, numbers, width, ToHalf);
      break;
    case DType::kBF16:
      Fill<uint16_t>(bytes, numbers, width, ToBfloat);
      break;
    case DType::kQ8_0:
      FillQ8(bytes, numbers, width);
      break;
    default:
      CASCADE_CHECK(false);
  }
  return bytes;
}

}  // namespace cascade
