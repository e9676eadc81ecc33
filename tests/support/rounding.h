// Roundings of the types that values are stored in, and what they may do to a result. All tolerances of tests of the
// ops come from here:
//
// An element of a type with p significant bits is off by at most Unit = 2^-p of its size. Sums of many such errors are
// bounded by their variance, not by the sum of their largest values, which is some ten times too wide to notice a
// missing key: the error of one rounding is even over at most an ulp, 2^(1-p) of the size, so its standard deviation is
// at most Deviation = 2^(1-p) / sqrt(12); independent ones add up in squares. kDeviations of the sum's deviation are
// then never exceeded: the errors are bounded, and the 2^(1-p) is 1.4 times too much on average, so that 6 mean 8.
#pragma once

#include <vector>

#include "kernels/dtype.h"

namespace cascade::reference {

inline constexpr double kDeviations = 6;

// Of kF32, kF16, kBF16.
double Unit(kernels::DType type);
double Deviation(kernels::DType type);  // 0 for float32, whose roundings have bounds of their own in all tests
// To nearest even; infinite beyond the type's range.
double RoundTo(kernels::DType type, double x);
std::vector<float> Rounded(kernels::DType type, std::vector<float> values);

}  // namespace cascade::reference
