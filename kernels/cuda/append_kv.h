#pragma once

#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Stores keys, rotated at their append index, and values of one layer's rows [first_row, +num_rows), which are those of
// slices [first_slice, +num_slices); new entries have score, distinctness and sums 0. The scores of residents are left
// alone. k, v: [step rows, kv_heads * head_dim], BF16 or F16.
void AppendKv(Stream& stream, const CachePool& pool, const StepTables& tables, int first_slice, int num_slices,
              int first_row, int num_rows, int layer, TensorView k, TensorView v);

}  // namespace cascade::kernels::cuda
