#pragma once

#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Fills scratch.queries for the part's rows (attention_part.h). q: [rows of the step, heads * head_dim], BF16 or F16.
// Dead slices' rows are left alone.
void RotateQueries(Stream& stream, const CacheLayout& layout, const StepTables& tables, const AttentionPart& part,
                   TensorView q, const AttentionScratch& scratch);

}  // namespace cascade::kernels::cuda
