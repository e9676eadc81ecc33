#include "tests/benchmarks/sessions/storage_model.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade::bench {
namespace {

constexpr uint64_t kMultiplier = 6364136223846793005u;

class VectorMemory final : public kernels::HostMemory {
 public:
  explicit VectorMemory(size_t bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Done by whoever waits, as on the CPU.
class Copy final : public kernels::SlotCopy {
 public:
  Copy(std::byte* to, const std::byte* from, size_t bytes) : to_(to), from_(from), bytes_(bytes) {}
  absl::Status Wait() override {
    std::memcpy(to_, from_, bytes_);
    return absl::OkStatus();
  }

 private:
  std::byte* const to_;
  const std::byte* const from_;
  const size_t bytes_;
};

}  // namespace

StorageModel::StorageModel(const StorageModelOptions& options)
    : options_(options), slots_(static_cast<size_t>(options.num_slots)) {
  // Noise: a file system may store runs of equal bytes for nothing.
  uint64_t noise = 1;
  for (std::vector<std::byte>& slot : slots_) {
    slot.resize(options.slot_bytes);
    for (size_t i = 0; i + sizeof noise <= slot.size(); i += sizeof noise) {
      noise = noise * kMultiplier + 1442695040888963407u;
      std::memcpy(slot.data() + i, &noise, sizeof noise);
    }
  }
}

StorageModel::State StorageModel::Load(int slot) const {
  State state;
  std::memcpy(&state, slots_[static_cast<size_t>(slot)].data(), sizeof state);
  return state;
}

void StorageModel::Store(int slot, const State& state) {
  std::memcpy(slots_[static_cast<size_t>(slot)].data(), &state, sizeof state);
}

absl::Status StorageModel::Launch(const ForwardBatch& batch) {
  result_ = {};
  rows_ = static_cast<int>(batch.ids.size());
  for (const kernels::Slice& slice : batch.slices) {
    State state = Load(slice.slot);
    if (state.fed != slice.first_token) {
      return absl::InternalError(absl::StrCat("a slot of ", state.fed, " tokens goes on at ", slice.first_token));
    }
    for (int row = 0; row < slice.num_rows; ++row) {
      const auto id = static_cast<uint64_t>(batch.ids[static_cast<size_t>(slice.first_row + row)]);
      state.hash = (state.hash + id + 1) * kMultiplier;
    }
    state.fed += slice.num_rows;
    Store(slice.slot, state);
  }
  for (const kernels::SampleRequest& request : batch.samples) {
    result_.sampled.push_back(static_cast<int32_t>('a' + (Load(request.slot).hash >> 32) % 26));
  }
  return absl::OkStatus();
}

absl::Status StorageModel::Collect(ForwardResult& result) {
  if (options_.tokens_per_second > 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(rows_ / options_.tokens_per_second));
  }
  result = std::exchange(result_, {});
  return absl::OkStatus();
}

void StorageModel::ClearSlot(int slot) { Store(slot, State()); }

absl::Status StorageModel::CopySlot(int from, int to) {
  slots_[static_cast<size_t>(to)] = slots_[static_cast<size_t>(from)];
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<kernels::HostMemory>> StorageModel::AllocateHost(size_t bytes) {
  return std::make_unique<VectorMemory>(bytes);
}

std::unique_ptr<kernels::SlotCopy> StorageModel::ReadSlot(int slot, kernels::SlotPart part, std::span<std::byte> host) {
  return std::make_unique<Copy>(host.data(), slots_[static_cast<size_t>(slot)].data(), SlotBytes(part));
}

std::unique_ptr<kernels::SlotCopy> StorageModel::WriteSlot(int slot, kernels::SlotPart part,
                                                           std::span<const std::byte> host) {
  return std::make_unique<Copy>(slots_[static_cast<size_t>(slot)].data(), host.data(), SlotBytes(part));
}

absl::StatusOr<kernels::HeadContents> StorageModel::ReadHead(int slot, int layer, int kv_head) {
  return absl::UnimplementedError("this model has no heads");
}

}  // namespace cascade::bench
