// What all layers of a step share: its slices, and the rotations of their rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/rotation.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// A copy of a Slice, whose spans end with BeginStep.
struct StepSlice {
  std::byte* memory = nullptr;  // of its slot
  int first_row = 0;
  int num_rows = 0;
  bool sinks = false;
  uint32_t first_token = 0;
  int open_place = 0;
  uint32_t write_slot = 0;
  std::vector<Segment> segments;  // [N + 1]
  int64_t first_turn = 0;         // in CacheStep::turns, of row 0 and segment 0; [num_rows][N + 1]
};

struct CacheStep {
  std::vector<StepSlice> slices;
  RotationTable turns;
  int total_rows = 0;

  // The turn of a slice's row in a segment: of its queries, and in the segment that it writes to of its key.
  const float* Turn(const StepSlice& slice, int row, int segment) const {
    return turns.Row(slice.first_turn + int64_t{row} * static_cast<int64_t>(slice.segments.size()) + segment);
  }

  // Replaces the step. CHECKs the slices; pool_memory is that of slot 0.
  void Begin(const CacheLayout& layout, std::byte* pool_memory, int num_slots, int max_rows,
             std::span<const Slice> slices, ThreadPool& pool);
};

}  // namespace cascade::kernels
