#include "kernels/cuda/staging.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade::kernels::cuda {

absl::StatusOr<std::unique_ptr<Staging>> Staging::Create(size_t bytes) {
  auto staging = std::unique_ptr<Staging>(new Staging);
  void* host = nullptr;
  void* device = nullptr;
  cudaError_t result = cudaMallocHost(&host, bytes);
  if (result == cudaSuccess) {
    staging->host_ = static_cast<unsigned char*>(host);
    result = cudaMalloc(&device, bytes);
  }
  if (result != cudaSuccess) {
    cudaGetLastError();  // the runtime keeps it for the next call otherwise
    return absl::ResourceExhaustedError(absl::StrCat(
        "staging: no memory for ", bytes, " bytes on the host and on the device: ", cudaGetErrorString(result)));
  }
  staging->device_ = static_cast<unsigned char*>(device);
  staging->bytes_ = bytes;
  return staging;
}

Staging::~Staging() {
  if (host_ != nullptr) cudaFreeHost(host_);
  if (device_ != nullptr) cudaFree(device_);
}

size_t Staging::Take(size_t bytes) {
  constexpr size_t kAlignment = 16;
  CASCADE_CHECK(bytes <= bytes_ - used_);
  const size_t at = used_;
  used_ = at + (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (used_ > bytes_) used_ = bytes_;
  return at;
}

}  // namespace cascade::kernels::cuda
