// The caches of the CPU back end and the ops on them: owner of the pool's memory, of a step's tables and of scratch.
//
// The pool is an anonymous mapping without reserved swap: memory is taken when a slot is first written and given back
// when it is cleared. Scratch grows to the largest step seen; attend_plan.h states its bound.
//
// Threads: one thread calls it; ops spread their work over the ThreadPool, which must outlive this, and return when
// they are done. Results do not depend on the number of threads (kernels/backend.h, row invariance).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cache_layout.h"
#include "kernels/cpu/cache_step.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

class CacheOps {
 public:
  // INVALID_ARGUMENT for a shape that these ops do not have, RESOURCE_EXHAUSTED when the address space is not there.
  static absl::StatusOr<std::unique_ptr<CacheOps>> Create(const CacheShape& shape, int num_slots, int max_rows,
                                                          ThreadPool& pool);
  ~CacheOps();
  CacheOps(const CacheOps&) = delete;
  CacheOps& operator=(const CacheOps&) = delete;

  static size_t BytesPerSlot(const CacheShape& shape);
  const CacheLayout& layout() const { return layout_; }
  std::byte* Slot(int slot) const;

  // As in kernels/backend.h.
  void ClearSlot(int slot);
  void CopySlot(int from, int to);
  absl::StatusOr<HeadContents> ReadHead(int slot, int layer, int kv_head);
  void BeginStep(std::span<const Slice> slices);
  void AppendKv(int layer, TensorView k, TensorView v);
  void Attend(int layer, TensorView q, TensorView out);
  void CloseStrides(std::span<const Close> closes);

 private:
  CacheOps(const CacheShape& shape, int num_slots, int max_rows, ThreadPool& pool, std::byte* memory);

  const CacheLayout layout_;
  const int num_slots_;
  const int max_rows_;
  ThreadPool& pool_;
  std::byte* const memory_;  // [num_slots][slot_bytes]
  CacheStep step_;
  AttendPlan plan_;
  AttendScratch scratch_;
};

}  // namespace cascade::kernels
