// Activations on their way between host and device, converted by the host. For tests and slow paths.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/dtype.h"

namespace cascade::kernels::cuda {

// type: kBF16 or kF16. Spans of equal size.
void WidenToFloat(DType type, std::span<const uint16_t> narrow, std::span<float> wide);
// To nearest, ties to even; too large becomes infinite.
void NarrowFromFloat(DType type, std::span<const float> wide, std::span<uint16_t> narrow);

}  // namespace cascade::kernels::cuda
