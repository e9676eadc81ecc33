// What becomes of a sum in linear_skinny and linear_tile. Device code only.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/linear_targets.h"

namespace cascade::kernels::cuda {

__device__ inline const LinearTargets::Target& TargetOf(const LinearTargets& targets, int item) {
  int i = 0;
  while (i + 1 < targets.count && item >= targets.target[i + 1].first_item) ++i;
  return targets.target[i];
}

// What is added to the sum of row n of the weight and token m: can be read long before the sum is there.
__device__ inline float Addend(const LinearTargets::Target& target, int64_t m, int64_t n) {
  if (target.accumulate) return static_cast<const float*>(target.out)[m * target.weight.rows + n];
  return target.bias != nullptr ? target.bias[n] : 0.0f;
}

template <class T>
__device__ void Store(const LinearTargets::Target& target, int64_t m, int64_t n, float value) {
  const int64_t at = m * target.weight.rows + n;
  if (target.full) {
    static_cast<float*>(target.out)[at] = value;
  } else {
    static_cast<T*>(target.out)[at] = FromFloat<T>(value);
  }
}

}  // namespace cascade::kernels::cuda
