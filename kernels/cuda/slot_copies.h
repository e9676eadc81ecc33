// Copies between slots and host memory, on a stream of their own: steps of other slots run beside them.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/cache_layout.h"
#include "kernels/cuda/stream.h"
#include "kernels/slot_copy.h"

namespace cascade::kernels::cuda {

size_t SlotPartBytes(const CacheLayout& layout, SlotPart part);

// RESOURCE_EXHAUSTED. Any thread.
absl::StatusOr<std::unique_ptr<HostMemory>> AllocatePinned(size_t bytes);

// The engine's thread begins copies; any thread waits for one. Outlives them.
class SlotCopies {
 public:
  // `steps` is where slots are used; a copy begins when all is done that is enqueued there. It outlives this.
  static absl::StatusOr<std::unique_ptr<SlotCopies>> Create(Stream& steps);
  ~SlotCopies();
  SlotCopies(const SlotCopies&) = delete;
  SlotCopies& operator=(const SlotCopies&) = delete;

  std::unique_ptr<SlotCopy> Read(const CacheLayout& layout, const unsigned char* slot, SlotPart part,
                                 std::span<std::byte> host);
  std::unique_ptr<SlotCopy> Write(const CacheLayout& layout, unsigned char* slot, SlotPart part,
                                  std::span<const std::byte> host);

 private:
  explicit SlotCopies(Stream& steps) : steps_(steps) {}
  // Holds this stream until the steps that are enqueued are done.
  cudaError_t FollowSteps();
  std::unique_ptr<SlotCopy> Finish(const char* op, cudaError_t result);

  Stream& steps_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t steps_done_ = nullptr;
};

}  // namespace cascade::kernels::cuda
