// What a warp of decode attention does with its units: tiles in shared memory, products, running softmax.
#pragma once

#include <limits>

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_scores.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The beginning of a block's shared memory. Behind it, 128-byte aligned: the warps' stages, the logits.
struct DecodeState {
  alignas(16) unsigned char new_key[kMaxHeadDim * 2], new_value[kMaxHeadDim * 2];
  VisiblePieces visible;
  float maximum[kDecodeMaxWarps][kMaxGroup];
  float sum[kDecodeMaxWarps][kMaxGroup];
  float factor[kDecodeMaxWarps][kMaxGroup];
  RowSoftmax softmax;
  float total[kMaxGroup];
};
inline constexpr size_t kDecodeStateBytes = (sizeof(DecodeState) + 127) / 128 * 128;

// Rows of 16 keys or values lie in shared memory with their chunks of 16 bytes exchanged within each 8, so that the 8
// rows of a matrix fall into different banks.
template <int kRow>
__device__ unsigned char* ChunkAt(unsigned char* tile, int row, int chunk) {
  return tile + row * (kRow * 2) + ((chunk ^ (row & 7)) * 16);
}

// By a warp. Chunks that only pad are left out; so is row `skip`.
template <int kRow>
__device__ void CopyTile(unsigned char* tile, const unsigned char* rows, const Unit& unit, int chunks, int skip) {
  constexpr int kChunks = kRow / 8;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  rows += static_cast<size_t>(unit.entry) * (kRow * 2);
#pragma unroll
  for (int i = 0; i < kUnitKeys * kChunks / 32; ++i) {
    const int index = i * 32 + lane;
    const int row = index / kChunks, chunk = index % kChunks;
    if (chunk < chunks && row != skip) {
      CopyAsync16(ChunkAt<kRow>(tile, row, chunk), rows + index * 16, row < unit.keys);
    }
  }
}

// By a warp: the new key's row, or value's, of a tile.
template <int kRow>
__device__ void PlaceNewRow(unsigned char* tile, const unsigned char* row, int place, int chunks) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < chunks) {
    *reinterpret_cast<uint4*>(ChunkAt<kRow>(tile, place, lane)) = reinterpret_cast<const uint4*>(row)[lane];
  }
  SyncWarp();
}

// Elements e and e + 1 (e even) of a head, turned.
template <class T>
__device__ float2 TurnedPair(const T* x, const float2* turns, int head_dim, bool interleaved, int e) {
  const float2 own = Unpack<T>(*reinterpret_cast<const uint32_t*>(x + e));
  if (interleaved) {
    const float2 turn = turns[e / 2];
    return make_float2(own.x * turn.x - own.y * turn.y, own.x * turn.y + own.y * turn.x);
  }
  const int half = head_dim / 2;
  const bool second = e >= half;
  const int pair = second ? e - half : e;
  const float2 other = Unpack<T>(*reinterpret_cast<const uint32_t*>(x + (second ? pair : pair + half)));
  const float4 turn = *reinterpret_cast<const float4*>(turns + pair);
  const float sign = second ? 1.0f : -1.0f;
  return make_float2(own.x * turn.x + sign * other.x * turn.y, own.y * turn.z + sign * other.y * turn.w);
}

// What a warp keeps in registers over its units. Keys and values are the left operands of products, 16 keys by 8 query
// heads and 16 elements by 8 query heads, so that nothing is spent on heads that are not there.
template <class T, int kRow, int kTiles>
struct WarpAttention {
  static constexpr int kSteps = kRow / 16;
  uint32_t query[kSteps][kTiles][2];  // of the current segment
  float out[kSteps][kTiles][4];
  float maximum[kTiles][2];
  float sum[kTiles][2];  // of the lane's keys only, until Finish

