#include "kernels/cuda/slot_copies.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace cascade::kernels::cuda {
namespace {

class PinnedMemory final : public HostMemory {
 public:
  PinnedMemory(void* data, size_t size) : data_(data), size_(size) {}
  ~PinnedMemory() override { cudaFreeHost(data_); }
  std::span<std::byte> bytes() override { return {static_cast<std::byte*>(data_), size_}; }

 private:
  void* const data_;
  const size_t size_;
};

absl::Status ErrorOf(const char* op, cudaError_t result) {
  if (result == cudaSuccess) return absl::OkStatus();
  cudaGetLastError();  // the runtime keeps it for the next call otherwise
  const std::string message = absl::StrCat(op, ": ", cudaGetErrorString(result));
  // An error that the device keeps shows again at once.
  return cudaDeviceSynchronize() == cudaSuccess ? absl::InternalError(message) : absl::DataLossError(message);
}

class EventCopy final : public SlotCopy {
 public:
  EventCopy(const char* op, cudaError_t result, cudaEvent_t done) : op_(op), result_(result), done_(done) {}
  ~EventCopy() override {
    if (done_ == nullptr) return;
    cudaEventSynchronize(done_);
    cudaEventDestroy(done_);
  }
  absl::Status Wait() override {
    if (result_ == cudaSuccess) result_ = cudaEventSynchronize(done_);
    return ErrorOf(op_, result_);
  }

 private:
  const char* const op_;
  cudaError_t result_;
  const cudaEvent_t done_;
};

// The parts of a block that kScores means: offset in the block, bytes of one block.
template <class Copy>
cudaError_t ForEachColumn(const CacheLayout& layout, Copy copy) {
  const size_t column = static_cast<size_t>(layout.entries) * sizeof(float);
  const size_t blocks = static_cast<size_t>(layout.num_layers) * static_cast<size_t>(layout.num_kv_heads);
  cudaError_t result = copy(layout.scores_offset, size_t{0}, column, blocks);
  if (result == cudaSuccess && layout.max_reduction) {
    result = copy(layout.sums_offset, column * blocks, column * static_cast<size_t>(layout.group), blocks);
  }
  return result;
}

}  // namespace

size_t SlotPartBytes(const CacheLayout& layout, SlotPart part) {
  if (part == SlotPart::kAll) return layout.slot_bytes;
  const size_t columns = 1 + (layout.max_reduction ? static_cast<size_t>(layout.group) : 0);
  return static_cast<size_t>(layout.entries) * sizeof(float) * columns * static_cast<size_t>(layout.num_layers) *
         static_cast<size_t>(layout.num_kv_heads);
}

absl::StatusOr<std::unique_ptr<HostMemory>> AllocatePinned(size_t bytes) {
  void* data = nullptr;
  const cudaError_t result = bytes == 0 ? cudaErrorMemoryAllocation : cudaMallocHost(&data, bytes);
  if (result != cudaSuccess) {
    cudaGetLastError();
    return absl::ResourceExhaustedError(absl::StrCat("no pinned memory for ", bytes, " bytes"));
  }
  return std::make_unique<PinnedMemory>(data, bytes);
}

absl::StatusOr<std::unique_ptr<SlotCopies>> SlotCopies::Create(Stream& steps) {
  auto copies = std::unique_ptr<SlotCopies>(new SlotCopies(steps));
  cudaError_t result = cudaStreamCreateWithFlags(&copies->stream_, cudaStreamNonBlocking);
  if (result == cudaSuccess) result = cudaEventCreateWithFlags(&copies->steps_done_, cudaEventDisableTiming);
  if (absl::Status status = ErrorOf("slot copies", result); !status.ok()) return status;
  return copies;
}

SlotCopies::~SlotCopies() {
  if (stream_ != nullptr) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  if (steps_done_ != nullptr) cudaEventDestroy(steps_done_);
}

cudaError_t SlotCopies::FollowSteps() {
  const cudaError_t result = cudaEventRecord(steps_done_, steps_.get());
  return result == cudaSuccess ? cudaStreamWaitEvent(stream_, steps_done_, 0) : result;
}

std::unique_ptr<SlotCopy> SlotCopies::Finish(const char* op, cudaError_t result) {
  cudaEvent_t done = nullptr;
  if (result == cudaSuccess) {
    result = cudaEventCreateWithFlags(&done, cudaEventDisableTiming | cudaEventBlockingSync);
  }
  if (result == cudaSuccess) result = cudaEventRecord(done, stream_);
  return std::make_unique<EventCopy>(op, result, done);
}

std::unique_ptr<SlotCopy> SlotCopies::Read(const CacheLayout& layout, const unsigned char* slot, SlotPart part,
                                           std::span<std::byte> host) {
  cudaError_t result = FollowSteps();
  if (result == cudaSuccess && part == SlotPart::kAll) {
    result = cudaMemcpyAsync(host.data(), slot, host.size(), cudaMemcpyDeviceToHost, stream_);
  } else if (result == cudaSuccess) {
    result = ForEachColumn(layout, [&](size_t offset, size_t at, size_t width, size_t blocks) {
      return cudaMemcpy2DAsync(host.data() + at, width, slot + offset, layout.block_bytes, width, blocks,
                               cudaMemcpyDeviceToHost, stream_);
    });
  }
  return Finish("ReadSlot", result);
}

std::unique_ptr<SlotCopy> SlotCopies::Write(const CacheLayout& layout, unsigned char* slot, SlotPart part,
                                            std::span<const std::byte> host) {
  cudaError_t result = FollowSteps();
  if (result == cudaSuccess && part == SlotPart::kAll) {
    result = cudaMemcpyAsync(slot, host.data(), host.size(), cudaMemcpyHostToDevice, stream_);
  } else if (result == cudaSuccess) {
    result = ForEachColumn(layout, [&](size_t offset, size_t at, size_t width, size_t blocks) {
      return cudaMemcpy2DAsync(slot + offset, layout.block_bytes, host.data() + at, width, width, blocks,
                               cudaMemcpyHostToDevice, stream_);
    });
  }
  return Finish("WriteSlot", result);
}

}  // namespace cascade::kernels::cuda
