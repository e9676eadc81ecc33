#include "tests/support/cuda_emulator/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/support/cuda_emulator/fiber.h"
#include "tests/support/cuda_emulator/runtime_state.h"
#include "tests/support/cuda_emulator/static_shared.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cascade::kernels::cuda::emulator {
namespace {

constexpr int kMostThreads = 1024;
constexpr int kBarriers = 16;
constexpr size_t kSharedGuard = 4096;
constexpr unsigned char kPoison = 0xFF;  // NaN of every type
constexpr unsigned char kGuardByte = 0xFB;

const char* Name(Together kind) {
  constexpr const char* kNames[] = {"SyncWarp",          "ShuffleXor",       "ShuffleDown",  "ShuffleUp",
                                    "Shuffle",           "Ballot",           "LoadMatrices", "LoadMatricesTransposed",
                                    "MultiplyAdd<Bf16>", "MultiplyAdd<Half>"};
  return kNames[static_cast<int>(kind)];
}

struct Copy {
  void* shared;
  const void* global;
  bool valid;
};

struct Thread {
  Fiber fiber;
  bool done = false;
  int barrier = -1;            // it waits at
  int together = -1;           // kind that it waits in
  std::vector<Copy> copies;    // not there yet, oldest first
  std::vector<size_t> groups;  // ends of the committed groups in `copies`
};

struct Warp {
  uint32_t ready = 0;    // lanes that can run
  uint32_t waiting = 0;  // in `kind`
  Together kind{};
  int bytes = 0;
  Exchange exchange;
};

struct NamedBarrier {
  int arrived = 0;
  int count = 0;
  uint32_t waiting[kMostThreads / 32] = {};
};

// The block that is running.
struct Block {
  const std::function<void()>* body = nullptr;
  int num_threads = 0;
  int done = 0;
  int current = 0;
  bool backwards = false;
  uint32_t ready_warps = 0;
  Fiber main;
  std::unique_ptr<Thread[]> threads{new Thread[kMostThreads]};
  std::unique_ptr<Warp[]> warps{new Warp[kMostThreads / 32]};
  NamedBarrier barriers[kBarriers];
  FiberStacks stacks{kMostThreads};
  unsigned char* shared = nullptr;  // [shared limit + kSharedGuard]
  size_t shared_size = 0;
};

Block& block() {
  static Block* const one = new Block;
  return *one;
}

std::string current_kernel;

Thread& Self() { return block().threads[block().current]; }

int FirstBit(uint32_t bits, bool backwards) { return backwards ? 31 - std::countl_zero(bits) : std::countr_zero(bits); }

void MarkReady(Block& b, int warp, uint32_t lanes) {
  b.warps[warp].ready |= lanes;
  if (lanes != 0) b.ready_warps |= 1u << warp;
}

[[noreturn]] void ReportDeadlock(Block& b) {
  std::string text = "no thread can go on;";
  int told = 0;
  for (int i = 0; i < b.num_threads && told < 8; ++i) {
    const Thread& thread = b.threads[i];
    const auto state = [](const Thread& t) { return std::pair(t.done ? -2 : t.barrier, t.together); };
    if (i > 0 && state(thread) == state(b.threads[i - 1])) continue;
    ++told;
    text += " from thread " + std::to_string(i) + " on: " +
            (thread.done           ? "ended"
             : thread.barrier >= 0 ? "in barrier " + std::to_string(thread.barrier) + " (" +
                                         std::to_string(b.barriers[thread.barrier].arrived) + " of " +
                                         std::to_string(b.barriers[thread.barrier].count) + " threads)"
             : thread.together >= 0 ? std::string("in ") + Name(static_cast<Together>(thread.together))
                                    : "?") +
            ";";
  }
  Abort(text);
}

// Lets another thread run; the current one is not ready, or is done.
void SwitchAway(Block& b) {
  const int from = b.current;
  int warp = from / 32;
  if (b.warps[warp].ready == 0) {
    b.ready_warps &= ~(1u << warp);
    if (b.ready_warps == 0) {
      if (b.done != b.num_threads) ReportDeadlock(b);
      Switch(b.threads[from].fiber, b.main, true);
      return;
    }
    warp = FirstBit(b.ready_warps, b.backwards);
  }
  b.current = warp * 32 + FirstBit(b.warps[warp].ready, b.backwards);
  threadIdx = {static_cast<unsigned>(b.current), 0, 0};
  Switch(b.threads[from].fiber, b.threads[b.current].fiber, b.threads[from].done);
}

void Wait(Block& b) {
  const int self = b.current;
  b.warps[self / 32].ready &= ~(1u << self % 32);
  SwitchAway(b);
}

void RunThread() {
  Block& b = block();
  (*b.body)();
  Thread& self = Self();
  self.done = true;
  ++b.done;
  b.warps[b.current / 32].ready &= ~(1u << b.current % 32);
  SwitchAway(b);
  std::abort();
}

void RunBlock(Block& b) {
  const int warps = (b.num_threads + 31) / 32;
  b.done = 0;
  b.ready_warps = 0;
  for (int w = 0; w < warps; ++w) {
    b.warps[w].waiting = b.warps[w].ready = 0;
    const int lanes = std::min(32, b.num_threads - 32 * w);
    MarkReady(b, w, lanes == 32 ? ~0u : (1u << lanes) - 1);
  }
  for (int i = 0; i < b.num_threads; ++i) {
    Thread& thread = b.threads[i];
    thread.done = false;
    thread.barrier = thread.together = -1;
    thread.copies.clear();
    thread.groups.clear();
    b.stacks.Start(i, thread.fiber, RunThread);
  }
  for (NamedBarrier& barrier : b.barriers) barrier = {};
  std::memset(b.shared, kPoison, b.shared_size);
  std::memset(b.shared + b.shared_size, kGuardByte, kSharedGuard);
  PoisonStaticShared(kPoison);
  b.current = FirstBit(b.ready_warps, b.backwards) * 32;
  b.current += FirstBit(b.warps[b.current / 32].ready, b.backwards);
  threadIdx = {static_cast<unsigned>(b.current), 0, 0};
  Switch(b.main, b.threads[b.current].fiber, false);
  for (size_t i = 0; i < kSharedGuard; ++i) {
    if (b.shared[b.shared_size + i] != kGuardByte) {
      Abort("wrote " + std::to_string(i) + " bytes behind its " + std::to_string(b.shared_size) +
            " bytes of shared memory");
    }
  }
}

}  // namespace

