#include "tests/support/session_runner.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/check.h"

namespace cascade::test {

SessionRunner::SessionRunner(Model& model, const CascadeGeometry& geometry, int slot, int max_slice)
    : model_(model), geometry_(geometry), slot_(slot), max_slice_(max_slice), plan_(geometry) {
  model_.ClearSlot(slot);
}

// `targets` is empty or parallel to `ids`; `last` asks for the logits of the last id.
void SessionRunner::Step(std::span<const int32_t> ids, std::span<const int32_t> targets, bool last) {
  ForwardBatch batch;
  std::vector<kernels::Segment> segments;
  std::vector<kernels::CloseMove> moves;
  const int count = static_cast<int>(ids.size());
  batch.ids.assign(ids.begin(), ids.end());
  kernels::Slice slice = plan_.NextSlice(count, segments);
  slice.slot = slot_;
  batch.slices = {slice};
  if (!targets.empty()) {
    batch.score_rows.resize(ids.size());
    std::iota(batch.score_rows.begin(), batch.score_rows.end(), 0);
    batch.score_targets.assign(targets.begin(), targets.end());
  }
  if (last) batch.logit_rows = {count - 1};
  plan_.Advance(count);
  if (plan_.StrideIsFull()) {
    kernels::Close close = plan_.CloseStride(moves);
    close.slot = slot_;
    batch.closes = {close};
  }
  CASCADE_CHECK(model_.Forward(batch, result_).ok());
}

std::vector<kernels::TokenScore> SessionRunner::Score(std::span<const int32_t> ids) {
  std::vector<int32_t> targets(ids.begin() + 1, ids.end());
  targets.push_back(-1);
  std::vector<kernels::TokenScore> scores;
  for (size_t begin = 0; begin < ids.size();) {
    const size_t count =
        std::min({ids.size() - begin, static_cast<size_t>(plan_.TokensUntilCut()), static_cast<size_t>(max_slice_)});
    Step(ids.subspan(begin, count), std::span(targets).subspan(begin, count), false);
    scores.insert(scores.end(), result_.scores.begin(), result_.scores.end());
    begin += count;
  }
  return scores;
}

std::vector<float> SessionRunner::Feed(std::span<const int32_t> ids) {
  for (size_t begin = 0; begin < ids.size();) {
    const size_t count =
        std::min({ids.size() - begin, static_cast<size_t>(plan_.TokensUntilCut()), static_cast<size_t>(max_slice_)});
    Step(ids.subspan(begin, count), {}, begin + count == ids.size());
    begin += count;
  }
  return {result_.logits.begin(), result_.logits.end()};
}

std::vector<int32_t> SessionRunner::Greedy(std::span<const int32_t> prompt, int count,
                                           std::span<const int32_t> end_ids) {
  std::vector<int32_t> reply;
  std::vector<float> logits = Feed(prompt);
  while (true) {
    const int32_t id = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    reply.push_back(id);
    const bool end = std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end();
    if (end || static_cast<int>(reply.size()) == count) return reply;
    logits = Feed(std::span(&reply.back(), 1));
  }
}

std::vector<HeldToken> SessionRunner::Held(int layer, int kv_head) {
  absl::StatusOr<kernels::HeadContents> contents = model_.ReadHead(slot_, layer, kv_head);
  CASCADE_CHECK(contents.ok());
  return HeldTokens(geometry_, plan_, *contents);
}

}  // namespace cascade::test
