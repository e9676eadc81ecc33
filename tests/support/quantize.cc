#include "tests/support/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

#include "kernels/base/check.h"
#include "kernels/quant_block.h"
#include "tests/support/quantize_k.h"

namespace cascade {
namespace {

using kernels::DType;

constexpr int kBlock = 32;

void AppendU16(std::string& bytes, uint16_t value) {
  bytes.push_back(static_cast<char>(value & 255));
  bytes.push_back(static_cast<char>(value >> 8));
}

uint16_t FloatToBrain(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 64);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int Nibble(float value) { return std::clamp(static_cast<int>(value), 0, 15); }

void AppendNibbles(std::string& bytes, const int (&nibbles)[kBlock]) {
  for (int i = 0; i < kBlock / 2; ++i) bytes.push_back(static_cast<char>(nibbles[i] | (nibbles[i + kBlock / 2] << 4)));
}

void Q4_0(const float* x, std::string& bytes) {
  const float extreme = *std::max_element(x, x + kBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float scale = extreme / -8.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  int nibbles[kBlock];
  for (int i = 0; i < kBlock; ++i) nibbles[i] = Nibble(x[i] * inverse + 8.5f);
  AppendU16(bytes, FloatToHalf(scale));
  AppendNibbles(bytes, nibbles);
}

void Q4_1(const float* x, std::string& bytes) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float scale = (*high - *low) / 15.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  int nibbles[kBlock];
  for (int i = 0; i < kBlock; ++i) nibbles[i] = Nibble((x[i] - *low) * inverse + 0.5f);
  AppendU16(bytes, FloatToHalf(scale));
  AppendU16(bytes, FloatToHalf(*low));
  AppendNibbles(bytes, nibbles);
}

void AppendFifthBits(std::string& bytes, const int (&quants)[kBlock]) {
  for (int i = 0; i < kBlock; i += 8) {
    int byte = 0;
    for (int bit = 0; bit < 8; ++bit) byte |= (quants[i + bit] >> 4) << bit;
    bytes.push_back(static_cast<char>(byte));
  }
}

void AppendFiveBits(std::string& bytes, int (&quants)[kBlock]) {
  AppendFifthBits(bytes, quants);
  for (int& quant : quants) quant &= 15;
  AppendNibbles(bytes, quants);
}

void Q5_0(const float* x, std::string& bytes) {
  const float extreme = *std::max_element(x, x + kBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float scale = extreme / -16.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  int quants[kBlock];
  for (int i = 0; i < kBlock; ++i) quants[i] = std::clamp(static_cast<int>(x[i] * inverse + 16.5f), 0, 31);
  AppendU16(bytes, FloatToHalf(scale));
  AppendFiveBits(bytes, quants);
}

void Q5_1(const float* x, std::string& bytes) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float scale = (*high - *low) / 31.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  int quants[kBlock];
  for (int i = 0; i < kBlock; ++i) quants[i] = std::clamp(static_cast<int>((x[i] - *low) * inverse + 0.5f), 0, 31);
  AppendU16(bytes, FloatToHalf(scale));
  AppendU16(bytes, FloatToHalf(*low));
  AppendFiveBits(bytes, quants);
}

void IQ4_NL(const float* x, std::string& bytes) {
  float extreme = 0.0f;
  for (int i = 0; i < kBlock; ++i) extreme = std::max(extreme, std::abs(x[i]));
  const float scale = extreme / 113.0f;  // the smaller end of the table
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  int nibbles[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    const auto distance = [&](int8_t value) { return std::abs(x[i] * inverse - value); };
    const int8_t* const nearest = std::min_element(std::begin(kernels::kIq4Values), std::end(kernels::kIq4Values),
                                                   [&](int8_t a, int8_t b) { return distance(a) < distance(b); });
    nibbles[i] = static_cast<int>(nearest - kernels::kIq4Values);
  }
  AppendU16(bytes, FloatToHalf(scale));
  AppendNibbles(bytes, nibbles);
}

void Q8_0(const float* x, std::string& bytes) {
  float extreme = 0.0f;
  for (int i = 0; i < kBlock; ++i) extreme = std::max(extreme, std::abs(x[i]));
  const float scale = extreme / 127.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  AppendU16(bytes, FloatToHalf(scale));
  for (int i = 0; i < kBlock; ++i) bytes.push_back(static_cast<char>(static_cast<int8_t>(std::round(x[i] * inverse))));
}

void AppendBlock(DType type, const float* x, std::string& bytes) {
  switch (type) {
    case DType::kQ4_0:
      return Q4_0(x, bytes);
    case DType::kQ4_1:
      return Q4_1(x, bytes);
    case DType::kQ5_0:
      return Q5_0(x, bytes);
    case DType::kQ5_1:
      return Q5_1(x, bytes);
    case DType::kQ8_0:
      return Q8_0(x, bytes);
    case DType::kIQ4_NL:
      return IQ4_NL(x, bytes);
    default:
      return QuantizeK(type, x, bytes);
  }
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  // Below the smallest normal the spacing is 2^-24; adding 0.5 leaves the rounded count in the low bits of the sum.
  if (magnitude < 0x1p-14f)
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(magnitude + 0.5f) - 0x3f000000u);
  const uint32_t rounded = std::bit_cast<uint32_t>(magnitude) + 0xfff + ((bits >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112u << 10));
}

std::string Quantize(DType type, std::span<const float> values) {
  CASCADE_CHECK(values.size() % static_cast<size_t>(BlockElements(type)) == 0);
  std::string bytes;
  bytes.reserve(kernels::RowBytes(type, static_cast<int64_t>(values.size())));
  switch (type) {
    case DType::kF32:
      return std::string(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    case DType::kF16:
      for (const float value : values) AppendU16(bytes, FloatToHalf(value));
      return bytes;
    case DType::kBF16:
      for (const float value : values) AppendU16(bytes, FloatToBrain(value));
      return bytes;
    default:
      break;
  }
  for (size_t i = 0; i < values.size(); i += BlockElements(type)) AppendBlock(type, values.data() + i, bytes);
  return bytes;
}

std::vector<int> HalfPlaces(DType type) {
  switch (type) {
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return kernels::FormatOf(type).has_minimum ? std::vector<int>{0, 2} : std::vector<int>{0};
  }
}

std::string RandomBlocks(DType type, int64_t values, std::mt19937& random) {
  const kernels::QuantFormat format = kernels::FormatOf(type);
  std::string bytes(kernels::RowBytes(type, values), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() & 255);
  const float most = static_cast<float>(format.largest() * (format.has_scales() ? 64 : 1));
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  const std::vector<int> places = HalfPlaces(type);
  for (size_t block = 0; block < bytes.size(); block += kernels::BlockBytes(type)) {
    for (size_t i = 0; i < places.size(); ++i) {
      const uint16_t half = FloatToHalf(uniform(random) / (i == 0 ? most : format.has_scales() ? 64.0f : 1.0f));
      bytes[block + places[i]] = static_cast<char>(half & 255);
      bytes[block + places[i] + 1] = static_cast<char>(half >> 8);
    }
  }
  return bytes;
}

}  // namespace cascade
