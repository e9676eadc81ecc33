// Attention of slices of any number of rows over the cache.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/stride_attention.h"
#include "kernels/dtype.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels::cuda {

// Owns the memory between its kernels. One thread; one stream.
//
// By the kernels of this folder a row's output and what it adds to scores have the same bits whatever its slice, part
// or neighbours: keys are visited in the order of segments and slots, 16 at a time, each row has its own maximum and
// sum, and keys that it does not see leave these as they are. Scores are added row by row (attention_scores.h). The
// mode that promises these bits, `deterministic`, takes no others; else a StrideAttention does it all where there is
// one.
class PrefillAttention {
 public:
  // options.compute: of q and out, BF16 or F16. max_rows: of a step; fewer may fit the scratch, which then serves a
  // slice part by part. RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<PrefillAttention>> Create(Stream& stream, DeviceMemory& memory,
                                                                  const CacheLayout& layout, const CudaOptions& options,
                                                                  int max_rows);
  // Before Attend, once the pool is there. UNIMPLEMENTED when what ScoreKernel::kFast needs is missing.
  absl::Status Attach(const CachePool& pool);
  StrideAttention* stride_attention() { return stride_.get(); }  // null: the device or the mode has none

  // The slices' keys and values are in the cache already. q, out: [rows of the step, heads * head_dim]. host_slices:
  // what tables.slices holds from first_slice on; only numbers of rows are read. Adds the slices' scores. Dead slices'
  // rows of out are left alone.
  void Attend(Stream& stream, const CachePool& pool, const StepTables& tables, int first_slice,
              std::span<const StepSlice> host_slices, int layer, TensorView q, TensorView out);

 private:
  PrefillAttention(const CacheLayout& layout, DType compute) : layout_(layout), compute_(compute) {}
  void AttendPart(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part, int layer,
                  TensorView q, TensorView out);

  const CacheLayout layout_;
  const DType compute_;
  AttentionScratch scratch_ = {};
  std::unique_ptr<StrideAttention> stride_;  // null: there is none
  bool required_ = false;                    // it is not to be done without
};

}  // namespace cascade::kernels::cuda
