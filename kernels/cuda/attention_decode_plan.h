// How decode attention is cut into blocks, and what its two kernels are given.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

inline constexpr int kUnitKeys = 16;  // keys that a warp takes at once; attention_pieces.h
// Units that a row sees at most: a segment is up to two runs of entries, each ending in a unit that may not be full.
inline int MaxUnits(const CacheLayout& layout) {
  int units = 0;
  for (int s = 0; s < layout.num_segments; ++s) units += layout.segment_slots[s] / kUnitKeys + 2;
  return units;
}

inline constexpr int kDecodeMaxWarps = 8;
inline constexpr int kDecodeMaxSplits = 128;

// Units whose keys and values are under way per warp: 128 KiB in a block of 8 warps with head_dim 128, so that few
// blocks keep the memory busy (4.3 TB/s and 0.8 us are 26 KiB per multiprocessor of 132, when all of them read).
inline constexpr int DecodeStages(int row_elements) { return row_elements == 64 ? 4 : 2; }
inline constexpr size_t DecodeStageBytes(int row_elements) {
  return size_t{2} * kUnitKeys * row_elements * sizeof(uint16_t);
}

// A function of shapes alone, never of what sessions hold: graphs are replayed.
struct DecodePlan {
  int splits = 1;     // blocks of a (slice, KV head); 1: one kernel does it all
  int warps = 0;      // of a block
  int near_keys = 0;  // keys whose logits stay in shared memory; a multiple of 16
  size_t shared_bytes = 0;
};
DecodePlan PlanDecode(const CacheLayout& layout, const DeviceTraits& traits, int num_slices);

// Device memory for what the blocks of a (slice, KV head) hand on; slices of one launch.
struct DecodeScratch {
  // [slices][KV heads][G][key_stride] in base 2, by unit and place: of the keys beyond near_keys.
  float* logits;
  int key_stride;
  // [slices][KV heads][splits][..], only with splits > 1.
  float2* sums;  // [.. G]: the largest logit (-infinity: nothing seen), sum of exp2(logit - largest)
  float* outs;   // [.. G][head_dim]: sum of exp2(logit - largest) * value
};

struct DecodeArguments {
  CachePool pool;
  StepTables tables;
  DecodeScratch scratch;
  int layer;
  int first_row;  // of the launch's slices
  int splits;
  int near_keys;
  const void* q;
  const void* k;
  const void* v;
  void* out;
};

// attention_decode.cu: appends, attends; all of it with splits == 1.
void LaunchDecode(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices, DType type);
// attention_combine.cu: what LaunchDecode of several splits left, to outputs and scores.
void LaunchCombine(Stream& stream, const DecodeArguments& arguments, int num_slices, DType type);

// The bytes that a decode block needs beside stages and logits.
size_t DecodeStateBytes();

}  // namespace cascade::kernels::cuda
