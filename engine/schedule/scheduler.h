// Who gets how many rows of a step. Pure: plain values in, a plan out; no clock, no thread, no device.
//
// Bounds, given that no more turns run than a step has rows (the engine admits at most max_num_seqs of them, in the
// order of their arrival, and max_num_seqs <= max_num_batched_tokens):
//   - a decoding turn has its row, and so its next token, in every step, whatever else is read meanwhile (with two steps in
//     flight, one that waits for its id - it has stop strings - in every second one, unless all running turns wait);
//   - a turn that still reads its prompt progresses in every step, by at least
//     floor((max_rows - decoding turns) / turns that read) rows or up to its next cut;
//   - a turn beyond max_num_seqs starts in the first step after a running one has ended and all before it have started.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cascade {

struct RunnableTurn {
  bool decoding = false;     // has just one id to feed, which the step before samples
  int64_t rows_left = 1;     // ids it has to feed; positive
  int tokens_until_cut = 1;  // CascadePlan::TokensUntilCut(): a slice does not cross the end of a stride; positive
};

// One slice: `rows` ids of turns[turn].
struct ScheduledSlice {
  int turn = 0;
  int rows = 0;
};

// At most one slice per turn; at most `max_rows` rows. Decoding turns first, then the others share equally what is
// left: who needs less than its share leaves the rest to the others, and odd rows go round with `step`. The slices'
// rows do not decrease.
std::vector<ScheduledSlice> ScheduleStep(std::span<const RunnableTurn> turns, int max_rows, int64_t step);

}  // namespace cascade
