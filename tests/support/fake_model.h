// A model without arithmetic, for tests of the engine: its logits are a function of the ids that a slot was fed, it
// checks what it is given, and it fails or holds a step on command.
//
// Like a device it runs a step at Launch, with the state that the steps before have left, and gives the results at
// Collect; that is where a step is held, fails and counts as run.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/base/mutex.h"
#include "kernels/sampler.h"

namespace cascade {

// Every violation of the engine's duties (a slice that does not continue its slot, a missing close, a slot used twice
// in a step or reused without ClearSlot, too many steps in flight, an unknown id that is not a decoding row's) makes
// the step fail and is kept in violations(). Commands and reads: any thread.
class FakeModel final : public Model {
 public:
  // Fills `logits` [vocabulary] given all ids of the slot so far.
  using Script = std::function<void(std::span<const int32_t> ids, std::span<float> logits)>;

  struct SliceRecord {
    int slot = 0;
    int64_t first_token = 0;
    int rows = 0;
  };
  struct StepRecord {
    std::vector<SliceRecord> slices;
    int rows = 0;
  };

  // Without a script: pseudo-random logits, a function of all ids.
  FakeModel(const CascadeGeometry& geometry, int vocabulary, int max_rows, Script script = nullptr,
            int max_steps_in_flight = 1);

  // Commands.
  void Hold();              // steps wait from now on ..
  void Release(int steps);  // .. but for these
  void ReleaseAll();
  void WaitUntilHeld();              // a step waits
  void WaitForSteps(int64_t steps);  // so many have been run, in all
  void FailNextStep(absl::Status status);
  void FailNextLaunch(absl::Status status);
  void FailNextCopy(absl::Status status);
  void CertifyNextStep(const kernels::ScoreCertificates& certificates);

  std::vector<StepRecord> steps() const;
  std::vector<std::string> violations() const;
  // Rows that were dead.
  int dead_rows() const;
  // What a slot was fed since it was cleared.
  std::vector<int32_t> FedIds(int slot) const;
  // Called at the start of each step, on the engine thread, without locks. Set before the engine starts.
  std::function<void(const ForwardBatch&)> on_step;

  int vocabulary() const override { return vocabulary_; }
  void SetEndIds(std::span<const int32_t> ids) override { end_ids_.assign(ids.begin(), ids.end()); }
  int max_steps_in_flight() const override { return max_steps_in_flight_; }
  absl::Status Launch(const ForwardBatch& batch) override;
  absl::Status Collect(ForwardResult& result) override;
  void ClearSlot(int slot) override;
  absl::Status CopySlot(int from, int to) override;
  // A slot's bytes are its ids, at most kMaxSlotIds of them; its scores are how many those are.
  static constexpr size_t kMaxSlotIds = 16384;
  std::string SlotLayout() const override { return "fake 1"; }
  size_t SlotBytes(kernels::SlotPart part) const override {
    return part == kernels::SlotPart::kAll ? (kMaxSlotIds + 1) * sizeof(int32_t) : sizeof(int32_t);
  }
  absl::StatusOr<std::unique_ptr<kernels::HostMemory>> AllocateHost(size_t bytes) override;
  std::unique_ptr<kernels::SlotCopy> ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) override;
  std::unique_ptr<kernels::SlotCopy> WriteSlot(int slot, kernels::SlotPart part,
                                               std::span<const std::byte> host) override;
  // Every segment's slots hold token index 0 and score `slot`.
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override;

 private:
  struct Slot {
    bool clean = false;
    std::vector<int32_t> ids;
    uint64_t hash = 0;
    int32_t sampled = kernels::kNoId;  // the last one
  };
  struct LaunchedStep {
    StepRecord record;
    ForwardResult result;
    std::vector<float> logits;  // of the result
    absl::Status status;        // of a violation
  };

  void WaitForPermit() CASCADE_REQUIRES(mutex_);
  // What the slice's rows feed; empty: they are dead.
  std::vector<int32_t> IdsOf(const ForwardBatch& batch, const kernels::Slice& slice) CASCADE_REQUIRES(mutex_);
  void FeedSlice(const ForwardBatch& batch, const kernels::Slice& slice, std::vector<float>& logits)
      CASCADE_REQUIRES(mutex_);
  void SampleRows(const ForwardBatch& batch, std::span<const float> logits, ForwardResult& result)
      CASCADE_REQUIRES(mutex_);
  void CheckCloses(const ForwardBatch& batch) CASCADE_REQUIRES(mutex_);
  void Refill(Slot& slot, std::vector<int32_t> ids) CASCADE_REQUIRES(mutex_);
  void Logits(const Slot& slot, std::span<float> logits) const;
  void Expect(bool condition, const std::string& what) CASCADE_REQUIRES(mutex_);

  const CascadeGeometry geometry_;
  const int vocabulary_;
  const int max_rows_;
  const Script script_;
  const int max_steps_in_flight_;
  std::vector<int32_t> end_ids_;  // set before the engine starts

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<int, Slot> slots_ CASCADE_GUARDED_BY(mutex_);
  std::deque<LaunchedStep> in_flight_ CASCADE_GUARDED_BY(mutex_);
  std::vector<float> collected_logits_ CASCADE_GUARDED_BY(mutex_);
  std::vector<bool> dead_ CASCADE_GUARDED_BY(mutex_);  // rows of the step that is launched
  int dead_rows_ CASCADE_GUARDED_BY(mutex_) = 0;
  kernels::Sampler sampler_ CASCADE_GUARDED_BY(mutex_);
  std::vector<StepRecord> steps_ CASCADE_GUARDED_BY(mutex_);
  std::vector<std::string> violations_ CASCADE_GUARDED_BY(mutex_);
  absl::Status next_status_ CASCADE_GUARDED_BY(mutex_);
  absl::Status next_copy_ CASCADE_GUARDED_BY(mutex_);
  kernels::ScoreCertificates next_certificates_ CASCADE_GUARDED_BY(mutex_);
  absl::Status next_launch_ CASCADE_GUARDED_BY(mutex_);
  bool holding_ CASCADE_GUARDED_BY(mutex_) = false;
  bool held_ CASCADE_GUARDED_BY(mutex_) = false;
  int permits_ CASCADE_GUARDED_BY(mutex_) = 0;
};

}  // namespace cascade
