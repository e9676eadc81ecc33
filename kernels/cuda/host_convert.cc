#include "kernels/cuda/host_convert.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/dequantize.h"

namespace cascade::kernels::cuda {
namespace {

uint16_t ToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

uint16_t ToHalf(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return sign | 0x7E00;
  const double magnitude = std::fabs(static_cast<double>(x));
  if (magnitude == 0) return sign;
  if (magnitude >= 65520.0) return sign | 0x7C00;
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude < 2^exponent
  // Ten bits after the first; subnormals share the smallest normal's step.
  const int step = std::max(exponent - 11, -24);
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -step)));
  if (step == -24) return static_cast<uint16_t>(sign | units);  // a carry into the exponent is right as it is
  return static_cast<uint16_t>(sign | ((static_cast<uint32_t>(step + 25) << 10) + (units - 1024)));
}

}  // namespace

void WidenToFloat(DType type, std::span<const uint16_t> narrow, std::span<float> wide) {
  CASCADE_CHECK(narrow.size() == wide.size() && (type == DType::kBF16 || type == DType::kF16));
  DequantizeRow(type, narrow.data(), wide.data(), static_cast<int64_t>(wide.size()));
}

void NarrowFromFloat(DType type, std::span<const float> wide, std::span<uint16_t> narrow) {
  CASCADE_CHECK(narrow.size() == wide.size() && (type == DType::kBF16 || type == DType::kF16));
  for (size_t i = 0; i < wide.size(); ++i) narrow[i] = type == DType::kBF16 ? ToBf16(wide[i]) : ToHalf(wide[i]);
}

}  // namespace cascade::kernels::cuda
