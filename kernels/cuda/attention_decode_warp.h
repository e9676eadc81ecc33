// What a warp of decode attention does with its units: tiles in shared memory, products, running softmax.
#pragma once

#include <limits>

#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_scores.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The beginning of a block's shared memory. Behind it, 128-byte aligned: the row's turns [segments][head_dim / 2], the
// block's outputs [G][head_dim] (float), the row's queries [G][head_dim], the warps' stages, the logits.
struct DecodeState {
  alignas(16) unsigned char new_key[kMaxHeadDim * 2], new_value[kMaxHeadDim * 2];
  VisiblePieces visible;
  float maximum[kDecodeMaxWarps][kMaxGroup];
  float sum[kDecodeMaxWarps][kMaxGroup];
  float factor[kDecodeMaxWarps][kMaxGroup];
  // The largest logit that the block has seen (-infinity: none), and the sum of exp2(logit - largest): [G].
  float2 own_sums[kMaxGroup];
  float2 all_sums[kDecodeMaxCluster]
                 [kMaxGroup];  // of the blocks of a cluster; then x is what the block's outputs count
  RowSoftmax softmax;
  bool is_last;  // of the splits
};
inline constexpr size_t kDecodeStateBytes = (sizeof(DecodeState) + 127) / 128 * 128;
__host__ __device__ inline size_t DecodeTurnBytes(const CacheLayout& layout) {
  return sizeof(float2) * layout.num_segments * (layout.head_dim / 2);
}
__host__ __device__ inline size_t DecodeQueryBytes(const CacheLayout& layout) {
  return sizeof(uint16_t) * layout.group * layout.head_dim;
}
__host__ __device__ inline size_t DecodeOutBytes(const CacheLayout& layout) {
  return sizeof(float) * layout.group * layout.head_dim;
}
// Of all that is before the warps' stages.
__host__ __device__ inline size_t DecodeBytesBeforeStages(const CacheLayout& layout) {
  return (kDecodeStateBytes + DecodeTurnBytes(layout) + DecodeOutBytes(layout) + DecodeQueryBytes(layout) + 127) / 128 *
         128;
}

// Rows of 16 keys or values lie in shared memory with their chunks of 16 bytes exchanged within each 8, so that the 8
// rows of a matrix fall into different banks.
template <int kRow>
__device__ int ChunkOffset(int row, int chunk) {
  return row * (kRow * 2) + ((chunk ^ (row & 7)) * 16);
}
// Apart from a lane's own offset only few bits change with the step, so that one register holds all addresses: columns
// [16 step, + 16) of a row that ChunkOffset gave for columns 0 or 8 ..
__device__ inline int AtStep(int lane_offset, int step) { return (lane_offset ^ (step % 4 << 5)) + step / 4 * 128; }

// By a warp, once: zeros where chunks only pad, which CopyTile leaves as they are.
template <int kRow>
__device__ void ZeroPadding(unsigned char* tiles, int rows, int chunks) {
  constexpr int kChunks = kRow / 8;
  if (chunks == kChunks) return;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < rows * kChunks; i += 32) {
    if (i % kChunks < chunks) continue;
    *reinterpret_cast<uint4*>(tiles + ChunkOffset<kRow>(i / kChunks, i % kChunks)) = make_uint4(0, 0, 0, 0);
  }
}

// By a warp. Chunks that only pad are left out; so is row `skip`.
template <int kRow>
__device__ void CopyTile(unsigned char* tile, const unsigned char* rows, const Unit& unit, int chunks, int skip) {
  constexpr int kChunks = kRow / 8, kRowsAtOnce = 32 / kChunks;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = lane / kChunks, chunk = lane % kChunks;
  const int to = ChunkOffset<kRow>(row, chunk);
  rows += static_cast<size_t>(unit.entry) * (kRow * 2) + lane * 16;
  if (chunk >= chunks) return;
  if (unit.keys == kUnitKeys && skip < 0) {  // as most units are
#pragma unroll
    for (int i = 0; i < kUnitKeys / kRowsAtOnce; ++i) {
      const int first = i * kRowsAtOnce;
      CopyAsync16(tile + (to ^ (first % 8 << 4)) + first * (kRow * 2), rows + first * (kRow * 2));
    }
    return;
  }
#pragma unroll 1
  for (int first = 0; first < kUnitKeys; first += kRowsAtOnce) {
    if (first + row == skip) continue;
    CopyAsync16(tile + (to ^ (first % 8 << 4)) + first * (kRow * 2), rows + first * (kRow * 2),
                first + row < unit.keys);
  }
}

// By a warp: the new key's row, or value's, of a tile.
template <int kRow>
__device__ void PlaceNewRow(unsigned char* tile, const unsigned char* row, int place, int chunks) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < chunks) {
    *reinterpret_cast<uint4*>(tile + ChunkOffset<kRow>(place, lane)) = reinterpret_cast<const uint4*>(row)[lane];
  }
  SyncWarp();
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

  // q: [G][head_dim], turns: [head_dim / 2] of the segment, in shared memory.
  __device__ void TurnQuery(const CacheLayout& layout, const T* q, const float2* turns) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int half = layout.head_dim / 2;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int head = tile * 8 + lane / 4;
      const T* own = q + min(head, layout.group - 1) * layout.head_dim;
#pragma unroll
      for (int i = 0; i < 2 * kSteps; ++i) {
        const int e = i * 8 + 2 * (lane % 4);
        const bool there = head < layout.group && e < layout.head_dim;
        const int at = there ? e : 0;
        const bool second = at >= half;
        const int pair = layout.interleaved ? at / 2 : second ? at - half : at;
        const int partner = layout.interleaved ? at : second ? pair : pair + half;
        const float2 x = Unpack<T>(*reinterpret_cast<const uint32_t*>(own + at));
        const float2 y = Unpack<T>(*reinterpret_cast<const uint32_t*>(own + partner));
        const float2 a = turns[pair], b = turns[layout.interleaved ? pair : pair + 1];
        // Interleaved: (x, y) turned. Halves: each element with its partner of the other half.
        const float sign = second ? 1.0f : -1.0f;
        const float low = x.x * a.x + (layout.interleaved ? -x.y : sign * y.x) * a.y;
        const float high = layout.interleaved ? x.x * a.y + x.y * a.x : x.y * b.x + sign * y.y * b.y;
        query[i / 2][tile][i % 2] = there ? Pack<Bf16>(low, high) : 0u;
      }
    }
  }

  // logits: [tile]: {key lane / 4, head 2 (lane % 4)}, {.., + 1}, {key + 8, ..}, {key + 8, + 1}
  __device__ void Multiply(const unsigned char* keys, float (&logits)[kTiles][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int from = ChunkOffset<kRow>(lane % 16, lane / 16);
    float odd[kTiles][4] = {};  // two chains of sums, which wait for each other less
    for (int tile = 0; tile < kTiles; ++tile) {
      for (float& x : logits[tile]) x = 0;
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t rows[4];
      LoadMatrices(rows, keys + AtStep(from, step));
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

  __device__ void Add(const unsigned char* values, const uint32_t (&weights)[kTiles][2]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int from = ChunkOffset<kRow>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t rows[4];
      LoadMatricesTransposed(rows, values + AtStep(from, step));
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
