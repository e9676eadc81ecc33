#include "tests/support/fake_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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

FakeModel::FakeModel(const CascadeGeometry& geometry, int vocabulary, int max_rows, Script script,
                     int max_steps_in_flight)
    : geometry_(geometry),
      vocabulary_(vocabulary),
      max_rows_(max_rows),
      script_(std::move(script)),
      max_steps_in_flight_(max_steps_in_flight) {}

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

void FakeModel::CertifyNextStep(const kernels::ScoreCertificates& certificates) {
  MutexLock lock(mutex_);
  next_certificates_ = certificates;
}

void FakeModel::FailNextLaunch(absl::Status status) {
  MutexLock lock(mutex_);
  next_launch_ = std::move(status);
}

int FakeModel::dead_rows() const {
  MutexLock lock(mutex_);
  return dead_rows_;
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

absl::Status FakeModel::Launch(const ForwardBatch& batch) {
  if (on_step) on_step(batch);
  MutexLock lock(mutex_);
  if (!next_launch_.ok()) return std::exchange(next_launch_, absl::OkStatus());
  const size_t violations = violations_.size();
  LaunchedStep step;
  StepRecord& record = step.record;
  record.rows = static_cast<int>(batch.ids.size());
  Expect(static_cast<int>(in_flight_.size()) < max_steps_in_flight_, "too many steps in flight");
  Expect(record.rows > 0 && record.rows <= max_rows_, absl::StrCat("step of ", record.rows, " rows"));
  std::vector<float> logits(batch.ids.size() * static_cast<size_t>(vocabulary_));
  dead_.assign(batch.ids.size(), false);
  int covered = 0;
  int longest = 1;
  for (const kernels::Slice& slice : batch.slices) {
    Expect(slice.first_row == covered, "slices do not cover the rows in order");
    Expect(slice.num_rows > 1 || longest == 1, "a slice of one row after a longer one");
    covered += slice.num_rows;
    longest = std::max(longest, slice.num_rows);
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
  for (const int32_t r : batch.logit_rows) {
    step.logits.insert(step.logits.end(), row(r).begin(), row(r).end());
  }
  Expect(batch.score_rows.size() == batch.score_targets.size(), "score targets");
  for (size_t i = 0; i < batch.score_rows.size(); ++i) {
    step.result.scores.push_back(ScoreOf(row(batch.score_rows[i]), batch.score_targets[i]));
  }
  SampleRows(batch, logits, step.result);
  if (violations_.size() > violations) step.status = absl::InternalError(violations_.back());
  in_flight_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status FakeModel::Collect(ForwardResult& result) {
  MutexLock lock(mutex_);
  Expect(!in_flight_.empty(), "no step to collect");
  if (in_flight_.empty()) return absl::InternalError(violations_.back());
  WaitForPermit();
  LaunchedStep step = std::move(in_flight_.front());
  in_flight_.pop_front();
  result = std::move(step.result);
  collected_logits_ = std::move(step.logits);
  result.logits = collected_logits_;
  result.certificates = std::exchange(next_certificates_, {});
  steps_.push_back(std::move(step.record));
  changed_.NotifyAll();
  if (!step.status.ok()) return step.status;
  return std::exchange(next_status_, absl::OkStatus());
}

std::vector<int32_t> FakeModel::IdsOf(const ForwardBatch& batch, const kernels::Slice& slice) {
  const auto first = batch.ids.begin() + slice.first_row;
  std::vector<int32_t> ids(first, first + slice.num_rows);
  if (std::find(ids.begin(), ids.end(), kernels::kSampledId) == ids.end()) return ids;
  Expect(max_steps_in_flight_ > 1 && slice.num_rows == 1, "an unknown id");
  ids[0] = slots_[slice.slot].sampled;
  const bool dead = ids[0] == kernels::kNoId || std::find(end_ids_.begin(), end_ids_.end(), ids[0]) != end_ids_.end();
  return dead ? std::vector<int32_t>() : ids;
}

void FakeModel::SampleRows(const ForwardBatch& batch, std::span<const float> logits, ForwardResult& result) {
  Expect(batch.sample_rows.size() == batch.samples.size(), "samples");
  Expect(batch.vocabulary > 0 && batch.vocabulary <= vocabulary_, "vocabulary");
  for (size_t i = 0; i < batch.sample_rows.size(); ++i) {
    const int32_t r = batch.sample_rows[i];
    const kernels::SampleRequest& request = batch.samples[i];
    const bool last = std::any_of(batch.slices.begin(), batch.slices.end(), [&](const kernels::Slice& slice) {
      return slice.slot == request.slot && slice.first_row + slice.num_rows - 1 == r;
    });
    Expect(last, "a sample of another row than a slice's last");
    int32_t id = kernels::kNoId;
    if (!dead_[static_cast<size_t>(r)]) {
      const auto row = logits.subspan(static_cast<size_t>(r) * static_cast<size_t>(vocabulary_));
      id = sampler_.Sample(row.first(static_cast<size_t>(batch.vocabulary)), request);
      slots_[request.slot].sampled = id;
    }
    result.sampled.push_back(id);
  }
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
  const std::vector<int32_t> ids = IdsOf(batch, slice);
  if (ids.empty()) {
    dead_[static_cast<size_t>(slice.first_row)] = true;
    ++dead_rows_;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t r = static_cast<size_t>(slice.first_row) + i;
    slot.ids.push_back(ids[i]);
    slot.hash = Mix(slot.hash * 0x9E3779B97F4A7C15 + static_cast<uint64_t>(ids[i]) + 1);
    Logits(slot,
           std::span<float>(logits).subspan(r * static_cast<size_t>(vocabulary_), static_cast<size_t>(vocabulary_)));
  }
}

// Of dead rows too: whoever launched them did not know.
void FakeModel::CheckCloses(const ForwardBatch& batch) {
  size_t expected = 0;
  for (const kernels::Slice& slice : batch.slices) {
    const int64_t ticks = slice.first_token + slice.num_rows - geometry_.num_sinks;
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
  slots_[slot] = Slot{.clean = true, .ids = {}, .hash = 0, .sampled = kernels::kNoId};
}

void FakeModel::FailNextCopy(absl::Status status) {
  MutexLock lock(mutex_);
  next_copy_ = std::move(status);
}

absl::Status FakeModel::CopySlot(int from, int to) {
  MutexLock lock(mutex_);
  Expect(from != to, "a slot copied to itself");
  slots_[to] = slots_[from];
  return std::exchange(next_copy_, absl::OkStatus());
}

namespace {

class VectorMemory final : public kernels::HostMemory {
 public:
  explicit VectorMemory(size_t bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Made at once; only the waiting is left.
class DoneCopy final : public kernels::SlotCopy {
 public:
  explicit DoneCopy(absl::Status status) : status_(std::move(status)) {}
  absl::Status Wait() override { return status_; }

 private:
  const absl::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<kernels::HostMemory>> FakeModel::AllocateHost(size_t bytes) {
  return std::make_unique<VectorMemory>(bytes);
}

void FakeModel::Refill(Slot& slot, std::vector<int32_t> ids) {
  slot = Slot{.clean = true, .ids = {}, .hash = 0, .sampled = kernels::kNoId};
  for (const int32_t id : ids) slot.hash = Mix(slot.hash * 0x9E3779B97F4A7C15 + static_cast<uint64_t>(id) + 1);
  slot.ids = std::move(ids);
}

std::unique_ptr<kernels::SlotCopy> FakeModel::ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) {
  MutexLock lock(mutex_);
  const std::vector<int32_t>& ids = slots_[slot].ids;
  Expect(host.size() == SlotBytes(part) && ids.size() <= kMaxSlotIds, "host memory of another size");
  const auto count = static_cast<int32_t>(ids.size());
  std::memcpy(host.data(), &count, sizeof count);
  if (part == kernels::SlotPart::kAll)
    std::memcpy(host.data() + sizeof count, ids.data(), ids.size() * sizeof(int32_t));
  return std::make_unique<DoneCopy>(std::exchange(next_copy_, absl::OkStatus()));
}

std::unique_ptr<kernels::SlotCopy> FakeModel::WriteSlot(int slot, kernels::SlotPart part,
                                                        std::span<const std::byte> host) {
  MutexLock lock(mutex_);
  Expect(host.size() == SlotBytes(part), "host memory of another size");
  int32_t count = 0;
  std::memcpy(&count, host.data(), sizeof count);
  std::vector<int32_t> ids = slots_[slot].ids;
  if (part == kernels::SlotPart::kAll) {
    ids.assign(static_cast<size_t>(count), 0);
    std::memcpy(ids.data(), host.data() + sizeof count, ids.size() * sizeof(int32_t));
  } else {
    Expect(static_cast<size_t>(count) <= ids.size(), "scores of a slot with more tokens");
    ids.resize(static_cast<size_t>(count));
  }
  Refill(slots_[slot], std::move(ids));
  return std::make_unique<DoneCopy>(std::exchange(next_copy_, absl::OkStatus()));
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
