#include "kernels/cpu/rotation.h"

#include <cmath>

namespace cascade::kernels {

void RotationTable::Reset(const CacheShape& shape, int64_t rows) {
  pairs_ = shape.rope.pairs;
  frequency_ = shape.rope.frequency.data();
  head_dim_ = shape.head_dim;
  const size_t needed = static_cast<size_t>(rows) * 2 * head_dim_;
  if (values_.size() < needed) values_.resize(needed);
}

void RotationTable::Set(int64_t row, int64_t position) {
  float* cosines = values_.data() + row * 2 * head_dim_;
  float* sines = cosines + head_dim_;
  const int half = head_dim_ / 2;
  for (int i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequency_[i];
    const float cosine = static_cast<float>(std::cos(angle));
    const float sine = static_cast<float>(std::sin(angle));
    const int first = pairs_ == RopePairs::kInterleaved ? 2 * i : i;
    const int second = pairs_ == RopePairs::kInterleaved ? 2 * i + 1 : i + half;
    cosines[first] = cosine;
    cosines[second] = cosine;
    sines[first] = -sine;
    sines[second] = sine;
  }
}

}  // namespace cascade::kernels
