// The instructions of a device that kernels use, each behind one function; nothing else in this folder holds assembly.
//
// With CASCADE_CUDA_EMULATED the same kernels are compiled for the CPU, where tests/support/cuda_emulator runs a
// block's threads as fibers: these functions are what it replaces. Programs for the emulator are compiled by the host
// compiler, so kernels use no other device intrinsics than these, and are launched by Stream::Launch.
//
// Conventions of warps: lane = threadIdx.x % 32 with one-dimensional blocks; functions called "by a warp" are called by
// all its 32 lanes together.
#pragma once

#include <cstdint>

#ifdef CASCADE_CUDA_EMULATED
#include <emulated_device.h>
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace cascade::kernels::cuda {

using Bf16 = __nv_bfloat16;
using Half = __half;

// The block's dynamic shared memory, 128-byte aligned.
__device__ inline unsigned char* SharedMemory() {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  return shared_memory;
}

__device__ inline void SyncBlock() { __syncthreads(); }
__device__ inline void SyncWarp() { __syncwarp(); }
// Of the warps' threads [0, count) that call it with the same id in 1..15; count: a multiple of 32.
__device__ inline void SyncThreads(int id, int count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

template <class T>
__device__ inline T ShuffleXor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}
template <class T>
__device__ inline T ShuffleDown(T value, int delta) {
  return __shfl_down_sync(0xFFFFFFFFu, value, delta);
}
template <class T>
__device__ inline T ShuffleUp(T value, int delta) {
  return __shfl_up_sync(0xFFFFFFFFu, value, delta);
}
template <class T>
__device__ inline T Shuffle(T value, int lane) {
  return __shfl_sync(0xFFFFFFFFu, value, lane);
}
__device__ inline uint32_t Ballot(bool predicate) { return __ballot_sync(0xFFFFFFFFu, predicate); }

__device__ inline float WarpSum(float value) {
  for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}
__device__ inline float WarpMax(float value) {
  for (int mask = 16; mask > 0; mask /= 2) value = fmaxf(value, ShuffleXor(value, mask));
  return value;
}

// Conversions, rounding to nearest even.
__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(Bf16 x) { return __bfloat162float(x); }
__device__ inline float ToFloat(Half x) { return __half2float(x); }
template <class T>
__device__ T FromFloat(float x);
template <>
__device__ inline float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline Bf16 FromFloat<Bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline Half FromFloat<Half>(float x) {
  return __float2half_rn(x);
}

// Two values in one register, the first in the low half.
template <class T>
__device__ uint32_t Pack(float low, float high);
template <>
__device__ inline uint32_t Pack<Bf16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <>
__device__ inline uint32_t Pack<Half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
template <class T>
__device__ float2 Unpack(uint32_t pair);
template <>
__device__ inline float2 Unpack<Bf16>(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u));
}
template <>
__device__ inline float2 Unpack<Half>(uint32_t pair) {
  return __half22float2(reinterpret_cast<const __half2&>(pair));
}

// 2^x to 2 ulp, 0 for very small x; and e^x by it.
__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float Exp(float x) { return Exp2(x * 1.44269504088896341f); }

// Adds and returns what was there before. What the thread's block wrote before a SyncBlock that precedes it is seen by
// blocks that find the sum, after a SyncBlock that follows: half the price of two fences around atomicAdd.
__device__ inline unsigned AddAndPublish(unsigned* address, unsigned value) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(address), "r"(value) : "memory");
  return before;
}

// 16 bytes of memory that no kernel in flight writes (weights), read once: kept out of the first-level cache.
__device__ inline uint4 LoadStreaming(const void* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

// Asynchronous copies to shared memory, 16 bytes each, both addresses 16-byte aligned; zeros when !valid (the source is
// not read). CommitCopies closes a group; WaitCopies<n> waits until all but the thread's newest n groups are there.
// Other threads see them after a SyncBlock that follows.
__device__ inline void CopyAsync16(void* shared, const void* global, bool valid = true) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes)
               : "memory");
}
// The same of 4 or 8 bytes, aligned to as many; the line is kept in the first-level cache.
template <int bytes>
__device__ inline void CopyAsyncSmall(void* shared, const void* global, bool valid = true) {
  static_assert(bytes == 4 || bytes == 8);
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(global), "n"(bytes),
               "r"(valid ? bytes : 0)
               : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int n>
__device__ inline void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

// Four 8x8 matrices of 16-bit elements, by a warp: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes,
// aligned); register i holds, in lane l, elements (l / 4, 2 (l % 4) ..) of matrix i. Transposed: (2 (l % 4) .., l / 4).
__device__ inline void LoadMatrices(uint32_t (&out)[4], const void* shared_row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}
__device__ inline void LoadMatricesTransposed(uint32_t (&out)[4], const void* shared_row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address)
               : "memory");
}

// c += a b, by a warp: a [16, 16] by rows, b [16, 8] by columns, c [16, 8] float32. With g = lane / 4, t = lane % 4:
//   a: {(g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..)}   b: {(2t.., g), (2t + 8.., g)}
//   c: {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}
template <class T>
__device__ void MultiplyAdd(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ inline void MultiplyAdd<Bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ inline void MultiplyAdd<Half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Blocks of a cluster (LaunchShape::cluster_blocks) run together and read each other's shared memory. Below sm_90 there
// are none: a block is its own. SyncCluster: by all threads of all its blocks, which see what was written before it.
__device__ inline int ClusterRank() {
#if __CUDA_ARCH__ >= 900
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
#else
  return 0;
#endif
}
__device__ inline void SyncCluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}
// What the block of that rank has where this one has `shared`.
__device__ inline float2 LoadFromBlock(const float2* shared, int rank) {
#if __CUDA_ARCH__ >= 900
  const uint32_t own = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  uint32_t address;
  float2 value;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(own), "r"(rank));
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(address) : "memory");
  return value;
#else
  return *shared;
#endif
}

// Of kernels launched with LaunchShape::overlap, which may begin before the kernel before them has ended. What that one
// wrote, and all that came before it, may be read, and anything written, only after WaitForPrevious(). AllowNext() lets
// the next kernel begin; called after WaitForPrevious(). Without overlap, and below sm_90, both do nothing.
__device__ inline void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void AllowNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace cascade::kernels::cuda
#endif
