// A model whose steps cost nothing and whose slots are as large as those of a real one: what is left is what keeping
// sessions costs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model/llama.h"

namespace cascade::bench {

struct StorageModelOptions {
  int num_slots = 1;
  size_t slot_bytes = 64 << 10;
  size_t score_bytes = 1 << 10;  // of a slot's scores
  double tokens_per_second = 0;  // a step takes this long; 0: no time
};

// A slot's bytes begin with how many ids it was fed and a hash of them, which says what is sampled next; noise follows.
// A slice that does not go on where its slot is ends the step with an error: a cache was lost or mixed up.
class StorageModel final : public Model {
 public:
  static constexpr int kVocabulary = 256;

  explicit StorageModel(const StorageModelOptions& options);

  int vocabulary() const override { return kVocabulary; }
  void SetEndIds(std::span<const int32_t> ids) override {}
  int max_steps_in_flight() const override { return 1; }
  absl::Status Launch(const ForwardBatch& batch) override;
  absl::Status Collect(ForwardResult& result) override;
  void ClearSlot(int slot) override;
  absl::Status CopySlot(int from, int to) override;
  std::string SlotLayout() const override { return "storage 1"; }
  size_t SlotBytes(kernels::SlotPart part) const override {
    return part == kernels::SlotPart::kAll ? options_.slot_bytes : options_.score_bytes;
  }
  absl::StatusOr<std::unique_ptr<kernels::HostMemory>> AllocateHost(size_t bytes) override;
  std::unique_ptr<kernels::SlotCopy> ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) override;
  std::unique_ptr<kernels::SlotCopy> WriteSlot(int slot, kernels::SlotPart part,
                                               std::span<const std::byte> host) override;
  absl::StatusOr<kernels::HeadContents> ReadHead(int slot, int layer, int kv_head) override;

 private:
  struct State {
    int64_t fed = 0;
    uint64_t hash = 0;
  };
  State Load(int slot) const;
  void Store(int slot, const State& state);

  const StorageModelOptions options_;
  std::vector<std::vector<std::byte>> slots_;
  ForwardResult result_;  // of the step in flight
  int rows_ = 0;
};

}  // namespace cascade::bench
