// Speed is not what the emulated device is for.
#include "absl/status/status.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels {

absl::StatusOr<DeviceCeilings> MeasureCudaCeilings() {
  return absl::UnimplementedError("an emulated device has no speed");
}

}  // namespace cascade::kernels
