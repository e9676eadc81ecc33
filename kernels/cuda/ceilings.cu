#include <cublasLt.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels {
namespace cuda {
namespace {

constexpr size_t kBytes = size_t{4} << 30;
constexpr int kSide = 8192;
constexpr int kRepetitions = 21;

// One block per multiprocessor and more, each with a share of the memory; eight loads of 16 bytes under way per thread.
__global__ void ReadAll(const uint4* data, size_t count, uint32_t* out) {
  constexpr int kUnroll = 8;
  const size_t threads = static_cast<size_t>(gridDim.x) * blockDim.x;
  uint32_t sum = 0;
  size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + (kUnroll - 1) * threads < count; i += kUnroll * threads) {
    uint4 v[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) v[u] = LoadStreaming(data + i + u * threads);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum += v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  if (sum == 0x12345678) *out = sum;  // keeps the loads
}

// Random bf16 in (-2, 2), a function of the index: data of zeros would run faster than data does.
__global__ void FillRandom(uint32_t* data, size_t count) {
  const size_t threads = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u ^ static_cast<uint32_t>(i >> 32);
    x ^= x >> 15;
    x *= 0x2C1B3C6Du;
    x ^= x >> 13;
    data[i] = (x & 0x80FF80FFu) | 0x3F003F00u;
  }
}

// Seconds of one call, median of many, measured on the device.
double Median(Stream& stream, const std::function<void()>& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  stream.Check("ceilings", cudaEventCreate(&begin));
  stream.Check("ceilings", cudaEventCreate(&end));
  std::vector<double> seconds;
  for (int i = -3; i < kRepetitions && !stream.failed(); ++i) {
    stream.Check("ceilings", cudaEventRecord(begin, stream.get()));
    work();
    stream.Check("ceilings", cudaEventRecord(end, stream.get()));
    stream.Check("ceilings", cudaEventSynchronize(end));
    float milliseconds = 0;
    if (!stream.failed()) stream.Check("ceilings", cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 0) seconds.push_back(milliseconds * 1e-3);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  if (seconds.empty()) return 0;
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

absl::Status MeasureGemm(Stream& stream, unsigned char* memory, DeviceCeilings& ceilings) {
  constexpr size_t kMatrix = size_t{kSide} * kSide * 2;
  constexpr size_t kWorkspace = 64 << 20;
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  bool ok = cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)) ==
                 CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, kSide, kSide, kSide) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS;
  ok = ok && cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace,
                                                  sizeof(kWorkspace)) == CUBLAS_STATUS_SUCCESS;
  cublasLtMatmulHeuristicResult_t found;
  int count = 0;
  ok = ok && cublasLtMatmulAlgoGetHeuristic(handle, operation, layout, layout, layout, layout, preference, 1, &found,
                                            &count) == CUBLAS_STATUS_SUCCESS;
  ok = ok && count == 1;
  if (ok) {
    const float one = 1, zero = 0;
    const double seconds = Median(stream, [&] {
      ok = ok && cublasLtMatmul(handle, operation, &one, memory, layout, memory + kMatrix, layout, &zero,
                                memory + 2 * kMatrix, layout, memory + 2 * kMatrix, layout, &found.algo,
                                memory + 3 * kMatrix, kWorkspace, stream.get()) == CUBLAS_STATUS_SUCCESS;
    });
    if (seconds > 0) ceilings.bf16_flops = 2.0 * kSide * kSide * kSide / seconds;
  }
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(operation);
  if (handle != nullptr) cublasLtDestroy(handle);
  return ok ? stream.TakeError() : absl::InternalError("ceilings: cuBLAS can not multiply");
}

}  // namespace
}  // namespace cuda

absl::StatusOr<DeviceCeilings> MeasureCudaCeilings() {
  using namespace cuda;
  absl::StatusOr<std::unique_ptr<Stream>> stream = Stream::Create();
  if (!stream.ok()) return stream.status();
  DeviceMemory memory;
  absl::StatusOr<unsigned char*> data = memory.AllocateArray<unsigned char>("ceilings", 2 * kBytes);
  if (!data.ok()) return data.status();
  Stream& s = **stream;
  const unsigned blocks = static_cast<unsigned>(s.traits().num_sms) * 4;
  s.Launch("ceilings", FillRandom, {.grid = blocks, .block = 512}, reinterpret_cast<uint32_t*>(*data),
           2 * kBytes / sizeof(uint32_t));
  DeviceCeilings ceilings;
  const double copy = Median(s, [&] {
    s.Check("ceilings", cudaMemcpyAsync(*data + kBytes, *data, kBytes, cudaMemcpyDeviceToDevice, s.get()));
  });
  if (copy > 0) ceilings.copy_bytes_per_s = 2.0 * kBytes / copy;
  const double read = Median(s, [&] {
    s.Launch("ceilings", ReadAll, {.grid = blocks, .block = 512}, reinterpret_cast<const uint4*>(*data),
             2 * kBytes / sizeof(uint4), reinterpret_cast<uint32_t*>(*data));
  });
  if (read > 0) ceilings.read_bytes_per_s = 2.0 * kBytes / read;
  if (absl::Status status = MeasureGemm(s, *data, ceilings); !status.ok()) return status;
  return ceilings;
}

}  // namespace cascade::kernels