  __device__ WarpAttention() {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      for (int j = 0; j < 2; ++j) {
        maximum[tile][j] = -kInfinity;
        sum[tile][j] = 0;
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        for (float& x : out[step][tile]) x = 0;
      }
    }
  }

  // q: the row's first query head of the KV head. turns: of the row and segment.
  __device__ void TurnQuery(const CacheLayout& layout, const T* q, const float2* turns) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int head = tile * 8 + lane / 4, e = step * 16 + j * 8 + 2 * (lane % 4);
          uint32_t packed = 0;
          if (head < layout.group && e < layout.head_dim) {
            const float2 pair = TurnedPair(q + head * layout.head_dim, turns, layout.head_dim, layout.interleaved, e);
            packed = Pack<Bf16>(pair.x, pair.y);
          }
          query[step][tile][j] = packed;
        }
      }
    }
  }

  // logits: [tile]: {key lane / 4, head 2 (lane % 4)}, {.., + 1}, {key + 8, ..}, {key + 8, + 1}
  __device__ void Multiply(unsigned char* keys, int steps, float (&logits)[kTiles][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float odd[kTiles][4] = {};  // two chains of sums, which wait for each other less
    for (int tile = 0; tile < kTiles; ++tile) {
      for (float& x : logits[tile]) x = 0;
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step >= steps) break;
      uint32_t rows[4];
      LoadMatrices(rows, ChunkAt<kRow>(keys, lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        MultiplyAdd<Bf16>(step % 2 == 0 ? logits[tile] : odd[tile], rows, query[step][tile]);
      }
    }
    for (int tile = 0; tile < kTiles; ++tile) {
      for (int i = 0; i < 4; ++i) logits[tile][i] += odd[tile][i];
    }
  }

  // Takes 16 logits in base 2 into maximum and sum; weights: exp2(logit - maximum) as the right operand of Add.
  __device__ void Weigh(float (&logits)[kTiles][4], int keys, uint32_t (&weights)[kTiles][2]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      float factor[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float low = lane / 4 < keys ? logits[tile][j] : -kInfinity;
        const float high = lane / 4 + 8 < keys ? logits[tile][j + 2] : -kInfinity;
        float largest = fmaxf(low, high);
        for (int mask = 4; mask < 32; mask *= 2) largest = fmaxf(largest, ShuffleXor(largest, mask));
        largest = fmaxf(largest, maximum[tile][j]);
        factor[j] = Exp2(maximum[tile][j] - largest);
        maximum[tile][j] = largest;
        logits[tile][j] = Exp2(low - largest);
        logits[tile][j + 2] = Exp2(high - largest);
        sum[tile][j] = sum[tile][j] * factor[j] + logits[tile][j] + logits[tile][j + 2];
      }
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        for (int i = 0; i < 4; ++i) out[step][tile][i] *= factor[i % 2];
      }
      // From keys by heads to heads by keys: the lane of key k and heads h, h + 1 is 4 k + h / 2.
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t pair = Pack<Bf16>(logits[tile][2 * j], logits[tile][2 * j + 1]);
        const int from = 8 * (lane % 4) + lane / 8, shift = lane / 4 % 2 * 16;
        const uint32_t even = Shuffle(pair, from), odd = Shuffle(pair, from + 4);
        weights[tile][j] = (even >> shift & 0xFFFFu) | odd >> shift << 16;
      }
    }
  }

  __device__ void Add(unsigned char* values, int steps, const uint32_t (&weights)[kTiles][2]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step >= steps) break;
      uint32_t rows[4];
      LoadMatricesTransposed(rows, ChunkAt<kRow>(values, lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) MultiplyAdd<Bf16>(out[step][tile], rows, weights[tile]);
    }
  }

  // Hands its results to the block. outs: [G][kRow + 4], the warp's.
  __device__ void Finish(DecodeState& state, float* outs, int group) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int head = tile * 8 + 2 * (lane % 4) + j;
        for (int mask = 4; mask < 32; mask *= 2) sum[tile][j] += ShuffleXor(sum[tile][j], mask);
        if (lane < 4) {
          state.maximum[warp][head] = maximum[tile][j];
          state.sum[warp][head] = sum[tile][j];
        }
        if (head >= group) continue;
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          float* to = outs + head * (kRow + 4) + step * 16 + lane / 4;
          to[0] = out[step][tile][j];
          to[8] = out[step][tile][j + 2];
        }
      }
    }
  }
};

}  // namespace cascade::kernels::cuda
