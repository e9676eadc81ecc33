// A head's vector of 16-bit elements spread over neighbouring lanes: each holds four of the pairs that RoPE turns, in
// whichever of the two orders they are stored.
#pragma once

#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {

inline constexpr int kLanePairs = 4;
inline constexpr int kLaneElements = 2 * kLanePairs;

struct LanePairs {
  float first[kLanePairs];
  float second[kLanePairs];
};

// Pairs 4 * lane .. of `row` [head_dim], which is 16-byte aligned. lane < head_dim / 8.
template <class T>
__device__ inline LanePairs LoadPairs(const T* row, int lane, int head_dim, bool interleaved) {
  LanePairs pairs;
  if (interleaved) {
    const uint4 words = *reinterpret_cast<const uint4*>(row + kLaneElements * lane);
    const uint32_t packed[kLanePairs] = {words.x, words.y, words.z, words.w};
    for (int i = 0; i < kLanePairs; ++i) {
      const float2 pair = Unpack<T>(packed[i]);
      pairs.first[i] = pair.x;
      pairs.second[i] = pair.y;
    }
  } else {
    const uint2 low = *reinterpret_cast<const uint2*>(row + kLanePairs * lane);
    const uint2 high = *reinterpret_cast<const uint2*>(row + head_dim / 2 + kLanePairs * lane);
    const float2 first[2] = {Unpack<T>(low.x), Unpack<T>(low.y)};
    const float2 second[2] = {Unpack<T>(high.x), Unpack<T>(high.y)};
    for (int i = 0; i < kLanePairs; ++i) {
      pairs.first[i] = i % 2 == 0 ? first[i / 2].x : first[i / 2].y;
      pairs.second[i] = i % 2 == 0 ? second[i / 2].x : second[i / 2].y;
    }
  }
  return pairs;
}

template <class T>
__device__ inline void StorePairs(const LanePairs& pairs, T* row, int lane, int head_dim, bool interleaved) {
  const float(&first)[kLanePairs] = pairs.first;
  const float(&second)[kLanePairs] = pairs.second;
  if (interleaved) {
    *reinterpret_cast<uint4*>(row + kLaneElements * lane) =
        make_uint4(Pack<T>(first[0], second[0]), Pack<T>(first[1], second[1]), Pack<T>(first[2], second[2]),
                   Pack<T>(first[3], second[3]));
  } else {
    *reinterpret_cast<uint2*>(row + kLanePairs * lane) =
        make_uint2(Pack<T>(first[0], first[1]), Pack<T>(first[2], first[3]));
    *reinterpret_cast<uint2*>(row + head_dim / 2 + kLanePairs * lane) =
        make_uint2(Pack<T>(second[0], second[1]), Pack<T>(second[2], second[3]));
  }
}

// The lane's (cosine, sine) of a row of turns [head_dim / 2], which is 16-byte aligned.
struct LaneTurns {
  float2 turn[kLanePairs];
};
__device__ inline LaneTurns LoadTurns(const float2* row, int lane) {
  const float4* pairs = reinterpret_cast<const float4*>(row + kLanePairs * lane);
  const float4 low = pairs[0], high = pairs[1];
  return {
      {make_float2(low.x, low.y), make_float2(low.z, low.w), make_float2(high.x, high.y), make_float2(high.z, high.w)}};
}

__device__ inline LanePairs Turn(const LanePairs& pairs, const LaneTurns& turns) {
  LanePairs turned;
  for (int i = 0; i < kLanePairs; ++i) {
    const float2 turn = turns.turn[i];
    turned.first[i] = pairs.first[i] * turn.x - pairs.second[i] * turn.y;
    turned.second[i] = pairs.first[i] * turn.y + pairs.second[i] * turn.x;
  }
  return turned;
}
__device__ inline LanePairs TurnBack(const LanePairs& pairs, const LaneTurns& turns) {
  LanePairs turned;
  for (int i = 0; i < kLanePairs; ++i) {
    const float2 turn = turns.turn[i];
    turned.first[i] = pairs.first[i] * turn.x + pairs.second[i] * turn.y;
    turned.second[i] = pairs.second[i] * turn.x - pairs.first[i] * turn.y;
  }
  return turned;
}

}  // namespace cascade::kernels::cuda
