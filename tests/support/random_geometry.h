#pragma once

#include <random>

#include "engine/cache/cascade_geometry.h"

namespace cascade::test {

// A small valid geometry with `num_sub_caches` sub-caches, often unequal, some smaller than the stride.
CascadeGeometry RandomGeometry(std::mt19937& random, int num_sub_caches);

// One of `values`.
int Pick(std::mt19937& random, std::initializer_list<int> values);

}  // namespace cascade::test