void Abort(const std::string& what) {
  std::fprintf(stderr, "CUDA emulator: kernel %s, block (%u, %u, %u) of (%u, %u, %u), thread %u of %u: %s\n",
               current_kernel.c_str(), blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z, threadIdx.x,
               blockDim.x, what.c_str());
  std::abort();
}

void RunGrid(const void* kernel, dim3 grid, dim3 block_size, size_t shared_bytes, const std::function<void()>& thread) {
  static int64_t launches = 0;
  Block& b = block();
  current_kernel = NameOfFunction(kernel);
  if (b.shared == nullptr) {
    b.shared = static_cast<unsigned char*>(std::aligned_alloc(128, (size_t{1} << 20) + kSharedGuard));
  }
  b.body = &thread;
  b.num_threads = static_cast<int>(block_size.x);
  b.shared_size = shared_bytes;
  gridDim = grid;
  blockDim = block_size;
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t index = launches % 2 == 0 ? i : blocks - 1 - i;
    blockIdx = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
                static_cast<unsigned>(index / grid.x / grid.y)};
    b.backwards = (launches / 2 + i) % 2 != 0;
    RunBlock(b);
  }
  ++launches;
}

unsigned char* SharedMemory() { return block().shared; }

void Barrier(int id, int count) {
  Block& b = block();
  NamedBarrier& barrier = b.barriers[id];
  if (count <= 0 || count % 32 != 0 || count > (b.num_threads + 31) / 32 * 32) {
    Abort("barrier " + std::to_string(id) + " of " + std::to_string(count) + " threads");
  }
  if (barrier.arrived > 0 && barrier.count != count) {
    Abort("barrier " + std::to_string(id) + " of " + std::to_string(count) + " threads, and of " +
          std::to_string(barrier.count));
  }
  barrier.count = count;
  // A block whose last warp is not full counts it as one.
  const int expected = std::min(count, b.num_threads);
  if (++barrier.arrived < expected) {
    const int self = b.current;
    barrier.waiting[self / 32] |= 1u << self % 32;
    Self().barrier = id;
    Wait(b);
    return;
  }
  barrier.arrived = 0;
  for (int w = 0; w < kMostThreads / 32; ++w) {
    for (uint32_t left = barrier.waiting[w]; left != 0; left &= left - 1) {
      b.threads[32 * w + std::countr_zero(left)].barrier = -1;
    }
    MarkReady(b, w, barrier.waiting[w]);
    barrier.waiting[w] = 0;
  }
}

