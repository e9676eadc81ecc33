#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// Closes full strides in all layers: folds scores (max reduction), sets the distinctness of the stride's tokens, then
// moves and selects (cache.md, sections 2 and 3). Owns the scratch of as many closes as run together. One thread.
class StrideCloser {
 public:
  // Scratch for up to max_closes_at_once, fewer if they take much. RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<StrideCloser>> Create(Stream& stream, DeviceMemory& memory,
                                                              const CacheLayout& layout, int max_closes_at_once);

  // Any number of closes, of different slots. slice_of_close: the slice of the step whose row filled the stride, which
  // stays open if that is dead; -1: of none. Results have the same bits whatever else is closed with them.
  void Close(Stream& stream, Staging& staging, const CachePool& pool, const StepTables& tables,
             std::span<const kernels::Close> closes, std::span<const int32_t> slice_of_close);

 private:
  explicit StrideCloser(const CacheLayout& layout) : layout_(layout) {}
  template <int kLanes>
  void CloseBatch(Stream& stream, Staging& staging, const CachePool& pool, const int32_t* live,
                  std::span<const kernels::Close> closes, std::span<const int32_t> slice_of_close);

  const CacheLayout layout_;
  int max_batch_ = 0;      // closes that run together
  int64_t turn_rows_ = 0;  // room in turns_
  float2* turns_ = nullptr;
  int sum_chunk_ = 0;  // tokens of a stride whose unit keys are summed together
  int num_chunks_ = 0;
  float* unit_sums_ = nullptr;  // [closes][layers * KV heads][num_chunks_][row_elements]
};

}  // namespace cascade::kernels::cuda
