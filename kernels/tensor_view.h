#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace cascade::kernels {

// A matrix in a backend's memory: pointer, type, shape. Owns nothing. Rows are dense: row r begins at
// data + r * RowBytes(type, cols).
struct TensorView {
  void* data = nullptr;
  DType type = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  float* f32() const { return static_cast<float*>(data); }
  // The first `count` rows.
  TensorView Rows(int64_t count) const { return {data, type, count, cols}; }
  // Rows [first, first + count).
  TensorView Rows(int64_t first, int64_t count) const {
    return {static_cast<char*>(data) + first * static_cast<int64_t>(RowBytes(type, cols)), type, count, cols};
  }
};

}  // namespace cascade::kernels
