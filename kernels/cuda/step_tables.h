// A step's integers and tables on the device, read by all its kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/cache_layout.h"

namespace cascade::kernels::cuda {

// kernels/backend.h, Segment and Slice.
struct StepSegment {
  int64_t query_position;
  uint32_t first_slot;
  uint32_t count;
  int32_t grows;
  int32_t unused;
};

struct StepSlice {
  int32_t slot;
  int32_t first_row;
  int32_t num_rows;
  int32_t sinks;
  uint32_t first_token;
  int32_t open_place;
  uint32_t write_slot;
  int32_t unused;
};

// Device pointers; kernels take it by value. Slices of one row come first.
struct StepTables {
  const StepSlice* slices;      // [slices]
  const StepSegment* segments;  // [slices][num_segments]
  // Written by the step's first kernel (prepare_step.cu):
  const int32_t* live;        // [slices]; 0: the slice changes nothing, its rows may hold anything
  const int32_t* ids;         // [rows]
  const int32_t* row_slices;  // [rows]: the slice of a row
  const float* weights;       // [rows]: beta^(S-1-place), also for mean reduction; 0 for sinks
  // [rows][num_segments][head_dim / 2]: cosine and sine of the angle by which the row's query turns in a segment, and
  // its key in the segment that it is written to. Unset for segments of which the row sees nothing.
  const float2* turns;
};

// The pool and what a kernel needs to find its way in it. Taken by value.
struct CachePool {
  CacheLayout layout;
  unsigned char* memory;    // [num_slots][slot_bytes]
  const double* frequency;  // [head_dim / 2] of RoPE, on the device
  int num_slots;

#ifdef __CUDACC__
  __host__ __device__
#endif
      unsigned char*
      Block(int slot, int layer, int kv_head) const {
    return memory + static_cast<size_t>(slot) * layout.slot_bytes +
           static_cast<size_t>(layer * layout.num_kv_heads + kv_head) * layout.block_bytes;
  }
};

}  // namespace cascade::kernels::cuda
