// kernels/cuda/device.h on the CPU: the same names, with the same meaning.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/support/cuda_emulator/cuda_runtime.h"
#include "tests/support/cuda_emulator/emulator.h"
#include "tests/support/cuda_emulator/intrinsics.h"

namespace cascade::kernels::cuda {

// Elements in memory; all arithmetic is in float.
struct Bf16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

inline float ToFloat(float x) { return x; }
inline float ToFloat(Bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
inline float ToFloat(Half x) {
  // Exponent and mantissa in place; a factor of 2^112 makes up for the bias, of subnormals too.
  const uint32_t magnitude = static_cast<uint32_t>(x.bits & 0x7FFF) << 13;
  uint32_t bits = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0F800000u) bits = magnitude | 0x7F800000u;  // infinity, NaN
  return std::bit_cast<float>(bits | static_cast<uint32_t>(x.bits & 0x8000) << 16);
}

// To nearest even; NaN stays NaN.
template <class T>
T FromFloat(float x);
template <>
inline float FromFloat<float>(float x) {
  return x;
}
template <>
inline Bf16 FromFloat<Bf16>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FFF};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
template <>
inline Half FromFloat<Half>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {0x7FFF};
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00)};  // rounds to infinity from 65520 on
  if (magnitude < 0x38800000u) {                                                // subnormal: a multiple of 2^-24
    const float rounded = std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f);
    return {static_cast<uint16_t>(sign | static_cast<uint16_t>(rounded))};
  }
  return {static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xFFF + (magnitude >> 13 & 1)) >> 13))};
}

template <class T>
uint32_t Pack(float low, float high) {
  return FromFloat<T>(low).bits | static_cast<uint32_t>(FromFloat<T>(high).bits) << 16;
}
template <class T>
float2 Unpack(uint32_t pair) {
  return {ToFloat(T{static_cast<uint16_t>(pair)}), ToFloat(T{static_cast<uint16_t>(pair >> 16)})};
}

inline unsigned char* SharedMemory() { return emulator::SharedMemory(); }
inline void SyncBlock() { emulator::BlockBarrier(); }
inline void SyncWarp() {
  emulator::DoTogether(emulator::Together::kSync, nullptr, 0, nullptr, 0, [](emulator::Exchange&) {});
}
inline void SyncThreads(int id, int count) {
  if (id < 1 || id > 15) emulator::Abort("SyncThreads: id is not in 1..15");
  emulator::Barrier(id, count);
}

namespace emulator {

// source(lane, argument): the lane whose value a lane gets.
template <Together kind, class T, int (*source)(int, int)>
T ShuffleFrom(T value, int argument) {
  struct Input {
    T value;
    int argument;
  } input = {value, argument};
  static_assert(sizeof(Input) <= kExchangeBytes);
  T result;
  DoTogether(kind, &input, sizeof(input), &result, sizeof(result), [](Exchange& exchange) {
    for (int lane = 0; lane < 32; ++lane) {
      Input own;
      std::memcpy(&own, exchange.in[lane], sizeof(own));
      std::memcpy(exchange.out[lane], exchange.in[source(lane, own.argument)], sizeof(T));
    }
  });
  return result;
}

inline int FromXor(int lane, int mask) { return lane ^ (mask & 31); }
inline int FromBelow(int lane, int delta) { return lane + delta < 32 ? lane + delta : lane; }
inline int FromAbove(int lane, int delta) { return lane - delta >= 0 ? lane - delta : lane; }
inline int FromLane(int, int lane) { return lane & 31; }

}  // namespace emulator

template <class T>
T ShuffleXor(T value, int mask) {
  return emulator::ShuffleFrom<emulator::Together::kShuffleXor, T, emulator::FromXor>(value, mask);
}
template <class T>
T ShuffleDown(T value, int delta) {
  return emulator::ShuffleFrom<emulator::Together::kShuffleDown, T, emulator::FromBelow>(value, delta);
}
template <class T>
T ShuffleUp(T value, int delta) {
  return emulator::ShuffleFrom<emulator::Together::kShuffleUp, T, emulator::FromAbove>(value, delta);
}
template <class T>
T Shuffle(T value, int lane) {
  return emulator::ShuffleFrom<emulator::Together::kShuffle, T, emulator::FromLane>(value, lane);
}
uint32_t Ballot(bool predicate);

inline float WarpSum(float value) {
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}
inline float WarpMax(float value) {
  for (int mask = 16; mask > 0; mask /= 2) value = fmaxf(value, ShuffleXor(value, mask));
  return value;
}

inline float Exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}
inline float Exp(float x) { return Exp2(x * 1.44269504088896341f); }

// No clusters: the emulated device says that it has none.
inline int ClusterRank() { return 0; }
inline void SyncCluster() { SyncBlock(); }
inline float2 LoadFromBlock(const float2* shared, int rank) { return *shared; }

inline unsigned AddAndPublish(unsigned* address, unsigned value) { return atomicAdd(address, value); }

uint4 LoadStreaming(const void* address);

inline void CopyAsync16(void* shared, const void* global, bool valid = true) {
  emulator::CopyLater(shared, global, valid);
}
template <int bytes>
void CopyAsyncSmall(void* shared, const void* global, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8);
  if (valid && reinterpret_cast<uintptr_t>(global) % bytes != 0) emulator::Abort("CopyAsyncSmall: not aligned");
  std::memset(shared, 0, bytes);
  if (valid) std::memcpy(shared, global, bytes);
}
inline void CommitCopies() { emulator::CommitCopies(); }
template <int n>
void WaitCopies() {
  emulator::WaitCopies(n);
}

void LoadMatrices(uint32_t (&out)[4], const void* shared_row);
void LoadMatricesTransposed(uint32_t (&out)[4], const void* shared_row);

template <class T>
void MultiplyAdd(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
void MultiplyAdd<Bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
void MultiplyAdd<Half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Kernels run one after the other.
inline void WaitForPrevious() {}
inline void AllowNext() {}

}  // namespace cascade::kernels::cuda
