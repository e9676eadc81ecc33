// A CUDA device on the CPU, for tests of kernels where there is none: it runs a launch's blocks one after the other,
// the threads of a block as fibers of the calling thread that change at barriers and at what a warp does together.
//
// It aborts, naming the kernel, block and thread: barriers and warp functions that not all threads reach, or that they
// reach with different arguments; writes behind dynamic shared memory and device memory; misaligned 16-byte accesses of
// asynchronous copies and matrix loads; stack overflow. Shared memory, fresh device and pinned memory and the targets
// of asynchronous copies under way hold NaNs. Every other block runs backwards, from the last thread to the first, and
// every other launch from the last block. It knows nothing of caches, of timing and of races within those orders.
//
// One thread at a time: the functions of cuda_runtime.h take a lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
enum cudaError_t : int;

// Of the running fiber.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace cascade::kernels::cuda::emulator {

struct Stream;
struct Event;
struct Graph;
struct GraphExec;

// The device as the functions of cuda_runtime.h show it. May be changed between programs' uses of it.
struct Device {
  int count = 1;
  int major = 9;
  int minor = 0;
  int num_sms = 4;
  size_t memory_bytes = size_t{1} << 30;
  size_t shared_bytes = 227 << 10;
};
Device& device();

// The n-th call from now (1: the next one) of a function of cuda_runtime.h fails with `error`, and does nothing; with
// `sticky` all later ones too, until Heal(). Not counted: functions that free, and those that ask for errors.
void FailAfter(int n, cudaError_t error, bool sticky);
void Heal();
// Calls so far that FailAfter counts.
int64_t Calls();
// Kernels run so far; their threads.
int64_t Launches();
// Device memory that is allocated.
size_t AllocatedBytes();

// Of cuda_runtime.h.
cudaError_t Launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, Stream* stream,
                   std::function<void()> thread);

// Of device.h and intrinsics.h, for the running fiber.

unsigned char* SharedMemory();
// Waits until `count` threads of the block have called it with this id.
void Barrier(int id, int count);
void BlockBarrier();

// What the lanes of a warp do together: when all have called it, `work` runs once over their arguments. Of one kind,
// and `bytes` each of input and output, at most kExchangeBytes.
inline constexpr int kExchangeBytes = 48;
struct Exchange {
  unsigned char in[32][kExchangeBytes];
  unsigned char out[32][kExchangeBytes];
};
enum class Together : uint8_t {
  kSync,
  kShuffleXor,
  kShuffleDown,
  kShuffleUp,
  kShuffle,
  kBallot,
  kLoadMatrices,
  kLoadMatricesTransposed,
  kMultiplyBf16,
  kMultiplyHalf,
  kNumKinds,
};
void DoTogether(Together kind, const void* in, int in_bytes, void* out, int out_bytes, void (*work)(Exchange&));

void CopyLater(void* shared, const void* global, bool valid);
void CommitCopies();
void WaitCopies(int newest_left);

[[noreturn]] void Abort(const std::string& what);

}  // namespace cascade::kernels::cuda::emulator
