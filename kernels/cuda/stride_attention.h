// Attention of a part's rows and their scores by kernels for one kind of device, where there are any: what
// PrefillAttention uses instead of its own kernels.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention_part.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda_backend.h"
#include "kernels/dtype.h"

namespace cascade::kernels::cuda {

// Rows of a tile, with all queries of a KV head's group: what work and the memory between kernels is cut into.
inline int RowsOfTile(const CacheLayout& layout) { return 128 / layout.group; }
inline int TilesOfRows(const CacheLayout& layout, int rows) {
  return (rows + RowsOfTile(layout) - 1) / RowsOfTile(layout);
}

// One thread; one stream.
class StrideAttention {
 public:
  virtual ~StrideAttention() = default;

  // The pool is there now. UNIMPLEMENTED when the driver is too old, INTERNAL when it does not take the pool's shape.
  virtual absl::Status Attach(const CachePool& pool, const AttentionScratch& scratch) = 0;

  // From what RotateQueries left in the scratch: writes the rows' outputs and lse, and adds their scores
  // (attention_scores.h). The part has at most as many tiles of rows, over all slices, as scratch.rows have.
  virtual void Attend(Stream& stream, const StepTables& tables, const AttentionPart& part, int layer, void* out) = 0;

  // Whether there are kernels that predict.
  virtual bool predicts() const = 0;
  // Whether Attend has predicted anything since the last call of TakeCertificates, which copies what there is to know
  // of it to pinned memory, as part of the stream's work.
  virtual bool HasCertificates() const = 0;
  virtual void TakeCertificates(Stream& stream, ScoreCertificates* pinned) = 0;
};

// Of the memory between its kernels, per row of the scratch; 0: the device, the shape or the mode has none.
int64_t StrideAttentionRowBytes(const DeviceTraits& traits, const CacheLayout& layout, const CudaOptions& options);

// scratch_rows: AttentionScratch::rows. RESOURCE_EXHAUSTED when there is no memory; null when there is no such kernel.
absl::StatusOr<std::unique_ptr<StrideAttention>> MakeStrideAttention(Stream& stream, DeviceMemory& memory,
                                                                     const CacheLayout& layout,
                                                                     const CudaOptions& options, int scratch_rows);

}  // namespace cascade::kernels::cuda
