// Steps before anybody waits for one.
#include <algorithm>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"

namespace cascade {

absl::Status Llama::WarmUp(const CascadeGeometry& geometry, int max_seqs, int vocabulary) {
  if (max_steps_in_flight() < 2) return absl::OkStatus();
  ForwardResult result;
  std::vector<std::vector<kernels::Segment>> segments(static_cast<size_t>(max_seqs));
  const auto add = [&](const CascadePlan& plan, int slot, int rows, ForwardBatch& batch) {
    kernels::Slice slice = plan.NextSlice(rows, segments[static_cast<size_t>(slot)]);
    slice.slot = slot;
    slice.first_row = static_cast<int>(batch.ids.size());
    batch.slices.push_back(slice);
    batch.ids.resize(batch.ids.size() + static_cast<size_t>(rows), 0);
    batch.sample_rows.push_back(static_cast<int32_t>(batch.ids.size()) - 1);
    batch.samples.push_back({.slot = slot});
    batch.vocabulary = vocabulary;
  };
  for (int rows = 1, recorded = 0; rows <= max_seqs; ++rows) {
    if (RecordedRows(rows) == recorded) continue;
    recorded = RecordedRows(rows);
    ForwardBatch batch;
    for (int slot = 0; slot < rows; ++slot) add(CascadePlan(geometry), slot, 1, batch);
    if (absl::Status status = Forward(batch, result); !status.ok()) return status;
  }
  std::vector<kernels::CloseMove> moves;
  for (CascadePlan plan(geometry); plan.strides_closed() == 0;) {
    const int rows = static_cast<int>(std::min<int64_t>(plan.TokensUntilCut(), max_rows()));
    ForwardBatch batch;
    add(plan, 0, rows, batch);
    plan.Advance(rows);
    if (plan.StrideIsFull()) batch.closes = {plan.CloseStride(moves)};
    if (absl::Status status = Forward(batch, result); !status.ok()) return status;
  }
  for (int slot = 0; slot < max_seqs; ++slot) ClearSlot(slot);
  return backend_.Finish();
}

}  // namespace cascade
