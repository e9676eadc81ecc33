// What a launch of linear_skinny multiplies, and how its blocks bring x to their shared memory. Device code only.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/linear_targets.h"

namespace cascade::kernels::cuda {

inline constexpr int kSkinnyWarps = 8;
inline constexpr int kSkinnyThreads = 32 * kSkinnyWarps;

struct SkinnyCall {
  LinearTargets targets;
  const void* x;      // [rows, cols], or float32 with a gain
  const float* gain;  // null: x is what is multiplied
  float eps;
  int rows;
  int cols;
  bool gated;      // an item is 8 rows of target 0 and the same 8 rows of target 1
  int part_units;  // x is in shared memory as parts of so many fragments' columns
  int parts;
  int slots;  // of a warp's ring: kFewestSlots or twice as many
};

template <class T>
__device__ uint4 PackChunk(const float (&v)[8]) {
  return make_uint4(Pack<T>(v[0], v[1]), Pack<T>(v[2], v[3]), Pack<T>(v[4], v[5]), Pack<T>(v[6], v[7]));
}

__device__ inline void LoadChunk(const float* from, float (&v)[8]) {
  const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
  v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
  v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

// squares[row][warp]: sums of the warps' shares of x's rows.
__device__ inline void SumSquares(const SkinnyCall& call, float (*squares)[kSkinnyWarps]) {
  const float* x = static_cast<const float*>(call.x);
  for (int row = 0; row < call.rows; ++row) {
    float sum = 0;
#pragma unroll 4
    for (int column = 4 * threadIdx.x; column < call.cols; column += 4 * kSkinnyThreads) {
      const float4 v = *reinterpret_cast<const float4*>(x + static_cast<int64_t>(row) * call.cols + column);
      sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    sum = WarpSum(sum);
    if (threadIdx.x % 32 == 0) squares[row][threadIdx.x / 32] = sum;
  }
}

// Of a single row that fits the threads' registers: the gains are read before the kernel before this one has ended, x
// once.
template <class F>
class RowNorm {
 public:
  static constexpr int kChunks = 2;  // of 8 columns, of a thread
  static __device__ bool Takes(const SkinnyCall& call) {
    return call.gain != nullptr && call.rows == 1 && call.parts == 1 && call.cols <= kChunks * kSkinnyThreads * 8;
  }
  __device__ void LoadGains(const SkinnyCall& call) { Load(call.gain, call.cols, gain_); }

  // As LoadPart of all columns. squares: [kSkinnyWarps]
  template <class T>
  __device__ void LoadRow(const SkinnyCall& call, int columns, float* squares, unsigned char* shared) {
    float x[kChunks][8];
    Load(static_cast<const float*>(call.x), call.cols, x);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) sum += x[i][j] * x[i][j];
    }
    sum = WarpSum(sum);
    if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = sum;
    SyncBlock();
    sum = 0;
    for (int warp = 0; warp < kSkinnyWarps; ++warp) sum += squares[warp];
    const float scale = 1.0f / sqrtf(sum / static_cast<float>(call.cols) + call.eps);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int chunk = static_cast<int>(threadIdx.x) + i * kSkinnyThreads;
      if (chunk >= columns / 8) continue;
      for (int j = 0; j < 8; ++j) x[i][j] = x[i][j] * scale * gain_[i][j];
      const int place = chunk / F::kChunks * F::kChunks + F::ChunkPlace(chunk % F::kChunks);
      *reinterpret_cast<uint4*>(shared + place * 16) = PackChunk<T>(x[i]);
    }
  }

 private:
  static __device__ void Load(const float* from, int cols, float (&to)[kChunks][8]) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int column = 8 * (static_cast<int>(threadIdx.x) + i * kSkinnyThreads);
      for (float& value : to[i]) value = 0;
      if (column < cols) LoadChunk(from + column, to[i]);
    }
  }
  float gain_[kChunks][8];
};

// Brings columns [begin, begin + columns) of x, normalised, to shared memory, zeros where x ends.
template <class F, class T>
__device__ void LoadPart(const SkinnyCall& call, int begin, int columns, int row_bytes,
                         const float (*squares)[kSkinnyWarps], unsigned char* shared) {
  constexpr int kChunks = F::kChunks;
  for (int row = 0; row < call.rows; ++row) {
    float sum = 0;
    for (int warp = 0; warp < kSkinnyWarps; ++warp) sum += squares[row][warp];
    const float scale = 1.0f / sqrtf(sum / static_cast<float>(call.cols) + call.eps);
#pragma unroll 2
    for (int chunk = threadIdx.x; chunk < columns / 8; chunk += kSkinnyThreads) {
      const int column = begin + 8 * chunk;
      const int64_t at = static_cast<int64_t>(row) * call.cols + column;
      uint4 value = make_uint4(0, 0, 0, 0);
      if (column < call.cols) {
        float v[8], gain[8];
        LoadChunk(static_cast<const float*>(call.x) + at, v);
        LoadChunk(call.gain + column, gain);
        for (int i = 0; i < 8; ++i) v[i] = v[i] * scale * gain[i];
        value = PackChunk<T>(v);
      }
      const int place = chunk / kChunks * kChunks + F::ChunkPlace(chunk % kChunks);
      *reinterpret_cast<uint4*>(shared + row * row_bytes + place * 16) = value;
    }
  }
}

// The same of an x that is what is multiplied.
template <class F, class T>
__device__ void CopyPart(const SkinnyCall& call, int begin, int columns, int row_bytes, unsigned char* shared) {
  constexpr int kChunks = F::kChunks;
  const int chunks = columns / 8;
  for (int i = threadIdx.x; i < call.rows * chunks; i += kSkinnyThreads) {
    const int row = i / chunks, chunk = i % chunks;
    const int column = begin + 8 * chunk;
    const int place = chunk / kChunks * kChunks + F::ChunkPlace(chunk % kChunks);
    CopyAsync16(shared + row * row_bytes + place * 16,
                static_cast<const T*>(call.x) + static_cast<int64_t>(row) * call.cols + column, column < call.cols);
  }
  CommitCopies();
  WaitCopies<0>();
}

}  // namespace cascade::kernels::cuda
