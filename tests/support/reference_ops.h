// The ops of kernels/backend.h in plain loops, double precision where it matters: what every back end is compared with.
// Matrices are dense, row by row. Where an error bound is asked for (may be null), it is the first-order bound of
// float32 arithmetic in any order of summation, with the op's number of roundings.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/dtype.h"
#include "kernels/quant_block.h"

namespace cascade::reference {

struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<double> values;  // [rows, cols]

  Matrix() = default;
  Matrix(int64_t rows, int64_t cols) : rows(rows), cols(cols), values(rows * cols) {}
  double& At(int64_t r, int64_t c) { return values[r * cols + c]; }
  double At(int64_t r, int64_t c) const { return values[r * cols + c]; }
};

// A weight as its file stores it.
struct StoredWeight {
  kernels::DType type = kernels::DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::string bytes;

  kernels::HostWeight Host() const { return {bytes.data(), type, rows, cols}; }
  std::vector<float> Row(int64_t row) const;
  std::vector<kernels::QuantBlock> Blocks(int64_t row) const;  // of a quantised type
};

Matrix Embed(const StoredWeight& table, std::span<const int32_t> ids);
Matrix RmsNorm(std::span<const float> x, std::span<const float> gain, float eps, Matrix* bound);
// x: [.., weight.cols].
Matrix LinearFloat(std::span<const float> x, const StoredWeight& weight, Matrix* bound);
// Activations rounded to integers up to `most` in blocks of 32, as the CPU does: 127, or 32,639.
Matrix LinearInteger(std::span<const float> x, const StoredWeight& weight, int most, Matrix* bound);
// How far that rounding may move LinearFloat's result.
Matrix IntegerError(std::span<const float> x, const StoredWeight& weight, int most);
// As a back end does whose matrices are multiplied in `compute`: weights may be rounded to it, and so may x if it comes
// from an op in the same pass (`rounded_x`). bound: rounding.h; of results in float32. For kF32: LinearFloat.
Matrix LinearIn(kernels::DType compute, std::span<const double> x, bool rounded_x, const StoredWeight& weight,
                Matrix* bound);
Matrix SiluMul(std::span<const float> gate, std::span<const float> up, Matrix* bound);

// silu(gate) * up of values that are off by up to gate_bound and up_bound.
Matrix GatedProduct(const Matrix& gate, const Matrix& gate_bound, const Matrix& up, const Matrix& up_bound,
                    Matrix* bound);
// Adds what rounding a result to `type` may do.
void AddRounding(kernels::DType type, const Matrix& result, Matrix& bound);

struct Score {
  double logprob = 0;
  double bound = 0;
  int32_t top_id = 0;
  float top_margin = 0;
};
Score ScoreTarget(std::span<const float> logits, int32_t target);

}  // namespace cascade::reference
