#include "tests/support/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"

namespace cascade::reference {
namespace {

using kernels::DType;

struct Format {
  int bits;  // significant ones
  int least_exponent;
  double largest;
};

Format FormatOf(DType type) {
  switch (type) {
    case DType::kF32:
      return {24, -126, std::numeric_limits<float>::max()};
    case DType::kF16:
      return {11, -14, 65504};
    case DType::kBF16:
      return {8, -126, 0x1.FEp127};
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace

double Unit(DType type) { return std::ldexp(1.0, -FormatOf(type).bits); }

double Deviation(DType type) { return type == DType::kF32 ? 0 : 2 * Unit(type) / std::sqrt(12.0); }

double RoundTo(DType type, double x) {
  if (x == 0 || !std::isfinite(x)) return x;
  const Format format = FormatOf(type);
  const double step = std::ldexp(1.0, std::max(std::ilogb(x), format.least_exponent) - (format.bits - 1));
  const double rounded = std::nearbyint(x / step) * step;
  return std::abs(rounded) > format.largest ? std::copysign(INFINITY, x) : rounded;
}

std::vector<float> Rounded(DType type, std::vector<float> values) {
  for (float& value : values) value = static_cast<float>(RoundTo(type, value));
  return values;
}

}  // namespace cascade::reference
