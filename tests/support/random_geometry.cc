#include "tests/support/random_geometry.h"

#include <algorithm>

namespace cascade::test {

int Pick(std::mt19937& random, std::initializer_list<int> values) {
  return *(values.begin() + random() % values.size());
}

CascadeGeometry RandomGeometry(std::mt19937& random, int num_sub_caches) {
  CascadeGeometry geometry;
  const bool many = num_sub_caches > 4;  // 2^(N-1) divides the stride: keep the rest small
  geometry.num_sinks = Pick(random, {0, 1, 2, 4, 7});
  geometry.selection_group = many ? 1 : Pick(random, {1, 2, 4});
  geometry.stride = (geometry.selection_group << (num_sub_caches - 1)) * (many ? 1 : Pick(random, {1, 2, 3}));
  for (int i = 0; i < num_sub_caches; ++i) {
    geometry.sub_cache_tokens.push_back(std::max(1, geometry.stride >> i) * Pick(random, {1, 2, 3}));
  }
  while (geometry.cache_tokens() % geometry.stride != 0) {
    geometry.sub_cache_tokens.back() += std::max(1, geometry.stride >> (num_sub_caches - 1));
  }
  geometry.selection = static_cast<kernels::Selection>(random() % 3);
  return geometry;
}

}  // namespace cascade::test
