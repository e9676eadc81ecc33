#include "kernels/cuda/stream.h"

#include "absl/strings/str_cat.h"
#include "kernels/cuda/device_code.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kOldestMajor = 8;
// A kernel has 48 KiB without asking, of which this leaves some for its static arrays.
constexpr size_t kSharedWithoutAsking = 32 << 10;
constexpr int kPortableCluster = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<Stream>> Stream::Create() {
  int count = 0;
  cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat("no CUDA device can be used: ", cudaGetErrorString(result)));
  }
  if (count == 0) return absl::FailedPreconditionError("there is no CUDA device");
  cudaDeviceProp properties;
  result = cudaGetDeviceProperties(&properties, 0);
  if (result == cudaSuccess) result = cudaSetDevice(0);
  if (result != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat("CUDA device 0: ", cudaGetErrorString(result)));
  }
  if (properties.major < kOldestMajor) {
    return absl::FailedPreconditionError(absl::StrCat("CUDA device 0, ", properties.name, ", has compute capability ",
                                                      properties.major, ".", properties.minor, "; ", kOldestMajor,
                                                      ".0 or later is needed"));
  }
  auto stream = std::unique_ptr<Stream>(new Stream);
  stream->traits_ = {.name = properties.name,
                     .capability = properties.major * 10 + properties.minor,
                     .code = CodeArchitecture(properties.major * 10 + properties.minor),
                     .num_sms = properties.multiProcessorCount,
                     .memory_bytes = properties.totalGlobalMem,
                     .shared_bytes = properties.sharedMemPerBlockOptin,
                     .l2_bytes = static_cast<size_t>(properties.l2CacheSize)};
  int clusters = 0;
  result = cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, 0);
  if (clusters != 0 && stream->traits_.code >= 90) {
    // Of 9.0; others have what every device with clusters has.
    stream->traits_.cluster_blocks = stream->traits_.capability == 90 ? 16 : kPortableCluster;
  }
  if (result == cudaSuccess) result = cudaStreamCreateWithFlags(&stream->stream_, cudaStreamNonBlocking);
  if (result != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("CUDA device 0, ", properties.name, ": ", cudaGetErrorString(result)));
  }
  return stream;
}

Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void Stream::CopyToDevice(const char* op, void* device, const void* host, size_t bytes) {
  if (failed() || bytes == 0) return;
  Check(op, cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_));
}

void Stream::CopyToHost(const char* op, void* host, const void* device, size_t bytes) {
  if (failed() || bytes == 0) return;
  Check(op, cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_));
}

void Stream::CopyOnDevice(const char* op, void* to, const void* from, size_t bytes) {
  if (failed() || bytes == 0) return;
  Check(op, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
}

void Stream::Fill(const char* op, void* device, int byte, size_t bytes) {
  if (failed() || bytes == 0) return;
  Check(op, cudaMemsetAsync(device, byte, bytes, stream_));
}

void Stream::Check(const char* op, cudaError_t result) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // the runtime keeps it otherwise, and libraries take it for theirs
  if (failed()) return;
  const std::string message = absl::StrCat(op, ": ", cudaGetErrorString(result));
  // An error that the device keeps (a bad access, a lost device) shows again at once; one of a single call does not.
  // While its work is being recorded the stream must not be asked: that fails, and says nothing of the device.
  cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
  const bool recorded =
      cudaStreamIsCapturing(stream_, &recording) == cudaSuccess && recording != cudaStreamCaptureStatusNone;
  const bool sticky =
      !recorded && cudaStreamQuery(stream_) != cudaErrorNotReady && cudaDeviceSynchronize() != cudaSuccess;
  error_ = sticky ? absl::DataLossError(message) : absl::InternalError(message);
}

absl::Status Stream::TakeError() {
  absl::Status error = error_;
  if (!absl::IsDataLoss(error)) error_ = absl::OkStatus();
  return error;
}

void Stream::PrepareKernel(const char* op, const void* kernel, size_t bytes) {
  const auto [found, first] = allowed_.try_emplace(kernel, kSharedWithoutAsking);
  if (first) {
    // The same division of the on-chip memory for all: a multiprocessor must be empty to change it, which keeps
    // neighbouring kernels from overlapping.
    Check(op,
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
    if (traits_.cluster_blocks > kPortableCluster) {
      Check(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    }
  }
  if (bytes <= found->second) return;
  // No more than is taken: together with the kernel's static arrays it must not exceed what a block can have.
  found->second = bytes;
  Check(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

}  // namespace cascade::kernels::cuda
