#include "tests/support/fake_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade {
namespace {

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

kernels::TokenScore ScoreOf(std::span<const float> logits, int32_t target) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  std::vector<float> sorted(logits.begin(), logits.end());
  std::sort(sorted.rbegin(), sorted.rend());
  const auto top = std::max_element(logits.begin(), logits.end()) - logits.begin();
  return {static_cast<float>(logits[static_cast<size_t>(target)] - std::log(sum)), static_cast<int32_t>(top),
          sorted[0] - sorted[1]};
}

}  // namespace

FakeModel::FakeModel(const CascadeGeometry& geometry, int vocabulary, int max_rows, Script script)
    : geometry_(geometry), vocabulary_(vocabulary), max_rows_(max_rows), script_(std::move(script)) {}

void FakeModel::Hold() {
  MutexLock lock(mutex_);
  holding_ = true;
}

void FakeModel::Release(int steps) {
  MutexLock lock(mutex_);
  permits_ += steps;
  changed_.NotifyAll();
}

void FakeModel::ReleaseAll() {
  MutexLock lock(mutex_);
  holding_ = false;
  changed_.NotifyAll();
}

void FakeModel::WaitUntilHeld() {
  MutexLock lock(mutex_);
  while (!(held_ && permits_ == 0)) changed_.Wait(mutex_);
}

void FakeModel::WaitForSteps(int64_t steps) {
  MutexLock lock(mutex_);
  while (static_cast<int64_t>(steps_.size()) < steps) changed_.Wait(mutex_);
}

void FakeModel::FailNextStep(absl::Status status) {
  MutexLock lock(mutex_);
  next_status_ = std::move(status);
}

std::vector<FakeModel::StepRecord> FakeModel::steps() const {
  MutexLock lock(mutex_);
  return steps_;
}

std::vector<std::string> FakeModel::violations() const {
  MutexLock lock(mutex_);
  return violations_;
}

std::vector<int32_t> FakeModel::FedIds(int slot) const {
  MutexLock lock(mutex_);
  const auto it = slots_.find(slot);
  return it == slots_.end() ? std::vector<int32_t>() : it->second.ids;
}

void FakeModel::WaitForPermit() {
  while (holding_ && permits_ == 0) {
    held_ = true;
    changed_.NotifyAll();
    changed_.Wait(mutex_);
  }
  held_ = false;
  if (holding_) --permits_;
}

absl::Status FakeModel::Forward(const ForwardBatch& batch, ForwardResult& result) {
  if (on_step) on_step(batch);
  MutexLock lock(mutex_);
  WaitForPermit();
  const size_t violations = violations_.size();
  StepRecord record;
  record.rows = static_cast<int>(batch.ids.size());
  Expect(record.rows > 0 && record.rows <= max_rows_, absl::StrCat("step of ", record.rows, " rows"));
  std::vector<float> logits(batch.ids.size() * static_cast<size_t>(vocabulary_));
  int covered = 0;
  for (const kernels::Slice& slice : batch.slices) {
    Expect(slice.first_row == covered, "slices do not cover the rows in order");
    covered += slice.num_rows;
    for (const SliceRecord& other : record.slices) Expect(other.slot != slice.slot, "slot twice in a step");
    record.slices.push_back({slice.slot, slice.first_token, slice.num_rows});
    FeedSlice(batch, slice, logits);
  }
  Expect(covered == record.rows, "rows without a slice");
  CheckCloses(batch);

  const auto row = [&](int32_t r) {
    return std::span<const float>(logits).subspan(static_cast<size_t>(r) * static_cast<size_t>(vocabulary_),
                                                  static_cast<size_t>(vocabulary_));
  };
  result = {};
  for (const int32_t r : batch.logit_rows) result.logits.insert(result.logits.end(), row(r).begin(), row(r).end());
  Expect(batch.score_rows.size() == batch.score_targets.size(), "score targets");
  for (size_t i = 0; i < batch.score_rows.size(); ++i) {
    result.scores.push_back(ScoreOf(row(batch.score_rows[i]), batch.score_targets[i]));
  }
  steps_.push_back(std::move(record));
  changed_.NotifyAll();
  if (violations_.size() > violations) return absl::InternalError(violations_.back());
  return std::exchange(next_status_, absl::OkStatus());
}

