#include "kernels/cuda/device_memory.h"

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cascade::kernels::cuda {
namespace {

constexpr size_t kReadBeyond = 16;

}  // namespace

DeviceMemory::~DeviceMemory() {
  for (void* block : blocks_) cudaFree(block);
}

absl::StatusOr<void*> DeviceMemory::Allocate(const char* what, size_t bytes) {
  void* memory = nullptr;
  const bool countable = bytes <= SIZE_MAX - kReadBeyond;
  const cudaError_t result = countable ? cudaMalloc(&memory, bytes + kReadBeyond) : cudaErrorMemoryAllocation;
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the runtime keeps it for the next call otherwise
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": no device memory for ", bytes, " bytes, ", free, " are free"));
  }
  if (result != cudaSuccess) {
    cudaGetLastError();
    return absl::InternalError(
        absl::StrCat(what, ": device memory for ", bytes, " bytes: ", cudaGetErrorString(result)));
  }
  blocks_.push_back(memory);
  bytes_ += bytes;
  return memory;
}

}  // namespace cascade::kernels::cuda
