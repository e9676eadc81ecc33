#include "kernels/cuda/attention_decode_scores.h"

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBatch = 4;
constexpr int kHeads = 4;
constexpr int kChunkUnits = kThreads / kUnitKeys * kBatch;

// Grid: [chunks of 1,024 keys, KV heads, layers * slices]: the scores of one chunk.
__global__ void __launch_bounds__(kThreads)
    DecodeScoresKernel(const __grid_constant__ DecodeArguments a, const int num_slices) {
  __shared__ VisiblePieces visible;
  __shared__ RowSoftmax softmax;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x);
  const int slice_index = static_cast<int>(blockIdx.z) % num_slices;
  const int layer = a.layer + static_cast<int>(blockIdx.z) / num_slices;
  const int row = a.first_row + slice_index, kv_head = static_cast<int>(blockIdx.y);
  const StepSlice slice = a.tables.slices[row];
  if (a.tables.live[row] == 0 || slice.sinks != 0) return;
  const size_t pending_index = static_cast<size_t>(blockIdx.z) * layout.num_kv_heads + kv_head;
  if (thread < 32) {
    FindPieces(layout, a.tables.segments + static_cast<size_t>(row) * layout.num_segments, visible);
  } else if (thread < 32 + layout.group) {
    const float2 of_head = a.scratch.softmax[pending_index * layout.group + thread - 32];
    softmax.maximum[thread - 32] = of_head.x;
    softmax.inverse[thread - 32] = of_head.y;
  }
  SyncBlock();
  const int first_unit = static_cast<int>(blockIdx.x) * kChunkUnits;
  if (first_unit >= visible.units) return;
  const ScoreTarget target = {layout, a.pool.Block(slice.slot, layer, kv_head),
                              layout.first_entry[1] + static_cast<int>(slice.write_slot), slice.open_place == 0,
                              a.tables.weights[row]};
  ScoreBatch<kBatch, kHeads> batch;
  UnitWalk walk;
  batch.Load(target, visible, walk, first_unit, visible.units, 0);
  const float* logits = a.scratch.logits + pending_index * layout.group * a.scratch.key_stride;
  batch.Add(target, {nullptr, 0, 0, logits, a.scratch.key_stride}, softmax);
}

}  // namespace

void LaunchDecodeScores(Stream& stream, const DecodeArguments& arguments, int num_slices, int layers) {
  const CacheLayout& layout = arguments.pool.layout;
  const int chunks = (MaxUnits(layout) + kChunkUnits - 1) / kChunkUnits;
  const LaunchShape shape = {
      .grid = dim3(chunks, layout.num_kv_heads, num_slices * layers), .block = dim3(kThreads), .overlap = true};
  stream.Launch("AppendAndAttend", DecodeScoresKernel, shape, arguments, num_slices);
}

}  // namespace cascade::kernels::cuda
