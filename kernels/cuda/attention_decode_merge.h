// The end of decode attention's outputs: of a block's warps, and of the blocks that share a (slice, KV head), which are
// a cluster or leave their parts to the last of them. Device code only.
#pragma once

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_warp.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

// What the warps have found: their sums become the block's, and factors by which their outputs count. By the block.
__device__ inline void MergeWarps(const CacheLayout& layout, DecodeState& state) {
  const int head = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / 32;
  if (head < layout.group) {
    float largest = -kInfinity, total = 0;
    for (int w = 0; w < warps; ++w) largest = fmaxf(largest, state.maximum[w][head]);
    for (int w = 0; w < warps; ++w) {
      // A warp without units has -infinity; so has a block without units.
      const float factor = state.sum[w][head] == 0.0f ? 0.0f : Exp2(state.maximum[w][head] - largest);
      state.factor[w][head] = factor;
      total += state.sum[w][head] * factor;
    }
    state.own_sums[head] = make_float2(largest, total);
    state.softmax.maximum[head] = largest;
    state.softmax.inverse[head] = 1.0f / total;
  }
  SyncBlock();
}

// The block's sum of exp2(logit - largest) * value, of elements d and d + 1 of a query head.
template <int kRow>
__device__ float2 BlockOut(const DecodeState& state, const unsigned char* stages, size_t warp_bytes, int head, int d) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  float2 total = make_float2(0, 0);
#pragma unroll 4
  for (int w = 0; w < warps; ++w) {
    const float* from = reinterpret_cast<const float*>(stages + w * warp_bytes) + head * (kRow + 4) + d;
    total.x += from[0] * state.factor[w][head];
    total.y += from[1] * state.factor[w][head];
  }
  return total;
}

// Of a cluster, by its blocks together: outputs, of which each block writes a part, and the row's softmax.
template <class T, int kRow>
__device__ void MergeCluster(const CacheLayout& layout, DecodeState& state, const unsigned char* stages,
                             size_t warp_bytes, int blocks, float2* block_out, T* out) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int group = layout.group, pairs = layout.head_dim / 2;
  for (int i = thread; i < group * pairs; i += threads) {
    block_out[i] = BlockOut<kRow>(state, stages, warp_bytes, i / pairs, i % pairs * 2);
  }
  SyncCluster();
  for (int i = thread; i < blocks * group; i += threads) {
    state.all_sums[i / group][i % group] = LoadFromBlock(state.own_sums + i % group, i / group);
  }
  SyncBlock();
  if (thread < group) {
    float largest = -kInfinity, total = 0;
    for (int b = 0; b < blocks; ++b) largest = fmaxf(largest, state.all_sums[b][thread].x);
    for (int b = 0; b < blocks; ++b) {
      float2& sums = state.all_sums[b][thread];
      sums.x = sums.y == 0.0f ? 0.0f : Exp2(sums.x - largest);
      total += sums.y * sums.x;
    }
    state.softmax.maximum[thread] = largest;
    state.softmax.inverse[thread] = 1.0f / total;
  }
  SyncBlock();
  const int rank = ClusterRank();
  for (int i = group * pairs * rank / blocks + thread; i < group * pairs * (rank + 1) / blocks; i += threads) {
    const int g = i / pairs;
    float2 total = make_float2(0, 0);
#pragma unroll 8
    for (int b = 0; b < blocks; ++b) {
      const float2 part = LoadFromBlock(block_out + i, b);
      total.x += part.x * state.all_sums[b][g].x;
      total.y += part.y * state.all_sums[b][g].x;
    }
    const float inverse = state.softmax.inverse[g];
    *reinterpret_cast<uint32_t*>(out + 2 * i) = Pack<T>(total.x * inverse, total.y * inverse);
  }
}

