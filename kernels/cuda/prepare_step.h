#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// All device pointers. Slices cover the rows; those with slot < 0 are padding.
struct PrepareInput {
  const StepSlice* slices;      // [num_slices]
  const StepSegment* segments;  // [num_slices][num_segments]
  const int32_t* ids_in;        // [num_rows]; kSampledId: last_id of the slice's slot
  int num_slices;
  int num_rows;
  const int32_t* sample_slices;  // [num_samples]: the slice of a sample; -1: padding
  int num_samples;
  const int32_t* last_id;  // [slots]
  const int32_t* ended;    // [slots]; not 0: last_id ended the reply
  // Written; step_tables.h says what.
  int32_t* live;
  int32_t* ids;  // 0 for padding
  int32_t* row_slices;
  float* weights;
  float2* turns;
  int32_t* sample_live;  // [num_samples]: live of the sample's slice
};

// The first kernel of a step: fills its tables. Turns are computed in double, so they are exact to float32 at any
// position.
void PrepareStep(Stream& stream, const CachePool& pool, const PrepareInput& in);

}  // namespace cascade::kernels::cuda
