// The two inner kernels of Linear: a range of a weight's strips times a range of rows, on one thread. Row invariance:
// an output is summed in ascending order of K in one accumulator, whatever the range.
#pragma once

#include <cstdint>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/packed_weight.h"

// Before a loop over an array of vectors: unrolled whole, so that the array lives in registers (GCC leaves loops of 8
// rows alone, and keeps their sums in memory).
#if defined(__clang__)
#define CASCADE_UNROLL _Pragma("unroll")
#else
#define CASCADE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace cascade::kernels {

struct IndexRange {
  int64_t begin = 0;
  int64_t end = 0;
};

struct LinearOutput {
  float* data = nullptr;  // [rows of x, cols]
  int64_t cols = 0;       // rows of the weight
  bool accumulate = false;
  const float* bias = nullptr;  // [cols], added to every row; may be null; not with accumulate
};

// Quantised weights and 8-bit or 16-bit activations: exact integer sums per unit of 32 columns, or per half of one
// where 16 columns share a scale, then fma(sum, weight scale * activation scale, y) for each, then
// fma(minimum, scaled sum of a, y) for each where there are minimums. MultiplyInteger hands the K types on.
void MultiplyInteger(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                     const LinearOutput& out);
void MultiplyIntegerK(const PackedWeight& weight, IndexRange strips, const QuantizedRows& x, IndexRange rows,
                      const LinearOutput& out);

// Any weight and float32 activations x [.., weight.cols()]. Quantised strips are first dequantised, exactly, to panel
// [weight.cols()][16].
void MultiplyFloat(const PackedWeight& weight, IndexRange strips, const float* x, IndexRange rows,
                   const LinearOutput& out, float* panel);

}  // namespace cascade::kernels
