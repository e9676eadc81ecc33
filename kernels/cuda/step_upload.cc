#include "kernels/cuda/step_upload.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cache_checks.h"
#include "kernels/cuda/prepare_step.h"

namespace cascade::kernels::cuda {
namespace {

size_t Aligned(size_t bytes) { return (bytes + 15) / 16 * 16; }

// Offsets of the packed arrays.
struct Packing {
  size_t slices, segments, ids, samples, sample_slices, bytes;

  Packing(int num_slices, int num_segments, int num_rows, int num_samples) {
    size_t at = 0;
    const auto place = [&at](int count, size_t size) {
      const size_t begin = at;
      at += Aligned(static_cast<size_t>(count) * size);
      return begin;
    };
    slices = place(num_slices, sizeof(StepSlice));
    segments = place(num_slices * num_segments, sizeof(StepSegment));
    ids = place(num_rows, sizeof(int32_t));
    samples = place(num_samples, sizeof(SampleRequest));
    sample_slices = place(num_samples, sizeof(int32_t));
    bytes = at;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<StepUpload>> StepUpload::Create(DeviceMemory& memory, const CacheLayout& layout,
                                                               int max_rows, int buffers) {
  auto upload = std::unique_ptr<StepUpload>(new StepUpload(layout));
  upload->max_rows_ = max_rows;
  upload->packed_bytes_ = Packing(max_rows, layout.num_segments, max_rows, max_rows).bytes;
  const size_t rows = static_cast<size_t>(max_rows);
  absl::Status status;
  const auto take = [&](auto*& member, size_t count) {
    using T = std::remove_reference_t<decltype(*member)>;
    absl::StatusOr<T*> array = memory.AllocateArray<T>("step tables", count);
    if (array.ok()) {
      member = *array;
    } else {
      status = array.status();
    }
  };
  take(upload->packed_, upload->packed_bytes_);
  take(upload->live_, rows);
  take(upload->ids_, rows);
  take(upload->row_slices_, rows);
  take(upload->weights_, rows);
  take(upload->sample_live_, rows);
  take(upload->turns_, rows * static_cast<size_t>(layout.num_segments) * static_cast<size_t>(layout.head_dim / 2));
  if (!status.ok()) return status;
  for (int i = 0; i < buffers; ++i) {
    void* pinned = nullptr;
    if (cudaMallocHost(&pinned, upload->packed_bytes_) != cudaSuccess) {
      return absl::ResourceExhaustedError(
          absl::StrCat("step tables: no pinned memory for ", upload->packed_bytes_, " bytes"));
    }
    upload->pinned_.push_back(static_cast<unsigned char*>(pinned));
  }
  return upload;
}

StepUpload::~StepUpload() {
  for (unsigned char* pinned : pinned_) cudaFreeHost(pinned);
}

void StepUpload::Pack(int buffer, const StepInput& input, int num_slots, bool deterministic) {
  slices_.clear();
  segments_.clear();
  sample_slices_.clear();
  slice_of_slot_.assign(static_cast<size_t>(num_slots), -1);
  num_rows_ = static_cast<int>(input.ids.size());
  num_samples_ = static_cast<int>(input.samples.size());
  CASCADE_CHECK(num_rows_ <= max_rows_ && num_samples_ <= max_rows_);
  row_ids_.assign(input.ids.begin(), input.ids.end());
  samples_.assign(input.samples.begin(), input.samples.end());
  int covered = 0;
  for (const Slice& slice : input.slices) {
    CheckSlice({layout_.segment_slots, static_cast<size_t>(layout_.num_segments)}, layout_.stride, slice);
    CASCADE_CHECK(slice.slot >= 0 && slice.slot < num_slots);
    // Scores of one slot are added slice by slice in time, so a step has at most one scored slice of a slot.
    int& of_slot = slice_of_slot_[static_cast<size_t>(slice.slot)];
    CASCADE_CHECK(slice.sinks || of_slot < 0);
    if (!slice.sinks || of_slot < 0) of_slot = static_cast<int>(slices_.size());
    slices_.push_back({.slot = slice.slot,
                       .first_row = slice.first_row,
                       .num_rows = slice.num_rows,
                       .sinks = slice.sinks,
                       .first_token = static_cast<uint32_t>(slice.first_token),
                       .open_place = slice.open_place,
                       .write_slot = slice.write_slot,
                       .unused = 0});
    for (const Segment& segment : slice.segments) {
      segments_.push_back({.query_position = segment.query_position,
                           .first_slot = segment.first_slot,
                           .count = segment.count,
                           .grows = segment.grows,
                           .unused = 0});
    }
    for (int row = 0; row < slice.num_rows && input.ids[slice.first_row] == kSampledId; ++row) {
      CASCADE_CHECK(slice.num_rows == 1);
    }
    covered += slice.num_rows;
  }
  CASCADE_CHECK(covered == num_rows_);
  // A slot's sinks and ring may be fed in one step, but not side by side: the second sees what the first stores.
  std::vector<bool> seen(static_cast<size_t>(num_slots), false);
  one_row_slices_ = 0;
  for (const StepSlice& slice : slices_) {
    const size_t slot = static_cast<size_t>(slice.slot);
    if (deterministic || slice.num_rows != 1 || slice.first_row != one_row_slices_ || seen[slot]) break;
    seen[slot] = true;
    ++one_row_slices_;
  }
  for (const SampleRequest& sample : samples_) {
    CASCADE_CHECK(sample.slot >= 0 && sample.slot < num_slots && SliceOf(sample.slot) >= 0);
    sample_slices_.push_back(SliceOf(sample.slot));
  }
}

int StepUpload::SliceOf(int slot) const { return slice_of_slot_[static_cast<size_t>(slot)]; }

StepTables StepUpload::Upload(Stream& stream, int buffer, int num_slices, int num_rows) {
  padded_ = slices_;
  while (static_cast<int>(padded_.size()) < num_slices) {
    const int row = num_rows_ + static_cast<int>(padded_.size()) - this->num_slices();
    StepSlice padding = {};
    padding.slot = -1;
    padding.first_row = row;
    padding.num_rows = 1;
    padded_.push_back(padding);
  }
  const int num_samples = sample_rows(num_rows);
  std::vector<SampleRequest> samples = samples_;
  samples.resize(static_cast<size_t>(num_samples), SampleRequest{.slot = -1});
  std::vector<int32_t> sample_slices = sample_slices_;
  sample_slices.resize(static_cast<size_t>(num_samples), -1);
  std::vector<int32_t> ids = row_ids_;
  ids.resize(static_cast<size_t>(num_rows), 0);
  std::vector<StepSegment> segments = segments_;
  segments.resize(static_cast<size_t>(num_slices) * static_cast<size_t>(layout_.num_segments));

  const Packing packing(num_slices, layout_.num_segments, num_rows, num_samples);
  CASCADE_CHECK(packing.bytes <= packed_bytes_);
  unsigned char* pinned = pinned_[static_cast<size_t>(buffer)];
  const auto copy = [pinned](size_t at, const auto& values) {
    if (!values.empty()) std::memcpy(pinned + at, values.data(), values.size() * sizeof(values[0]));
  };
  copy(packing.slices, padded_);
  copy(packing.segments, segments);
  copy(packing.ids, ids);
  copy(packing.samples, samples);
  copy(packing.sample_slices, sample_slices);
  stream.CopyToDevice("step tables", packed_, pinned, packing.bytes);

  device_ids_ = reinterpret_cast<const int32_t*>(packed_ + packing.ids);
  device_samples_ = reinterpret_cast<const SampleRequest*>(packed_ + packing.samples);
  device_sample_slices_ = reinterpret_cast<const int32_t*>(packed_ + packing.sample_slices);
  tables_ = {.slices = reinterpret_cast<const StepSlice*>(packed_ + packing.slices),
             .segments = reinterpret_cast<const StepSegment*>(packed_ + packing.segments),
             .live = live_,
             .ids = ids_,
             .row_slices = row_slices_,
             .weights = weights_,
             .turns = turns_};
  return tables_;
}

void StepUpload::Prepare(Stream& stream, const CachePool& pool, const SampleState& state, int num_slices,
                         int num_rows) {
  PrepareStep(stream, pool,
              {.slices = tables_.slices,
               .segments = tables_.segments,
               .ids_in = device_ids_,
               .num_slices = num_slices,
               .num_rows = num_rows,
               .sample_slices = device_sample_slices_,
               .num_samples = sample_rows(num_rows),
               .last_id = state.last_id,
               .ended = state.ended,
               .live = live_,
               .ids = ids_,
               .row_slices = row_slices_,
               .weights = weights_,
               .turns = turns_,
               .sample_live = sample_live_});
}

}  // namespace cascade::kernels::cuda
