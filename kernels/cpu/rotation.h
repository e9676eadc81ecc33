// RoPE as tables: what turns a head's vector by an angle per pair of elements.
//
// A row of a table is [2][head_dim]: y[d] = x[d] * row[d] + x[partner(d)] * row[head_dim + d], where the partner is the
// other element of d's pair and the second half holds sines with their signs. So both orders of pairs take the same
// two multiplications and differ in the partner only (rotation-inl.h).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cache_shape.h"

namespace cascade::kernels {

class RotationTable {
 public:
  // Room for `rows` turns, unset. Keeps its memory.
  void Reset(const CacheShape& shape, int64_t rows);
  // The turn by `position` steps. Angles are computed in double: at position 10^7 they are good to 1e-9.
  // Rows may be set from several threads.
  void Set(int64_t row, int64_t position);

  const float* Row(int64_t row) const { return values_.data() + row * 2 * head_dim_; }

 private:
  RopePairs pairs_ = RopePairs::kInterleaved;
  const double* frequency_ = nullptr;  // of the shape, which outlives the table
  int head_dim_ = 0;
  std::vector<float> values_;
};

}  // namespace cascade::kernels
