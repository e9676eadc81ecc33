#include "tests/support/compare.h"

#include <cmath>
#include <cstdio>
#include <cstring>

namespace cascade {
namespace {

std::string Line(const char* what, size_t index, int64_t cols, double actual, double expected, double bound) {
  char line[256];
  std::snprintf(line, sizeof line, "%s at [%lld, %lld]: %.9g, expected %.9g (difference %.3g, bound %.3g)", what,
                static_cast<long long>(index / cols), static_cast<long long>(index % cols), actual, expected,
                std::abs(actual - expected), bound);
  return line;
}

bool SameKind(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return !(std::isinf(a) || std::isinf(b)) || a == b;
}

}  // namespace

std::string Differences(std::span<const float> actual, std::span<const double> expected, std::span<const double> bound,
                        int64_t cols) {
  if (actual.size() != expected.size() || actual.size() != bound.size()) return "sizes differ";
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!SameKind(actual[i], expected[i])) return Line("kind", i, cols, actual[i], expected[i], bound[i]);
  }
  size_t worst = 0;
  double worst_excess = 0;
  size_t failures = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!std::isfinite(expected[i])) continue;
    const double excess = std::abs(actual[i] - expected[i]) - bound[i];
    if (!(excess > 0)) continue;
    ++failures;
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (failures == 0) return "";
  return std::to_string(failures) + " of " + std::to_string(actual.size()) + " differ, " +
         Line("worst", worst, cols, actual[worst], expected[worst], bound[worst]);
}

std::string BitDifferences(std::span<const float> actual, std::span<const float> expected, int64_t cols) {
  if (actual.size() != expected.size()) return "sizes differ";
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(float)) != 0) {
      return Line("first", i, cols, actual[i], expected[i], 0);
    }
  }
  return "";
}

}  // namespace cascade
