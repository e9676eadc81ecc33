// How a step's attention is cut into tasks. Equal for all layers, so it is made once per step.
//
// A unit is some consecutive rows of a slice whose logits over all keys they see are held in scratch at once. A round
// is a set of units, at most one of a slice; rounds run one after the other, so the scores of a slice are added row by
// row in time. In a round three phases follow each other, each one parallel region:
//   1. logits    per (unit, KV head, range of key tiles)
//   2. softmax   per (unit, KV head, rows): maximum, exponentials and their sum, in the order of the tiles
//   3. values    per (unit, KV head, rows or head_dim range), and scores per (unit, KV head, range of key tiles)
// Tiles that no row of a unit sees are left out; in the others a key that a row does not see has weight 0. A row sees
// its tiles in the order of segments and slots, so its sums do not depend on the unit or task that it fell into.
//
// Scratch: a unit's logits take at most kUnitBytes, a round's kRoundBytes, both at least one row's (4 bytes per key
// and query head). At C = 65,536 and 9 heads a row takes 2.4 MB.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/cache_step.h"

namespace cascade::kernels {

struct VisibleTile {
  int32_t segment;
  int32_t tile;  // of the segment
  bool masked;   // some row of the unit does not see some entry of it
};

struct AttendUnit {
  int slice = 0;
  int first = 0;  // row of the slice
  int rows = 0;
  std::vector<VisibleTile> tiles;
  int first_scored = 0;        // tiles before are sinks
  int64_t logits_stride = 0;   // floats from row to row
  int64_t logits_offset = 0;   // in AttendScratch::logits; [kv_heads][rows * G][logits_stride]
  int64_t inverse_offset = 0;  // in AttendScratch::inverse_sums; [kv_heads][rows * G]
};

// [begin, end) are tiles, or rows of [rows * G]; [dim_begin, dim_end) is used by values only.
struct AttendTask {
  int unit = 0;  // of the round
  int kv_head = 0;
  int begin = 0;
  int end = 0;
  int dim_begin = 0;
  int dim_end = 0;
};

struct AttendRound {
  std::vector<AttendUnit> units;
  std::vector<AttendTask> logits;
  std::vector<AttendTask> softmax;
  std::vector<AttendTask> values;
  std::vector<AttendTask> scores;
};

struct AttendPlan {
  std::vector<AttendRound> rounds;
  std::vector<std::vector<float>> weights;  // [slices][rows]: beta^(S-1-place), divided by G for the mean
  int64_t logits_floats = 0;
  int64_t inverse_floats = 0;
  int64_t worker_floats = 0;

  void Make(const CacheLayout& layout, const CacheStep& step, int num_threads);
};

// Entries of a value or key chunk that is converted to float32 at once, in tiles.
inline constexpr int kChunkTiles = 4;

}  // namespace cascade::kernels
