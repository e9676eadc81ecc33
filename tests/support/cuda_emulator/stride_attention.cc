// The emulated device has no asynchronous matrix products.
#include "kernels/cuda/stride_attention.h"

namespace cascade::kernels::cuda {

int64_t StrideAttentionRowBytes(const DeviceTraits&, const CacheLayout&, const CudaOptions&) { return 0; }

absl::StatusOr<std::unique_ptr<StrideAttention>> MakeStrideAttention(Stream&, DeviceMemory&,
                                                                     const CacheLayout&, const CudaOptions&, int) {
  return nullptr;
}

}  // namespace cascade::kernels::cuda