void BlockBarrier() { Barrier(0, (block().num_threads + 31) / 32 * 32); }

void DoTogether(Together kind, const void* in, int in_bytes, void* out, int out_bytes, void (*work)(Exchange&)) {
  Block& b = block();
  const int w = b.current / 32, lane = b.current % 32;
  Warp& warp = b.warps[w];
  const int bytes = in_bytes * 64 + out_bytes;
  if (warp.waiting != 0 && (warp.kind != kind || warp.bytes != bytes)) {
    Abort(std::string("calls ") + Name(kind) + " while lanes of its warp wait in " + Name(warp.kind) +
          (warp.kind == kind ? " of another type" : ""));
  }
  warp.kind = kind;
  warp.bytes = bytes;
  if (in_bytes > 0) std::memcpy(warp.exchange.in[lane], in, in_bytes);
  warp.waiting |= 1u << lane;
  if (warp.waiting != ~0u) {
    Self().together = static_cast<int>(kind);
    Wait(b);
  } else {
    work(warp.exchange);
    for (int i = 0; i < 32; ++i) b.threads[32 * w + i].together = -1;
    MarkReady(b, w, warp.waiting);
    warp.waiting = 0;
  }
  if (out_bytes > 0) std::memcpy(out, warp.exchange.out[lane], out_bytes);
}

void CopyLater(void* shared, const void* global, bool valid) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)) {
    Abort("CopyAsync16: not 16-byte aligned");
  }
  const Block& b = block();
  const unsigned char* const to = static_cast<unsigned char*>(shared);
  const bool dynamic = to >= b.shared && to + 16 <= b.shared + b.shared_size;
  if (!dynamic && !IsStaticShared(shared)) Abort("CopyAsync16: its target is not in shared memory");
  std::memset(shared, kPoison, 16);
  Self().copies.push_back({shared, global, valid});
}

void CommitCopies() {
  Thread& self = Self();
  self.groups.push_back(self.copies.size());
}

void WaitCopies(int newest_left) {
  Thread& self = Self();
  const int waited = static_cast<int>(self.groups.size()) - newest_left;
  if (waited <= 0) return;
  const size_t end = self.groups[waited - 1];
  for (size_t i = 0; i < end; ++i) {
    const Copy& copy = self.copies[i];
    if (copy.valid) {
      std::memcpy(copy.shared, copy.global, 16);
    } else {
      std::memset(copy.shared, 0, 16);
    }
  }
  self.copies.erase(self.copies.begin(), self.copies.begin() + static_cast<std::ptrdiff_t>(end));
  self.groups.erase(self.groups.begin(), self.groups.begin() + waited);
  for (size_t& group : self.groups) group -= end;
}

}  // namespace cascade::kernels::cuda::emulator
