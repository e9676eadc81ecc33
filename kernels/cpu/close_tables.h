// What all layers and heads of a closing stride share: which tiles its tokens are in, and the turns of its keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/rotation.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// The part of a stride that is in one key tile: lanes [begin, end).
struct StrideTile {
  int64_t entry = 0;  // of lane 0; a multiple of kTile
  int begin = 0;
  int end = 0;
  int64_t index = 0;  // append index of lane `begin`
};

struct CloseTables {
  std::vector<StrideTile> tiles;    // in the order of append indices
  std::vector<float> angles;        // [tiles][head_dim / 2][2][16]: cosine, sine of each lane's append index
  RotationTable turns;              // of moved keys
  std::vector<int64_t> first_turn;  // [moves]: in `turns`; entries that lose x places turn by row x

  void Make(const CacheLayout& layout, const Close& close, ThreadPool& pool);
};

}  // namespace cascade::kernels
