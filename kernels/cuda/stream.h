// The one stream that all work of a backend goes through: launches, copies, and the first error with its op's name.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cascade::kernels::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic; much of it is asked for when needed
  // The kernel may begin while the one before it ends (device.h, WaitForPrevious); every block of it must call
  // WaitForPrevious(). Ignored by code for less than sm_90.
  bool overlap = false;
  // Blocks of a cluster, consecutive along x, of which grid.x is a multiple; at most DeviceTraits::cluster_blocks.
  unsigned cluster_blocks = 1;
};

struct DeviceTraits {
  std::string name;
  int capability = 0;  // 80, 90, ..
  int code = 0;        // device_code.h
  int num_sms = 0;
  size_t memory_bytes = 0;
  size_t shared_bytes = 0;  // of a block, at most
  size_t l2_bytes = 0;
  int cluster_blocks = 1;  // of a cluster, at most
};

// One thread. A function that fails keeps the first error; after an error nothing is launched or copied until it is
// taken. `op`s live for ever: literals.
class Stream {
 public:
  // On device 0. FAILED_PRECONDITION when there is no device or driver, or the device is older than 8.0.
  static absl::StatusOr<std::unique_ptr<Stream>> Create();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  const DeviceTraits& traits() const { return traits_; }

  template <class... Parameters, class... Arguments>
  void Launch(const char* op, void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... arguments) {
    if (failed() || shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
    PrepareKernel(op, reinterpret_cast<const void*>(kernel), shape.shared_bytes);
    cudaLaunchConfig_t config = {};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream_;
    cudaLaunchAttribute attributes[2] = {};
    config.attrs = attributes;
    if (shape.overlap && traits_.code >= 90) {
      cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
      attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attribute.val.programmaticStreamSerializationAllowed = 1;
    }
    if (shape.cluster_blocks > 1) {
      cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {shape.cluster_blocks, 1, 1};
    }
    Check(op, cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...));
  }
  // Host memory: pinned, and untouched until the copy is done; or pageable.
  void CopyToDevice(const char* op, void* device, const void* host, size_t bytes);
  void CopyToHost(const char* op, void* host, const void* device, size_t bytes);
  void CopyOnDevice(const char* op, void* to, const void* from, size_t bytes);
  void Fill(const char* op, void* device, int byte, size_t bytes);

  void Check(const char* op, cudaError_t result);
  bool failed() const { return !error_.ok(); }
  // Waits for all that was enqueued.
  void Synchronize(const char* op) { Check(op, cudaStreamSynchronize(stream_)); }
  // The first error since the last call. DATA_LOSS: the device can not be used any more; it is then given for ever.
  absl::Status TakeError();

 private:
  Stream() = default;
  // Once per kernel and size of dynamic shared memory.
  void PrepareKernel(const char* op, const void* kernel, size_t bytes);

  cudaStream_t stream_ = nullptr;
  DeviceTraits traits_;
  absl::Status error_;
  std::unordered_map<const void*, size_t> allowed_;  // dynamic shared memory that kernels may take
};

}  // namespace cascade::kernels::cuda
