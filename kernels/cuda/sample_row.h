// What the kernels of sample.cu share: a row's scratch memory, weights as integers, scans over a block. Device code.
#pragma once

#include <climits>
#include <cmath>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

constexpr int kMaxSampleChunks = 128;  // of a row
constexpr float kGreedyBelow = 1e-5f;  // kernels/sampler.h
// A token's depth is how far its logit is below the largest one, divided by the temperature: its weight is e^-depth.
constexpr float kMaxDepth = 32.0f;  // from here on the weight is zero
constexpr float kBucketsPerDepth = 128.0f;
constexpr int kBuckets = 4096;  // kMaxDepth * kBucketsPerDepth

// What is known of a row when the last kernel chooses.
struct SampleRow {
  float largest[kMaxSampleChunks];  // by chunk of the vocabulary; NaN if a logit is
  int32_t first[kMaxSampleChunks];  // where
  uint64_t mass[kMaxSampleChunks];  // sum of weights
  uint64_t kept[kMaxSampleChunks];  // .. of those that min_p keeps
  uint64_t bucket_mass[kBuckets];   // by depth; only for filters
  uint32_t bucket_count[kBuckets];
};

__device__ inline bool IsGreedy(const SampleRequest& request) { return request.temperature < kGreedyBelow; }
__device__ inline bool HasTopK(const SampleRequest& request, int vocabulary) {
  return request.top_k > 0 && request.top_k < vocabulary;
}
__device__ inline bool HasFilter(const SampleRequest& request, int vocabulary) {
  return HasTopK(request, vocabulary) || request.top_p < 1.0f || request.min_p > 0.0f;
}

// Weights of a row's logits.
struct Weights {
  float largest;
  float inverse;  // 1 / temperature

  __device__ float Depth(float logit) const { return (largest - logit) * inverse; }
  __device__ static float Weight(float depth) { return expf(-depth); }
  // In units of 2^-42: rows of kMaxVocabulary tokens do not overflow.
  __device__ static uint64_t Mass(float depth) {
    return depth < kMaxDepth ? static_cast<uint64_t>(Weight(depth) * 0x1p42f) : 0;
  }
  // -1: too deep for any.
  __device__ static int Bucket(float depth) {
    return depth < kMaxDepth ? static_cast<int>(depth * kBucketsPerDepth) : -1;
  }
};

// Numbers of which the larger is the better rank: by logit, then by smaller id.
__device__ inline uint64_t RankOf(float logit, int32_t id) {
  const uint32_t bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);  // -0 ranks as 0
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | ~static_cast<uint32_t>(id);
}
__device__ inline float LogitOf(uint64_t rank) {
  const uint32_t ordered = static_cast<uint32_t>(rank >> 32);
  return __uint_as_float((ordered >> 31) != 0 ? ordered & 0x7FFFFFFFu : ~ordered);
}
__device__ inline int32_t IdOf(uint64_t rank) { return static_cast<int32_t>(~static_cast<uint32_t>(rank)); }

template <class T>
__device__ T WarpTotal(T value) {
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}

// Largest of the chunks' logits, NaN if one is. By every warp on its own.
__device__ inline float LargestLogit(const SampleRow& row, int chunks) {
  float largest = -INFINITY;
  bool nan = false;
  for (int i = threadIdx.x % 32; i < chunks; i += 32) {
    nan |= row.largest[i] != row.largest[i];
    largest = fmaxf(largest, row.largest[i]);
  }
  largest = WarpMax(largest);
  return Ballot(nan) != 0 ? NAN : largest;
}
__device__ inline bool IsFinite(float x) { return fabsf(x) <= 3.402823466e38f; }

// Of a block of whole warps, at most 32.
template <class T>
struct BlockScan {
  T warp_totals[32];

  // Sum of the values of the threads before; total: of all. All threads call it, and SyncBlock before the next one.
  __device__ T Before(T value, T& total) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T up_to = value;
    for (int delta = 1; delta < 32; delta *= 2) {
      const T below = ShuffleUp(up_to, delta);
      if (lane >= delta) up_to += below;
    }
    if (lane == 31) warp_totals[warp] = up_to;
    SyncBlock();
    const int warps = blockDim.x / 32;
    const T of_lane = lane < warps ? warp_totals[lane] : T(0);
    total = WarpTotal(of_lane);
    return WarpTotal(lane < warp ? of_lane : T(0)) + (up_to - value);
  }
  // The sum only.
  __device__ T Total(T value) {
    const int lane = threadIdx.x % 32;
    value = WarpTotal(value);
    if (lane == 0) warp_totals[threadIdx.x / 32] = value;
    SyncBlock();
    return WarpTotal(lane < static_cast<int>(blockDim.x / 32) ? warp_totals[lane] : T(0));
  }
};

}  // namespace cascade::kernels::cuda