void FakeModel::FeedSlice(const ForwardBatch& batch, const kernels::Slice& slice, std::vector<float>& logits) {
  Slot& slot = slots_[slice.slot];
  const auto fed = static_cast<int64_t>(slot.ids.size());
  Expect(slot.clean || fed > 0, absl::StrCat("slot ", slice.slot, " was not cleared"));
  Expect(slice.first_token == fed,
         absl::StrCat("slot ", slice.slot, " has ", fed, " tokens, slice starts at ", slice.first_token));
  const CascadePlan plan(geometry_, fed);
  Expect(slice.num_rows > 0 && slice.num_rows <= plan.TokensUntilCut(), "slice crosses a cut");
  std::vector<kernels::Segment> segments;
  const kernels::Slice expected = plan.NextSlice(std::min(slice.num_rows, plan.TokensUntilCut()), segments);
  Expect(slice.sinks == expected.sinks && slice.open_place == expected.open_place &&
             slice.write_slot == expected.write_slot && slice.segments.size() == segments.size(),
         "slice is not the plan's");
  for (size_t i = 0; i < std::min(segments.size(), slice.segments.size()); ++i) {
    Expect(slice.segments[i].first_slot == segments[i].first_slot && slice.segments[i].count == segments[i].count &&
               slice.segments[i].query_position == segments[i].query_position,
           "segment is not the plan's");
  }
  for (int i = 0; i < slice.num_rows; ++i) {
    const auto r = static_cast<size_t>(slice.first_row + i);
    slot.ids.push_back(batch.ids[r]);
    slot.hash = Mix(slot.hash * 0x9E3779B97F4A7C15 + static_cast<uint64_t>(batch.ids[r]) + 1);
    Logits(slot,
           std::span<float>(logits).subspan(r * static_cast<size_t>(vocabulary_), static_cast<size_t>(vocabulary_)));
  }
}

void FakeModel::CheckCloses(const ForwardBatch& batch) {
  size_t expected = 0;
  for (const kernels::Slice& slice : batch.slices) {
    const auto ticks = static_cast<int64_t>(slots_[slice.slot].ids.size()) - geometry_.num_sinks;
    if (ticks <= 0 || ticks % geometry_.stride != 0) continue;
    ++expected;
    const bool there = std::any_of(batch.closes.begin(), batch.closes.end(),
                                   [&](const kernels::Close& close) { return close.slot == slice.slot; });
    Expect(there, absl::StrCat("slot ", slice.slot, " lacks a close"));
  }
  Expect(batch.closes.size() == expected, "a close too many");
}

void FakeModel::Logits(const Slot& slot, std::span<float> logits) const {
  if (script_) {
    script_(slot.ids, logits);
    return;
  }
  for (size_t id = 0; id < logits.size(); ++id) {
    logits[id] = static_cast<float>(Mix(slot.hash + id * 0xD1B54A32D192ED03) >> 44) * 0x1.0p-18f;
  }
}

void FakeModel::Expect(bool condition, const std::string& what) {
  if (!condition) violations_.push_back(what);
}

void FakeModel::ClearSlot(int slot) {
  MutexLock lock(mutex_);
  slots_[slot] = Slot{.clean = true, .ids = {}, .hash = 0};
}

absl::StatusOr<kernels::HeadContents> FakeModel::ReadHead(int slot, int layer, int kv_head) {
  kernels::HeadContents contents;
  const auto add = [&](int slots) {
    contents.tokens.emplace_back(static_cast<size_t>(slots), 0u);
    contents.scores.emplace_back(static_cast<size_t>(slots), static_cast<float>(slot));
    contents.distinctness.emplace_back(static_cast<size_t>(slots), static_cast<float>(layer * 100 + kv_head));
  };
  add(geometry_.num_sinks);
  for (int i = 0; i < geometry_.num_sub_caches(); ++i) add(geometry_.ring_slots(i));
  return contents;
}

}  // namespace cascade
