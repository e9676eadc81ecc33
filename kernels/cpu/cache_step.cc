#include "kernels/cpu/cache_step.h"

#include "kernels/base/check.h"
#include "kernels/cache_checks.h"

namespace cascade::kernels {
void CacheStep::Begin(const CacheLayout& layout, std::byte* pool_memory, int num_slots, int max_rows,
                      std::span<const Slice> step_slices, ThreadPool& pool) {
  slices.clear();
  total_rows = 0;
  int64_t num_turns = 0;
  // Scores of one slot are added slice by slice in time, so a step has at most one scored slice of a slot.
  std::vector<bool> scored(num_slots, false);
  for (const Slice& slice : step_slices) {
    CheckSlice(layout.segment_slots(), layout.shape().stride, slice);
    CASCADE_CHECK(slice.slot >= 0 && slice.slot < num_slots);
    if (!slice.sinks) {
      CASCADE_CHECK(!scored[slice.slot]);
      scored[slice.slot] = true;
    }
    slices.push_back({.memory = pool_memory + slice.slot * layout.slot_bytes(),
                      .first_row = slice.first_row,
                      .num_rows = slice.num_rows,
                      .sinks = slice.sinks,
                      .first_token = static_cast<uint32_t>(slice.first_token),
                      .open_place = slice.open_place,
                      .write_slot = slice.write_slot,
                      .segments = {slice.segments.begin(), slice.segments.end()},
                      .first_turn = num_turns});
    total_rows += slice.num_rows;
    num_turns += int64_t{slice.num_rows} * layout.num_segments();
  }
  CASCADE_CHECK(total_rows <= max_rows);

  turns.Reset(layout.shape(), num_turns);
  constexpr int kRowsPerTask = 8;  // of a few microseconds each
  std::vector<std::pair<const StepSlice*, int>> tasks;
  for (const StepSlice& slice : slices) {
    for (int row = 0; row < slice.num_rows; row += kRowsPerTask) tasks.emplace_back(&slice, row);
  }
  pool.ParallelFor(static_cast<int64_t>(tasks.size()), [&](int64_t task, int worker) {
    const auto [slice, first] = tasks[task];
    for (int row = first; row < std::min(first + kRowsPerTask, slice->num_rows); ++row) {
      for (int s = 0; s < layout.num_segments(); ++s) {
        const Segment& segment = slice->segments[s];
        if (segment.count == 0 && !segment.grows) continue;
        turns.Set(slice->first_turn + int64_t{row} * layout.num_segments() + s, segment.query_position + row);
      }
    }
  });
}

}  // namespace cascade::kernels
