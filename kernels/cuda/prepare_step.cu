#include "kernels/cuda/prepare_step.h"

#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// The slice of each of the rows [first, last] that there are: every thread looks at some of the slices. By the block.
__device__ void FindSlices(const PrepareInput& in, int first, int last, int* slice_of_row) {
  const int end = last < in.num_rows ? last + 1 : in.num_rows;
  for (int row = first + static_cast<int>(threadIdx.x); row < end; row += kThreads) slice_of_row[row - first] = -1;
  SyncBlock();
  for (int s = static_cast<int>(threadIdx.x); s < in.num_slices; s += kThreads) {
    const int begin = in.slices[s].first_row;
    const int stop = begin + in.slices[s].num_rows;
    for (int row = begin > first ? begin : first; row < stop && row < end; ++row) slice_of_row[row - first] = s;
  }
  SyncBlock();
}

// The id that a slice's row is fed with; negative: the row is dead.
__device__ int32_t ResolveId(const PrepareInput& in, const StepSlice& slice, int row) {
  if (slice.slot < 0) return -1;
  const int32_t id = in.ids_in[row];
  if (id != kSampledId) return id;
  const int32_t last = in.last_id[slice.slot];
  return in.ended[slice.slot] == 0 ? last : -1;
}

__device__ void PrepareRows(const CacheLayout& layout, const PrepareInput& in, double log_decay, int first,
                            int* slice_of_row) {
  FindSlices(in, first, first + kThreads - 1, slice_of_row);
  const int row = first + static_cast<int>(threadIdx.x);
  if (row < in.num_samples) {
    const int s = in.sample_slices[row];
    in.sample_live[row] = s >= 0 && ResolveId(in, in.slices[s], in.slices[s].first_row) >= 0;
  }
  if (row >= in.num_rows || slice_of_row[threadIdx.x] < 0) return;
  const int s = slice_of_row[threadIdx.x];
  const StepSlice slice = in.slices[s];
  const int32_t id = ResolveId(in, slice, row);
  if (row == slice.first_row) in.live[s] = id >= 0;
  in.ids[row] = id >= 0 ? id : 0;
  in.row_slices[row] = s;
  const int after = layout.stride - 1 - (slice.open_place + row - slice.first_row);
  in.weights[row] = slice.sinks != 0 ? 0.0f : static_cast<float>(exp(log_decay * after));
}

__device__ void PrepareTurns(const CacheLayout& layout, const PrepareInput& in, const double* frequency, int64_t first,
                             int* slice_of_row) {
  const int half = layout.head_dim / 2;
  const int of_row = layout.num_segments * half;
  const int first_row = static_cast<int>(first / of_row);
  const int last_row = static_cast<int>((first + kThreads - 1) / of_row);
  FindSlices(in, first_row, last_row, slice_of_row);
  const int64_t index = first + threadIdx.x;
  const int row = static_cast<int>(index / of_row);
  if (row >= in.num_rows || slice_of_row[row - first_row] < 0) return;
  const int segment_index = static_cast<int>(index % of_row) / half;
  const int pair = static_cast<int>(index % half);
  const int s = slice_of_row[row - first_row];
  const StepSegment segment = in.segments[s * layout.num_segments + segment_index];
  if (segment.count == 0 && segment.grows == 0) return;
  const int64_t position = segment.query_position + row - in.slices[s].first_row;
  double sine, cosine;
  sincos(static_cast<double>(position) * frequency[pair], &sine, &cosine);
  in.turns[index] = make_float2(static_cast<float>(cosine), static_cast<float>(sine));
}

// Grid: first the blocks of rows and samples, a thread for each, then those of turns, a thread per (row, segment,
// pair). The first are chains of loads, the second of double arithmetic: side by side they take as long as one.
__global__ void __launch_bounds__(kThreads)
    PrepareKernel(CachePool pool, PrepareInput in, int row_blocks, double log_decay) {
  __shared__ int slice_of_row[kThreads];
  WaitForPrevious();
  AllowNext();
  const int block = static_cast<int>(blockIdx.x);
  if (block < row_blocks) {
    PrepareRows(pool.layout, in, log_decay, block * kThreads, slice_of_row);
  } else {
    PrepareTurns(pool.layout, in, pool.frequency, static_cast<int64_t>(block - row_blocks) * kThreads, slice_of_row);
  }
}

}  // namespace

void PrepareStep(Stream& stream, const CachePool& pool, const PrepareInput& in) {
  const CacheLayout& layout = pool.layout;
  CASCADE_CHECK(in.num_rows >= 0 && in.num_slices <= in.num_rows);
  const int row_blocks = (std::max(in.num_rows, in.num_samples) + kThreads - 1) / kThreads;
  const int64_t turns = int64_t{in.num_rows} * layout.num_segments * (layout.head_dim / 2);
  const int64_t blocks = row_blocks + (turns + kThreads - 1) / kThreads;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads), .overlap = true};
  stream.Launch("PrepareStep", PrepareKernel, shape, pool, in, row_blocks, std::log(layout.ema_decay));
}

}  // namespace cascade::kernels::cuda
