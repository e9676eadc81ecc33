// Elementwise comparison that names the worst coordinate.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace cascade {

// Empty when every |actual - expected| <= bound, else one line about the worst of them. expected, bound: [rows * cols].
// Infinities and NaNs compare first: they must be in the same places, infinities with the same sign.
std::string Differences(std::span<const float> actual, std::span<const double> expected, std::span<const double> bound,
                        int64_t cols);

// Empty when both have the same bits, else the first difference.
std::string BitDifferences(std::span<const float> actual, std::span<const float> expected, int64_t cols);

}  // namespace cascade
