#pragma once

#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/cache_step.h"
#include "kernels/base/thread_pool.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels {

// Stores keys, rotated at their append index, and values of a layer's rows; new entries have score, distinctness and
// sums 0. The row that opens a stride first decays the scores of all residents by beta^S (mean), or zeroes their sums
// (max). k, v: [step rows, kv_heads * head_dim] float32.
void AppendKv(const CacheLayout& layout, const CacheStep& step, int layer, TensorView k, TensorView v,
              ThreadPool& pool);

}  // namespace cascade::kernels