// Of several splits: what the block leaves to the last one.
template <int kRow>
__device__ void StorePartial(const DecodeArguments& a, const DecodeState& state, const unsigned char* stages,
                             size_t warp_bytes, size_t partial) {
  const CacheLayout& layout = a.pool.layout;
  const int pairs = layout.head_dim / 2;
  float2* outs = reinterpret_cast<float2*>(a.scratch.outs) + partial * layout.group * pairs;
  for (int i = static_cast<int>(threadIdx.x); i < layout.group * pairs; i += static_cast<int>(blockDim.x)) {
    outs[i] = BlockOut<kRow>(state, stages, warp_bytes, i / pairs, i % pairs * 2);
  }
  const int head = static_cast<int>(threadIdx.x);
  if (head < layout.group) a.scratch.sums[partial * layout.group + head] = state.own_sums[head];
}

// By a block: whether it is the last of the splits to leave its part; all parts may be read then.
__device__ inline bool IsLastSplit(const DecodeArguments& a, size_t head_index, DecodeState& state) {
  SyncBlock();
  if (threadIdx.x == 0) {
    unsigned* arrivals = a.scratch.arrivals + head_index;
    state.is_last = AddAndPublish(arrivals, 1u) == static_cast<unsigned>(a.splits - 1);
    if (state.is_last) *arrivals = 0;
  }
  SyncBlock();
  return state.is_last;
}

// By the block that is last: outputs of the splits' partial ones, in their order, and the row's softmax for its scores.
template <class T>
__device__ void MergeSplits(const DecodeArguments& a, size_t head_index, T* out, float2* softmax, float* factors) {
  constexpr int kBatch = 8;
  const int group = a.pool.layout.group, pairs = a.pool.layout.head_dim / 2;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const float2* sums = a.scratch.sums + head_index * a.splits * group;
  const float2* partial = reinterpret_cast<const float2*>(a.scratch.outs) + head_index * a.splits * group * pairs;
  // The first ones are on their way while the softmax is found.
  float2 next[kBatch];
  const auto load = [&](int first, int i) {
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      next[j] = first + j < a.splits && i < group * pairs
                    ? __ldcg(partial + static_cast<size_t>(first + j) * group * pairs + i)
                    : make_float2(0, 0);
    }
  };
  load(0, thread);
  for (int g = warp; g < group; g += static_cast<int>(blockDim.x) / 32) {
    float2 own[kDecodeMaxSplits / 32];
    float largest = -kInfinity;
#pragma unroll
    for (int i = 0; i < kDecodeMaxSplits / 32; ++i) {
      const int split = lane + 32 * i;
      own[i] = split < a.splits ? __ldcg(sums + split * group + g) : make_float2(0, 0);
      if (own[i].y != 0) largest = fmaxf(largest, own[i].x);
    }
    largest = WarpMax(largest);
    float total = 0;
#pragma unroll
    for (int i = 0; i < kDecodeMaxSplits / 32; ++i) {
      own[i].x = own[i].y == 0 ? 0.0f : Exp2(own[i].x - largest);  // a split may have seen nothing
      total += own[i].y * own[i].x;
    }
    total = WarpSum(total);
    const float inverse = 1.0f / total;
#pragma unroll
    for (int i = 0; i < kDecodeMaxSplits / 32; ++i) {
      const int split = lane + 32 * i;
      if (split < a.splits) factors[split * group + g] = own[i].x * inverse;
    }
    if (lane == 0) softmax[g] = make_float2(largest, inverse);
  }
  SyncBlock();
  for (int i = thread; i < group * pairs; i += static_cast<int>(blockDim.x)) {
    const int g = i / pairs;
    float2 total = make_float2(0, 0);
    for (int first = 0; first < a.splits; first += kBatch) {
      if (first > 0 || i != thread) load(first, i);
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const float factor = first + j < a.splits ? factors[(first + j) * group + g] : 0.0f;
        total.x += next[j].x * factor;
        total.y += next[j].y * factor;
      }
    }
    *reinterpret_cast<uint32_t*>(out + 2 * i) = Pack<T>(total.x, total.y);
  }
}

}  // namespace cascade::kernels::cuda
