// Memory and copies of cuda_runtime.h.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/cuda_emulator/runtime_state.h"

namespace cascade::kernels::cuda::emulator {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kGuard = 256;
constexpr unsigned char kPoison = 0xFF;

// The allocation that holds all of [memory, memory + bytes), or null.
const Allocation* Find(const void* memory, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
  auto after = state().memory.upper_bound(begin);
  if (after == state().memory.begin()) return nullptr;
  --after;
  return begin + bytes <= after->first + after->second.bytes ? &after->second : nullptr;
}
bool OnDevice(const void* memory, size_t bytes) {
  const Allocation* const found = Find(memory, bytes);
  return found != nullptr && !found->pinned;
}

void CheckGuards(uintptr_t begin, size_t bytes, const char* when) {
  const unsigned char* const memory = reinterpret_cast<const unsigned char*>(begin);
  for (size_t i = 0; i < kGuard; ++i) {
    const bool before = memory[-1 - static_cast<std::ptrdiff_t>(i)] != kPoison;
    if (!before && memory[bytes + i] == kPoison) continue;
    Abort(std::string(when) + ": something was written " + std::to_string(before ? i + 1 : i) + " bytes " +
          (before ? "before" : "behind") + " an allocation of " + std::to_string(bytes) + " bytes");
  }
}

cudaError_t Allocate(void** memory, size_t bytes, bool pinned) {
  State& s = state();
  *memory = nullptr;
  if (DisturbsCapture()) return Fail(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return cudaSuccess;
  if (!pinned && (bytes > s.device.memory_bytes || s.allocated > s.device.memory_bytes - bytes)) {
    return Fail(cudaErrorMemoryAllocation);
  }
  const size_t total = (kGuard + bytes + kGuard + kAlignment - 1) / kAlignment * kAlignment;
  auto* const begin = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, total));
  if (begin == nullptr) return Fail(cudaErrorMemoryAllocation);
  std::memset(begin, kPoison, total);
  *memory = begin + kGuard;
  s.memory[reinterpret_cast<uintptr_t>(*memory)] = {bytes, pinned};
  if (!pinned) s.allocated += bytes;
  return cudaSuccess;
}

cudaError_t Release(void* memory, bool pinned) {
  State& s = state();
  if (memory == nullptr) return cudaSuccess;
  if (s.sticky == cudaSuccess) RunEverything();
  const auto found = s.memory.find(reinterpret_cast<uintptr_t>(memory));
  if (found == s.memory.end() || found->second.pinned != pinned) return Fail(cudaErrorInvalidValue);
  CheckGuards(found->first, found->second.bytes, "when it is freed");
  if (!pinned) s.allocated -= found->second.bytes;
  s.memory.erase(found);
  std::free(static_cast<unsigned char*>(memory) - kGuard);
  return s.sticky;
}

// A copy, or null when its arguments are wrong.
bool KindsFit(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = OnDevice(to, bytes), from_device = OnDevice(from, bytes);
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

cudaError_t EnqueueCopy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Stream* stream) {
  if (bytes == 0) return cudaSuccess;
  if (!KindsFit(to, from, bytes, kind)) return Fail(cudaErrorInvalidValue);
  const bool pageable_source = Find(from, bytes) == nullptr, pageable_target = Find(to, bytes) == nullptr;
  if ((pageable_source || pageable_target) && Of(stream).capturing) {
    Of(stream).invalidated = true;
    return Fail(cudaErrorStreamCaptureUnsupported);
  }
  if (pageable_source) {
    const auto* const begin = static_cast<const unsigned char*>(from);
    const auto staged = std::make_shared<std::vector<unsigned char>>(begin, begin + bytes);
    Enqueue(stream, [=] { std::memcpy(to, staged->data(), bytes); });
  } else {
    Enqueue(stream, [=] { std::memmove(to, from, bytes); });
  }
  if (pageable_target) RunAll(Of(stream));
  return cudaSuccess;
}

}  // namespace

void CheckAllGuards() {
  for (const auto& [begin, allocation] : state().memory) CheckGuards(begin, allocation.bytes, "after the launch");
}

}  // namespace cascade::kernels::cuda::emulator

using namespace cascade::kernels::cuda::emulator;

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  CASCADE_BEGIN_CALL();
  *total_bytes = device().memory_bytes;
  *free_bytes = device().memory_bytes - std::min(device().memory_bytes, state().allocated);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = nullptr;
  CASCADE_BEGIN_CALL();
  return Allocate(memory, bytes, false);
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags) {
  *memory = nullptr;
  CASCADE_BEGIN_CALL();
  return Allocate(memory, bytes, true);
}

cudaError_t cudaFree(void* memory) {
  const Lock lock(state().mutex);
  return Release(memory, false);
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(state().mutex);
  return Release(memory, true);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  return EnqueueCopy(to, from, bytes, kind, stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  CASCADE_BEGIN_CALL();
  if (DisturbsCapture()) return Fail(cudaErrorStreamCaptureUnsupported);
  return EnqueueCopy(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  for (size_t row = 0; row < height; ++row) {
    const cudaError_t result = EnqueueCopy(static_cast<char*>(to) + row * to_pitch,
                                           static_cast<const char*>(from) + row * from_pitch, width, kind, stream);
    if (result != cudaSuccess) return result;
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int byte, size_t bytes, cudaStream_t stream) {
  CASCADE_BEGIN_CALL();
  if (bytes == 0) return cudaSuccess;
  if (!OnDevice(memory, bytes)) return Fail(cudaErrorInvalidValue);
  Enqueue(stream, [=] { std::memset(memory, byte, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* memory, int byte, size_t bytes) { return cudaMemsetAsync(memory, byte, bytes, nullptr); }
