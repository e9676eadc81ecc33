#pragma once

#include <string>

#include "kernels/dtype.h"

namespace cascade {

// Appends one block of a K type. x: [256].
void QuantizeK(kernels::DType type, const float* x, std::string& bytes);

}  // namespace cascade
