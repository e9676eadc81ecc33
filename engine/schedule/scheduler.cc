#include "engine/schedule/scheduler.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace cascade {

std::vector<ScheduledSlice> ScheduleStep(std::span<const RunnableTurn> turns, int max_rows, int64_t step) {
  CASCADE_CHECK(static_cast<int64_t>(turns.size()) <= max_rows);
  std::vector<ScheduledSlice> plan;
  std::vector<ScheduledSlice> readers;  // rows: what the turn could use
  for (size_t i = 0; i < turns.size(); ++i) {
    const RunnableTurn& turn = turns[i];
    CASCADE_CHECK(turn.rows_left > 0 && turn.tokens_until_cut > 0);
    if (turn.decoding) {
      plan.push_back({static_cast<int>(i), 1});
    } else {
      readers.push_back(
          {static_cast<int>(i), static_cast<int>(std::min<int64_t>(turn.rows_left, turn.tokens_until_cut))});
    }
  }
  if (readers.empty()) return plan;

  // Smallest need first: what it leaves of its share raises the share of all that follow. The order among equals, which
  // decides about the odd rows, rotates.
  std::rotate(readers.begin(), readers.begin() + step % static_cast<int64_t>(readers.size()), readers.end());
  std::stable_sort(readers.begin(), readers.end(),
                   [](const ScheduledSlice& a, const ScheduledSlice& b) { return a.rows < b.rows; });
  int rows_left = max_rows - static_cast<int>(plan.size());
  int turns_left = static_cast<int>(readers.size());
  for (ScheduledSlice& reader : readers) {
    reader.rows = std::min(reader.rows, rows_left / turns_left);
    rows_left -= reader.rows;
    --turns_left;
    plan.push_back(reader);
  }
  return plan;
}

}  // namespace cascade
