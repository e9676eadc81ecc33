#include <limits>

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_scores.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBatch = 4;
constexpr int kChunkUnits = kThreads / kUnitKeys * kBatch;
constexpr int kOutBatch = 4;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Grid: [1 + chunks of 1,024 keys, KV heads, slices]: block 0 of a head makes its outputs from the splits' partial
// ones, the others the scores of their chunk; each finds the softmax of the whole row for itself.
template <class T>
__global__ void __launch_bounds__(kThreads) CombineKernel(const __grid_constant__ DecodeArguments a) {
  __shared__ VisiblePieces visible;
  __shared__ RowSoftmax softmax;
  __shared__ float factors[kDecodeMaxSplits * kMaxGroup];  // [splits][G]
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int row = a.first_row + static_cast<int>(blockIdx.z), kv_head = static_cast<int>(blockIdx.y);
  const int group = layout.group, head_dim = layout.head_dim;
  const size_t head_index = static_cast<size_t>(blockIdx.z) * layout.num_kv_heads + kv_head;  // in the scratch

  // Before WaitForPrevious, as in the kernel before, which writes no scores but the new entry's: they are on their way
  // while it ends.
  const StepSlice slice = a.tables.slices[row];
  const bool scores = blockIdx.x > 0;
  const int first_unit = (static_cast<int>(blockIdx.x) - 1) * kChunkUnits;
  bool idle = a.tables.live[row] == 0 || (scores && slice.sinks != 0);
  if (scores && !idle) {
    if (warp == 0) {
      FindPieces(layout, a.tables.segments + static_cast<size_t>(row) * layout.num_segments, visible);
    }
    SyncBlock();
    idle = first_unit >= visible.units;
  }
  if (idle) {
    WaitForPrevious();
    return;
  }
  const int new_segment = slice.sinks != 0 ? 0 : 1;
  const ScoreTarget target = {layout, a.pool.Block(slice.slot, a.layer, kv_head),
                              layout.first_entry[new_segment] + static_cast<int>(slice.write_slot),
                              slice.open_place == 0, a.tables.weights[row]};
  ScoreBatch<kBatch> batch;
  UnitWalk walk;
  if (scores) batch.Load(target, visible, walk, first_unit, visible.units);
  WaitForPrevious();
  AllowNext();

  const float2* sums = a.scratch.sums + head_index * a.splits * group;
  for (int g = warp; g < group; g += kThreads / 32) {
    float2 own[kDecodeMaxSplits / 32];
    float largest = -kInfinity;
#pragma unroll
    for (int i = 0; i < kDecodeMaxSplits / 32; ++i) {
      const int split = lane + 32 * i;
      own[i] = make_float2(0, 0);
      if (split < a.splits) own[i] = sums[split * group + g];
      if (own[i].y != 0) largest = fmaxf(largest, own[i].x);
    }
    largest = WarpMax(largest);
    float total = 0;
#pragma unroll
    for (int i = 0; i < kDecodeMaxSplits / 32; ++i) {
      const int split = lane + 32 * i;
      const float factor = own[i].y == 0 ? 0.0f : Exp2(own[i].x - largest);  // a split may have seen nothing
      if (split < a.splits) factors[split * group + g] = factor;
      total += own[i].y * factor;
    }
    total = WarpSum(total);
    if (lane == 0) {
      softmax.maximum[g] = largest;
      softmax.inverse[g] = 1.0f / total;
    }
  }
  SyncBlock();

  if (scores) {
    const float* logits = a.scratch.logits + head_index * group * a.scratch.key_stride;
    batch.Add(target, {nullptr, 0, 0, logits, a.scratch.key_stride}, softmax);
    return;
  }
  const int pairs = group * head_dim / 2;
  const float2* partial = reinterpret_cast<const float2*>(a.scratch.outs) + head_index * a.splits * pairs;
  uint32_t* out = static_cast<uint32_t*>(a.out) + (static_cast<size_t>(row) * layout.num_kv_heads + kv_head) * pairs;
  for (int i = thread; i < pairs; i += kThreads) {
    const int g = 2 * i / head_dim;
    float2 total = make_float2(0, 0);
    for (int first = 0; first < a.splits; first += kOutBatch) {
      float2 next[kOutBatch];
#pragma unroll
      for (int j = 0; j < kOutBatch; ++j) {
        next[j] = make_float2(0, 0);
        if (first + j < a.splits) next[j] = partial[static_cast<size_t>(first + j) * pairs + i];
      }
#pragma unroll
      for (int j = 0; j < kOutBatch; ++j) {
        const float factor = first + j < a.splits ? factors[(first + j) * group + g] : 0.0f;
        total.x += next[j].x * factor;
        total.y += next[j].y * factor;
      }
    }
    const float inverse = softmax.inverse[g];
    out[i] = Pack<T>(total.x * inverse, total.y * inverse);
  }
}

template <class T>
void Launch(Stream& stream, const DecodeArguments& arguments, int num_slices) {
  const CacheLayout& layout = arguments.pool.layout;
  const int chunks = (MaxUnits(layout) + kChunkUnits - 1) / kChunkUnits;
  const LaunchShape shape = {
      .grid = dim3(1 + chunks, layout.num_kv_heads, num_slices), .block = dim3(kThreads), .overlap = true};
  stream.Launch("AppendAndAttend", CombineKernel<T>, shape, arguments);
}

}  // namespace

void LaunchCombine(Stream& stream, const DecodeArguments& arguments, int num_slices, DType type) {
  if (type == DType::kBF16) return Launch<Bf16>(stream, arguments, num_slices);
  Launch<Half>(stream, arguments, num_slices);
}

}  // namespace cascade::kernels::cuda
