#include "tests/support/random_weights.h"

#include <cstdio>

#include "kernels/base/check.h"
#include "tests/support/quantize.h"

namespace cascade::kernels {

std::vector<float> RandomFloats(std::mt19937& random, int64_t count, float scale) {
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

reference::StoredWeight RandomWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols) {
  return {type, rows, cols, Quantize(type, RandomFloats(random, rows * cols))};
}

reference::StoredWeight RandomBlockWeight(std::mt19937& random, DType type, int64_t rows, int64_t cols) {
  return {type, rows, cols, RandomBlocks(type, rows * cols, random)};
}

const std::vector<DType>& AllTypes() {
  static const std::vector<DType> types = [] {
    std::vector<DType> all;
    for (int i = 0; i < kNumDTypes; ++i) all.push_back(static_cast<DType>(i));
    return all;
  }();
  return types;
}

const std::vector<DType>& QuantizedTypes() {
  static const std::vector<DType> types = [] {
    std::vector<DType> quantized;
    for (DType type : AllTypes()) {
      if (IsQuantized(type)) quantized.push_back(type);
    }
    return quantized;
  }();
  return types;
}

WeightId Load(Backend& backend, const reference::StoredWeight& weight) {
  const absl::StatusOr<WeightId> id = backend.LoadWeight(weight.Host());
  if (!id.ok()) std::fprintf(stderr, "%s\n", id.status().ToString().c_str());
  CASCADE_CHECK(id.ok());
  return *id;
}

}  // namespace cascade::kernels
