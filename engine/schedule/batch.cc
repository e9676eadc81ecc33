#include "engine/schedule/batch.h"

#include "kernels/base/check.h"

namespace cascade {

void Batch::Add(int64_t turn, int slot, CascadePlan& plan, std::span<const int32_t> ids,
                const kernels::SampleRequest* sample, std::span<const int32_t> targets, const LogitRows& logits) {
  const int rows = static_cast<int>(ids.size());
  CASCADE_CHECK(rows > 0 && rows <= plan.TokensUntilCut());
  CASCADE_CHECK(rows > 1 || forward_.slices.empty() || forward_.slices.back().num_rows == 1);
  CASCADE_CHECK(targets.empty() || targets.size() == ids.size());
  const int first_row = static_cast<int>(forward_.ids.size());
  const int64_t evicted_before = plan.tokens_evicted();
  Entry entry{.turn = turn, .rows = rows, .first_score = static_cast<int>(forward_.score_rows.size())};

  kernels::Slice slice = plan.NextSlice(rows, segments_.emplace_back());
  slice.slot = slot;
  slice.first_row = first_row;
  forward_.slices.push_back(slice);
  forward_.ids.insert(forward_.ids.end(), ids.begin(), ids.end());
  if (sample != nullptr) {
    entry.sample = static_cast<int>(forward_.samples.size());
    forward_.sample_rows.push_back(first_row + rows - 1);
    forward_.samples.push_back(*sample);
    forward_.samples.back().slot = slot;
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    forward_.score_rows.push_back(first_row + static_cast<int32_t>(i));
    forward_.score_targets.push_back(targets[i]);
  }
  entry.num_scores = static_cast<int>(targets.size());
  CASCADE_CHECK(logits.begin <= logits.end && logits.end <= rows && (!logits.samples || logits.end == rows));
  entry.first_logits = static_cast<int>(forward_.logit_rows.size());
  entry.num_logits = logits.end - logits.begin;
  entry.samples_on_host = logits.samples;
  for (int row = logits.begin; row < logits.end; ++row) forward_.logit_rows.push_back(first_row + row);

  plan.Advance(rows);
  if (plan.StrideIsFull()) {
    kernels::Close close = plan.CloseStride(moves_.emplace_back());
    close.slot = slot;
    forward_.closes.push_back(close);
    entry.closed_stride = true;
  }
  entry.evicted = plan.tokens_evicted() - evicted_before;
  entries_.push_back(entry);
}

}  // namespace cascade
