#include "kernels/cpu/close_tables.h"

#include <algorithm>
#include <cmath>

namespace cascade::kernels {

void CloseTables::Make(const CacheLayout& layout, const Close& close, ThreadPool& pool) {
  const CacheShape& shape = layout.shape();
  const int half = shape.head_dim / 2;

  tiles.clear();
  const int64_t ring_end = layout.first_entry(1) + layout.segment_slots(1);
  for (int64_t place = 0; place < shape.stride;) {
    const int64_t entry = layout.RingEntry(0, close.stride_index + place);
    const int begin = static_cast<int>(entry % kTile);
    const int count = static_cast<int>(std::min<int64_t>({kTile - begin, shape.stride - place, ring_end - entry}));
    tiles.push_back(
        {.entry = entry - begin, .begin = begin, .end = begin + count, .index = close.stride_index + place});
    place += count;
  }
  const int64_t num_tiles = static_cast<int64_t>(tiles.size());
  angles.assign(num_tiles * shape.head_dim * kTile, 0.0f);

  first_turn.clear();
  std::vector<int64_t> positions;  // of the rows of `turns`
  for (const CloseMove& move : close.moves) {
    first_turn.push_back(static_cast<int64_t>(positions.size()));
    // With `select`, the o-th to stay of a group came i-th, 0 <= i - o <= g, and all groups before lost g places each.
    for (int64_t lost = 0; lost <= (move.select ? move.count / 2 : 0); ++lost) {
      positions.push_back(move.to_index - move.from_index - lost);
    }
  }
  const int64_t num_turns = static_cast<int64_t>(positions.size());
  turns.Reset(shape, num_turns);

  constexpr int64_t kTurnsPerTask = 16;
  pool.ParallelFor(num_tiles + (num_turns + kTurnsPerTask - 1) / kTurnsPerTask, [&](int64_t task, int worker) {
    if (task >= num_tiles) {
      const int64_t first = (task - num_tiles) * kTurnsPerTask;
      for (int64_t row = first; row < std::min(first + kTurnsPerTask, num_turns); ++row) turns.Set(row, positions[row]);
      return;
    }
    const StrideTile& tile = tiles[task];
    for (int i = 0; i < half; ++i) {
      float* cosines = angles.data() + (task * half + i) * 2 * kTile;
      for (int lane = tile.begin; lane < tile.end; ++lane) {
        const double angle = static_cast<double>(tile.index + lane - tile.begin) * shape.rope.frequency[i];
        cosines[lane] = static_cast<float>(std::cos(angle));
        cosines[kTile + lane] = static_cast<float>(std::sin(angle));
      }
    }
  });
}

}  // namespace cascade::kernels
