// Weights on their way from their file, which is mapped into memory, to the device.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// Matrices of 16-bit floats keep their type, float32 is rounded to `compute`, quantised types are laid out anew; a
// weight of one row is float32 as well (dense_row). All pass through two pinned buffers: while one is copied to the
// device, threads fill the other, and so the file's page faults, the new layout and the bus overlap.
//
// The host's data has been read when Load returns; the device's copy is there for what is enqueued after it. One
// thread.
class WeightLoader {
 public:
  static absl::StatusOr<std::unique_ptr<WeightLoader>> Create(Stream& stream, DeviceMemory& memory, DType compute);
  ~WeightLoader();

  // INVALID_ARGUMENT for a shape that no file can have; RESOURCE_EXHAUSTED without memory.
  absl::StatusOr<DeviceWeight> Load(const HostWeight& weight);
  // Waits for the copies, and gives the buffers and threads back; the next Load makes them anew.
  absl::Status Finish();

 private:
  struct Buffer {
    unsigned char* bytes = nullptr;
    cudaEvent_t copied = nullptr;
  };

  WeightLoader(Stream& stream, DeviceMemory& memory, DType compute)
      : stream_(stream), memory_(memory), compute_(compute) {}
  absl::Status Prepare();
  void Release();
  absl::StatusOr<DeviceWeight> AllocateMatrix(const HostWeight& weight);
  void CopyMatrix(const HostWeight& weight, const DeviceWeight& device);
  void CopyDenseRow(const HostWeight& weight, float* device);
  // The buffer that was used least recently, when the device has read it.
  Buffer& TakeBuffer();
  void Copied(Buffer& buffer);

  Stream& stream_;
  DeviceMemory& memory_;
  const DType compute_;
  std::array<Buffer, 2> buffers_;
  int next_ = 0;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace cascade::kernels::cuda
