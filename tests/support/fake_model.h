// A model without arithmetic, for tests of the engine: its logits are a function of the ids that a slot was fed, it
// checks what it is given, and it fails or holds a step on command.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/cascade_plan.h"
#include "engine/model/llama.h"
#include "kernels/base/mutex.h"

namespace cascade {

// Every violation of the engine's duties (a slice that does not continue its slot, a missing close, a slot used twice
// in a step or reused without ClearSlot) makes the step fail and is kept in violations(). Commands and reads: any
// thread.
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
  FakeModel(const CascadeGeometry& geometry, int vocabulary, int max_rows, Script script = nullptr);

  // Commands.
  void Hold();              // steps wait from now on ..
  void Release(int steps);  // .. but for these
  void ReleaseAll();
  void WaitUntilHeld();              // a step waits
  void WaitForSteps(int64_t steps);  // so many have been run, in all
  void FailNextStep(absl::Status status);

  std::vector<StepRecord> steps() const;
  std::vector<std::string> violations() const;
  // What a slot was fed since it was cleared.
  std::vector<int32_t> FedIds(int slot) const;
  // Called at the start of each step, on the engine thread, without locks. Set before the engine starts.
  std::function<void(const ForwardBatch&)> on_step;

  int vocabulary() const override { return vocabulary_; }
  absl::Status Forward(const ForwardBatch& batch, ForwardResult& result) override;
  void ClearSlot(int slot) override;
  // Every segment's slots hold token index 0 and score `slot`.
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override;

 private:
  struct Slot {
    bool clean = false;
    std::vector<int32_t> ids;
    uint64_t hash = 0;
  };

  void WaitForPermit() CASCADE_REQUIRES(mutex_);
  void FeedSlice(const ForwardBatch& batch, const kernels::Slice& slice, std::vector<float>& logits)
      CASCADE_REQUIRES(mutex_);
  void CheckCloses(const ForwardBatch& batch) CASCADE_REQUIRES(mutex_);
  void Logits(const Slot& slot, std::span<float> logits) const;
  void Expect(bool condition, const std::string& what) CASCADE_REQUIRES(mutex_);

  const CascadeGeometry geometry_;
  const int vocabulary_;
  const int max_rows_;
  const Script script_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::map<int, Slot> slots_ CASCADE_GUARDED_BY(mutex_);
  std::vector<StepRecord> steps_ CASCADE_GUARDED_BY(mutex_);
  std::vector<std::string> violations_ CASCADE_GUARDED_BY(mutex_);
  absl::Status next_status_ CASCADE_GUARDED_BY(mutex_);
  bool holding_ CASCADE_GUARDED_BY(mutex_) = false;
  bool held_ CASCADE_GUARDED_BY(mutex_) = false;
  int permits_ CASCADE_GUARDED_BY(mutex_) = 0;
};

}  // namespace cascade
