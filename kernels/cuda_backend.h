#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace cascade::kernels {

// The number of CUDA devices that can run this build; 0 for a build without CUDA.
int CudaDeviceCount();

// UNIMPLEMENTED "built without CUDA" from the stub.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend();

}  // namespace cascade::kernels
