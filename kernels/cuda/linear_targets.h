// The matrices and outputs of one launch of linear_skinny or linear_tile, which take several as one list of items.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/base/check.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/linear_call.h"
#include "kernels/dtype.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

inline constexpr int kMaxLinearTargets = 4;

// An item is some consecutive rows of one target's weight. Passed to kernels by value.
struct LinearTargets {
  struct Target {
    DeviceWeight weight;
    void* out;
    const float* bias;  // may be null
    bool accumulate;
    bool full;  // out is F32
    int first_item;
  };
  Target target[kMaxLinearTargets];
  int count = 0;
  int items = 0;
};

// CHECKs shapes and types: at most kMaxLinearTargets weights, of one format, with x's columns: a multiple of 8, of 32
// when quantised.
inline LinearTargets MakeTargets(TensorView x, DType compute, std::span<const LinearCall> calls, int item_rows) {
  CASCADE_CHECK(!calls.empty() && calls.size() <= kMaxLinearTargets);
  LinearTargets targets;
  for (const LinearCall& call : calls) {
    const DeviceWeight& weight = *call.weight;
    CASCADE_CHECK(weight.format == calls[0].weight->format && weight.cols == x.cols);
    CASCADE_CHECK(x.cols % (IsQuantised(weight.format) ? 32 : 8) == 0 && weight.row_bytes % 16 == 0);
    CASCADE_CHECK(call.out.rows == x.rows && call.out.cols == weight.rows);
    CASCADE_CHECK(call.out.type == DType::kF32 || (call.out.type == compute && !call.accumulate));
    CASCADE_CHECK(call.bias == nullptr || !call.accumulate);
    targets.target[targets.count++] = {.weight = weight,
                                       .out = call.out.data,
                                       .bias = call.bias,
                                       .accumulate = call.accumulate,
                                       .full = call.out.type == DType::kF32,
                                       .first_item = targets.items};
    targets.items += static_cast<int>((weight.rows + item_rows - 1) / item_rows);
  }
  return targets;
}

}  // namespace cascade::kernels::cuda
