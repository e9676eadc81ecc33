// Stands in for kernels/cuda in builds without CUDA: same symbols, a clear answer.
#include "kernels/cuda_backend.h"

#include "absl/status/status.h"

namespace cascade::kernels {

int CudaDeviceCount() { return 0; }

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions&) {
  return absl::UnimplementedError("this program was built without CUDA; use --device cpu");
}

absl::StatusOr<DeviceCeilings> MeasureCudaCeilings() {
  return absl::UnimplementedError("this program was built without CUDA");
}

}  // namespace cascade::kernels
