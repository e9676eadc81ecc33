// Instructions of compute capability 9.0 (its own variant, sm_90a): asynchronous matrix products of a warpgroup, tensor
// copies, barriers in shared memory. Each is one function; nothing else in this folder holds assembly. The emulated
// device does not have them.
//
// A warpgroup is four consecutive warps, the first one's index a multiple of 4; functions called "by a warpgroup" are
// called by its 128 threads together.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda::sm90 {

__device__ inline uint32_t SharedAddress(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// A barrier in shared memory. A phase ends when `count` arrivals and all announced bytes are there; waiting for a phase
// by its parity: 0 for the first. A barrier that nobody has used yet has passed the phase of parity 1.
struct Barrier {
  uint64_t state;

  __device__ void Init(int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(&state)), "r"(count) : "memory");
  }
  __device__ void Arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(&state)) : "memory");
  }
  // One arrival that also announces so many bytes of tensor copies.
  __device__ void ArriveExpecting(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(&state)), "r"(bytes)
                 : "memory");
  }
  __device__ void Wait(int parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}\n" ::"r"(SharedAddress(&state)),
        "r"(parity)
        : "memory");
  }
};
// After Init, before others use the barriers; a SyncBlock follows.
__device__ inline void FenceBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Of a thread that wrote shared memory which copies or products read next; a barrier follows.
__device__ inline void FenceSharedWrites() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Copies of a box of a tensor to shared memory, by one thread: its bytes arrive at `barrier`. Coordinates count
// elements, innermost first; what lies outside of the tensor is zero.
__device__ inline void CopyBox3(void* to, const CUtensorMap* map, Barrier& barrier, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(&barrier.state)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
__device__ inline void CopyBox4(void* to, const CUtensorMap* map, Barrier& barrier, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(&barrier.state)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
__device__ inline void CopyBox5(void* to, const CUtensorMap* map, Barrier& barrier, int c0, int c1, int c2, int c3,
                                int c4) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
      "[%2];" ::"r"(SharedAddress(to)),
      "l"(map), "r"(SharedAddress(&barrier.state)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}
// Registers of each thread of the warpgroup from here on: a multiple of 8.
template <int count>
__device__ inline void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ inline void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
// An arrival at the barrier that other warps wait for with SyncThreads(id, count).
__device__ inline void ArriveThreads(int id, int count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory");
}

// Where an operand of a product lies in shared memory, as tensor copies with 128-byte swizzling leave it: panels of 64
// columns; in a panel rows of 128 bytes. Panels are 1,024-byte aligned. An operand is the lower half of the matrix
// descriptor; the upper one, kOperandShape, is the same for all.
inline constexpr uint32_t kOperandShape = 1u << 30 | 1024 >> 4;  // 128-byte swizzling; 8 rows are 1,024 bytes
using Operand = uint32_t;

// Columns are what is summed over (both operands of q k): `at` is the panel's row 0.
__device__ inline Operand RowsOperand(const void* at) { return 1u << 16 | (SharedAddress(at) & 0x3FFFF) >> 4; }
// Rows are what is summed over (the values): `at` is the first panel's row 0; the next 64 columns are panel_bytes
// further on.
__device__ inline Operand ColumnsOperand(const void* at, int panel_bytes) {
  return static_cast<uint32_t>(panel_bytes >> 4) << 16 | (SharedAddress(at) & 0x3FFFF) >> 4;
}
// The same, `bytes` further on: 32 per 16 columns of a panel, 128 per row.
__device__ inline Operand Further(Operand operand, int bytes) { return operand + static_cast<uint32_t>(bytes >> 4); }

// Products by a warpgroup; asynchronous. StartProducts before the first one after registers of an operand or a sum were
// written; EndProducts closes a group; WaitProducts<n> waits for all but the newest n groups: until then neither
// registers nor shared memory of their operands may be touched.
__device__ inline void StartProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void EndProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int n>
__device__ inline void WaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
}
// Keeps the compiler from moving uses of the registers across this place.
template <int n>
__device__ inline void Pin(float (&registers)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
template <int n>
__device__ inline void Pin(uint32_t (&registers)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) asm volatile("" : "+r"(registers[i][j])::"memory");
  }
}

// c (+)= a b, a [64, 16], b [16, columns], float32 sums of bfloat16 products. Warp w of the warpgroup has rows 16 w ..;
// with g = lane / 4, t = lane % 4: c[4 j + {0, 1}] are (g, 8 j + 2 t + {0, 1}), c[4 j + {2, 3}] those of row g + 8; a
// in registers as in MultiplyAdd (device.h).

// Operands of the 32 or 64 sums, and their numbers in an instruction's text.
#define CASCADE_SUMS_8(c, i) \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define CASCADE_SUMS_32(c, i) \
  CASCADE_SUMS_8(c, i), CASCADE_SUMS_8(c, i + 8), CASCADE_SUMS_8(c, i + 16), CASCADE_SUMS_8(c, i + 24)
#define CASCADE_NUMBERS_0_31 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CASCADE_NUMBERS_32_63 \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// b: 128 rows of what is summed over by columns.
__device__ inline void Multiply128(float (&c)[64], Operand a, Operand b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      ".reg .b64 a, b;\n"
      "mov.b64 a, {%64, %67};\n"
      "mov.b64 b, {%65, %67};\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{" CASCADE_NUMBERS_0_31 ", " CASCADE_NUMBERS_32_63 "}, a, b, p, 1, 1, 0, 0;\n"
      "}\n"
      : CASCADE_SUMS_32(c, 0), CASCADE_SUMS_32(c, 32)
      : "r"(a), "r"(b), "r"(accumulate), "n"(kOperandShape));
}

// With a in registers. kValues: b is 16 rows of 128 values, which are summed over; else as above.
template <int kValues>
__device__ inline void MultiplyRegisters128(float (&c)[64], const uint32_t (&a)[4], Operand b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      ".reg .b64 b;\n"
      "mov.b64 b, {%68, %70};\n"
      "setp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{" CASCADE_NUMBERS_0_31 ", " CASCADE_NUMBERS_32_63 "}, {%64, %65, %66, %67}, b, p, 1, 1, %71;\n"
      "}\n"
      : CASCADE_SUMS_32(c, 0), CASCADE_SUMS_32(c, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(accumulate), "n"(kOperandShape), "n"(kValues));
}
__device__ inline void Multiply128(float (&c)[64], const uint32_t (&a)[4], Operand b, int accumulate) {
  MultiplyRegisters128<0>(c, a, b, accumulate);
}
__device__ inline void AddValues(float (&c)[64], const uint32_t (&a)[4], Operand b, int accumulate) {
  MultiplyRegisters128<1>(c, a, b, accumulate);
}

// b: 16 rows of 64 values.
__device__ inline void AddValues(float (&c)[32], const uint32_t (&a)[4], Operand b, int accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      ".reg .b64 b;\n"
      "mov.b64 b, {%36, %38};\n"
      "setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{" CASCADE_NUMBERS_0_31 "}, {%32, %33, %34, %35}, b, p, 1, 1, 1;\n"
      "}\n"
      : CASCADE_SUMS_32(c, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(accumulate), "n"(kOperandShape));
}

#undef CASCADE_SUMS_8
#undef CASCADE_SUMS_32
#undef CASCADE_NUMBERS_0_31
#undef CASCADE_NUMBERS_32_63

}  // namespace cascade::kernels::cuda::sm90
