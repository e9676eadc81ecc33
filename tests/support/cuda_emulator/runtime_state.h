// What the functions of cuda_runtime.h share: streams and their work, memory, errors.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "tests/support/cuda_emulator/cuda_runtime.h"
#include "tests/support/cuda_emulator/emulator.h"

namespace cascade::kernels::cuda::emulator {

struct EventState {
  Stream* stream = nullptr;
  int64_t recorded = 0;  // how often it was enqueued
  int64_t reached = 0;
  std::chrono::steady_clock::time_point time;
};
struct Event {
  std::shared_ptr<EventState> state = std::make_shared<EventState>();
};
using Work = std::function<void()>;
struct Graph {
  std::vector<Work> work;
};
struct GraphExec {
  std::shared_ptr<const std::vector<Work>> work;
};
struct Stream {
  std::deque<Work> queue;
  bool capturing = false;
  bool invalidated = false;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  Graph* graph = nullptr;
};

struct Allocation {
  size_t bytes;
  bool pinned;
};

struct State {
  std::recursive_mutex mutex;
  Device device;
  int fail_after = 0;  // 0: never
  cudaError_t fail_error = cudaSuccess;
  bool fail_sticky = false;
  cudaError_t sticky = cudaSuccess;
  cudaError_t last = cudaSuccess;
  int64_t calls = 0;
  int64_t launches = 0;
  size_t allocated = 0;
  std::map<uintptr_t, Allocation> memory;  // device and pinned
  std::set<Stream*> streams;
  Stream default_stream;
  std::unordered_map<const void*, size_t> shared_limits;
};

State& state();
using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t Fail(cudaError_t error);
// First in every function that can be made to fail.
cudaError_t BeginCall();
#define CASCADE_BEGIN_CALL()      \
  const Lock lock(state().mutex); \
  if (const cudaError_t begun = BeginCall(); begun != cudaSuccess) return begun

// Calls that a capture does not allow: they spoil it. Waiting: in no mode.
bool DisturbsCapture(bool waits = false);
Stream& Of(Stream* stream);
void RunAll(Stream& stream);
void RunEverything();
void Enqueue(Stream* to, Work work);

// Of runtime_memory.cc: aborts when something was written beside an allocation.
void CheckAllGuards();

// Of emulator.cc: runs all blocks of a launch.
void RunGrid(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

}  // namespace cascade::kernels::cuda::emulator
