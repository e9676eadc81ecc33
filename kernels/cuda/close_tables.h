// What all layers and heads of closing strides share, on the device: the closes' integers, and the turns of their keys.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// kernels/backend.h, CloseMove, with ring slots in place of append indices.
struct StrideMove {
  int32_t from_ring;
  int32_t to_ring;
  int32_t from_slot;
  int32_t to_slot;
  int32_t count;
  int32_t select;
  int32_t first_turn;  // in CloseTables::turns; entries that lose x places turn by row x
};

struct StrideClose {
  int32_t slot;
  int32_t slice;       // nothing happens if it is dead; -1: of no slice
  int32_t open_slot;   // of the stride's first token in ring 0
  int32_t first_turn;  // of the stride's tokens in CloseTables::turns: their append indices
  int32_t first_move;
  int32_t num_moves;
};

// Device pointers; kernels take it by value.
struct CloseTables {
  const StrideClose* closes;  // [closes]
  const StrideMove* moves;    // of all closes
  const float2* turns;        // [rows][head_dim / 2]: cosine and sine
};

// Rows of CloseTables::turns that a close needs.
int64_t CloseTurnRows(const CacheLayout& layout, const Close& close);

// Uploads the closes and fills `turns`, which has room for their rows.
CloseTables MakeCloseTables(Stream& stream, Staging& staging, const CachePool& pool, std::span<const Close> closes,
                            std::span<const int32_t> slice_of_close, float2* turns);

}  // namespace cascade::kernels::cuda
