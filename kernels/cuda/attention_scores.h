#pragma once

#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// Adds the exact attention that the part's rows give to keys to the keys' scores, or with max reduction to their sums
// per query head (cache.md, section 3; 8: the second pass). From what RotateQueries and attention left in the scratch.
// A slice's row of place 0 also opens its stride: scores decay, sums begin at zero.
//
// Row after row, in float32, one fused multiply-add each: the bits do not depend on how a stride is cut. Keys' scores
// or sums are 0 when they are appended. Sinks are not scored; slices of sinks and dead ones score nothing.
void AddScores(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part,
               const AttentionScratch& scratch, int layer);

}  // namespace cascade::kernels::cuda
