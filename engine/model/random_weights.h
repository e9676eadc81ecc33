#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"

namespace cascade {

// The bytes of a weight that has a seed and no data: uniform numbers of variance 1 / cols, a single row all ones. Types
// F32, F16, BF16, Q8_0.
std::vector<uint8_t> MakeRandomWeight(const kernels::HostWeight& weight);

}  // namespace cascade
