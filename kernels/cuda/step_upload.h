// A step's integers on their way to the device: checked, packed into one pinned buffer, copied at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/step_tables.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// Where things lie on the device depends on the numbers of slices, rows and samples only, so that kernels recorded for
// these numbers find the next step's tables where they found the last one's. One thread.
class StepUpload {
 public:
  // `buffers` steps may be packed before the first one's copy is done.
  static absl::StatusOr<std::unique_ptr<StepUpload>> Create(DeviceMemory& memory, const CacheLayout& layout,
                                                            int max_rows, int buffers);
  ~StepUpload();

  // CHECKs the step and keeps a copy. With one-row slices first, unless deterministic.
  void Pack(int buffer, const StepInput& input, int num_slots, bool deterministic);
  int num_rows() const { return num_rows_; }
  int num_slices() const { return static_cast<int>(slices_.size()); }
  // Slices at the begin that have one row, that of their own index.
  int one_row_slices() const { return one_row_slices_; }
  // The slice of a slot's scored rows; -1: the step has none.
  int SliceOf(int slot) const;

  // Copies the step, padded with dead slices of one row and dead samples, to the device.
  StepTables Upload(Stream& stream, int buffer, int num_slices, int num_rows);
  // The step's first kernel: fills the tables.
  void Prepare(Stream& stream, const CachePool& pool, const SampleState& state, int num_slices, int num_rows);
  // As padded by Upload.
  std::span<const StepSlice> host_slices(int num_slices) const {
    return {padded_.data(), static_cast<size_t>(num_slices)};
  }
  int sample_rows(int num_rows) const { return num_samples_ + num_rows - num_rows_; }
  const SampleRequest* samples() const { return device_samples_; }
  const int32_t* sample_live() const { return sample_live_; }

 private:
  explicit StepUpload(const CacheLayout& layout) : layout_(layout) {}

  const CacheLayout layout_;
  int max_rows_ = 0;
  std::vector<unsigned char*> pinned_;
  unsigned char* packed_ = nullptr;  // on the device
  size_t packed_bytes_ = 0;
  int32_t* live_ = nullptr;
  int32_t* ids_ = nullptr;
  int32_t* row_slices_ = nullptr;
  float* weights_ = nullptr;
  float2* turns_ = nullptr;
  int32_t* sample_live_ = nullptr;

  std::vector<StepSlice> slices_, padded_;
  std::vector<StepSegment> segments_;
  std::vector<int32_t> row_ids_;
  std::vector<SampleRequest> samples_;
  std::vector<int32_t> sample_slices_;
  std::vector<int> slice_of_slot_;
  int num_rows_ = 0;
  int num_samples_ = 0;
  int one_row_slices_ = 0;
  // Of the step that was uploaded last.
  StepTables tables_ = {};
  const int32_t* device_ids_ = nullptr;
  const SampleRequest* device_samples_ = nullptr;
  const int32_t* device_sample_slices_ = nullptr;
};

}  // namespace cascade::kernels::cuda
