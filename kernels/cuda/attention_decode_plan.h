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

inline constexpr int kDecodeMaxWarps = 16;
inline constexpr int kDecodeMaxSplits = 128;
inline constexpr int kDecodeMaxCluster = 16;

// Of a block, by row_elements and query heads in tiles of 8. A unit takes a warp some 3,000 cycles, most of which it
// waits for itself: so many warps with one unit each under way, 8 KiB of keys and values, read faster than few with
// more (8 warps of two units: 61 % of an H200's bandwidth). Where a row or a group fills the registers, half the warps.
struct DecodeTuning {
  int warps;
  int stages;  // units under way per warp
};
inline constexpr DecodeTuning TuneDecode(int row_elements, int head_tiles) {
  if (head_tiles > 1) return {8, row_elements == 64 ? 4 : 2};
  if (row_elements > 128) return {8, 1};
  return {16, row_elements == 64 ? 2 : 1};
}
inline constexpr int HeadTiles(int group) { return (group + 7) / 8; }
inline constexpr size_t DecodeStageBytes(int row_elements) {
  return size_t{2} * kUnitKeys * row_elements * sizeof(uint16_t);
}

// A function of shapes alone, never of what sessions hold: graphs are replayed.
struct DecodePlan {
  int splits = 1;         // blocks of a (slice, KV head)
  bool clusters = false;  // the splits are a cluster, and do all of it, as a single block does
  int warps = 0;          // of a block
  int block_keys = 0;     // of a block, at most
  int near_keys = 0;      // of a block's keys: whose logits stay in shared memory; a multiple of 16
  size_t shared_bytes = 0;

  // Splits that are no cluster: the last one makes the outputs, a later kernel the scores.
  bool defers() const { return splits > 1 && !clusters; }
};
DecodePlan PlanDecode(const CacheLayout& layout, const DeviceTraits& traits, int num_slices);

// Device memory for what the blocks of a (slice, KV head) hand on; slices of one launch.
struct DecodeScratch {
  // [pending layers][slices][KV heads][G][key_stride] in base 2, by unit and place: of the keys beyond near_keys.
  float* logits;
  int key_stride;
  // Only with splits > 1 that are no cluster:
  float2* sums;        // [slices][KV heads][splits][G]: the largest logit (-infinity: nothing seen), sum of
                       // exp2(logit - largest)
  float* outs;         // [slices][KV heads][splits][G][head_dim]: sum of exp2(logit - largest) * value
  unsigned* arrivals;  // [slices][KV heads]: blocks that have left theirs; 0 between launches
  // [pending layers][slices][KV heads][G]: exp2(logit - first) * second is the probability
  float2* softmax;
};

struct DecodeArguments {
  CachePool pool;
  StepTables tables;
  DecodeScratch scratch;
  int layer;
  int pending;    // layers before this one whose scores are still to be added; splits that are no cluster
  int first_row;  // of the launch's slices
  int splits;
  bool clusters;
  int near_keys;
  const void* q;
  const void* k;
  const void* v;
  void* out;
};

// attention_decode.cu: appends, attends, and adds the scores unless there are splits that are no cluster.
void LaunchDecode(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices, DType type);
// attention_decode_scores.cu: adds the scores of `layers` consecutive layers, of which arguments.layer is the first,
// from what LaunchDecode of several splits left.
void LaunchDecodeScores(Stream& stream, const DecodeArguments& arguments, int num_slices, int layers);

// The bytes that a decode block needs beside stages and logits.
size_t DecodeStateBytes(const CacheLayout& layout);

}  // namespace cascade::kernels::cuda
