#pragma once

#include <span>
#include <vector>

#include "kernels/cache_shape.h"

namespace cascade::kernels {

// Which half of a group of candidates stays (cache.md, section 3): their indices, ascending. A tie goes to the later.
// Always exactly half, also when measures are NaN.
void SelectHalf(std::span<const float> scores, std::span<const float> distinctness, Selection selection,
                std::vector<int>& kept);

}  // namespace cascade::kernels
