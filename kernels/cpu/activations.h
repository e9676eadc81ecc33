// Activations as integers, for the quantised weights: per row and block of 32 columns one scale, the integers of 8
// bits, or of 16 bits in two 8-bit halves, which the same dot products take.
#pragma once

#include <cstdint>

#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// What the kernels need of one block besides its 32 integers a.
struct ActivationBlock {
  float scale;            // amax / 127, or / 32,639; NaN when the block holds an infinity or a NaN
  float scaled_sum;       // scale * sum(a)
  int32_t minus_8_sum;    // -8 * sum(a): where the integer sum starts when weights are stored + 8
  int32_t minus_128_sum;  // likewise, + 128
};

// The same for the halves of a block, for weights whose scales are of 16 columns.
struct ActivationHalves {
  float scaled_sums[2];
  int32_t minus_32_sums[2];
};

struct QuantizedRows {
  int64_t cols = 0;                    // a multiple of 32
  int8_t* quants = nullptr;            // [rows, cols]: a = x / scale, to the nearest, ties to even
  int8_t* lows = nullptr;              // null: 8 bits. Else [rows, cols] and a = 256 * quants + lows
  ActivationBlock* blocks = nullptr;   // [rows, cols / 32]
  ActivationHalves* halves = nullptr;  // [rows, cols / 32], or null where no weight needs them
};

// x: [rows, out.cols].
void QuantizeRows(const float* x, int64_t rows, const QuantizedRows& out, ThreadPool& pool);

}  // namespace cascade::kernels
