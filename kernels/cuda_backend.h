#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace cascade::kernels {

// Of steps that were waited for: how long the device worked on them, and how long it had nothing to do before each.
struct DeviceTrace {
  int64_t steps = 0;
  double busy_seconds = 0;
  double idle_seconds = 0;
};

// How the attention that keys receive in prefill is added up (cache.md, sections 3 and 8).
enum class ScoreKernel {
  kExact,  // by a second pass over the keys
  // In the pass that computes the outputs, with each row's sum predicted; exactly where a certificate is above the
  // limit. INVALID_ARGUMENT from CreateCaches where there is no kernel for it: it is for compute capability 9.0, heads
  // of up to 128, mean reduction, not `deterministic`, and an ema_decay that leaves a stride's first token a
  // thousandth.
  kFast,
  kAuto,  // kFast where there is one and it is faster
};

// As flags name them; `auto` is what is neither "exact" nor "fast".
inline ScoreKernel ScoreKernelOf(std::string_view name) {
  return name == "exact" ? ScoreKernel::kExact : name == "fast" ? ScoreKernel::kFast : ScoreKernel::kAuto;
}

struct CudaOptions {
  DType compute = DType::kBF16;  // or kF16: of activations and of what linear layers multiply
  // One kernel and order of summation per op for any number of rows: row invariance, and slower.
  bool deterministic = false;
  // Added to by WaitStep, if not null: for benchmarks. Outlives the back end.
  DeviceTrace* trace = nullptr;
  ScoreKernel score_kernel = ScoreKernel::kAuto;
  float certificate_limit = 0.05f;  // 0 and more
};

// What the device reaches, measured: the ceilings of benchmarks.
struct DeviceCeilings {
  double copy_bytes_per_s = 0;  // device to device, bytes read and bytes written
  double read_bytes_per_s = 0;
  double bf16_flops = 0;  // a product of two matrices of 8192 x 8192 random numbers
};
absl::StatusOr<DeviceCeilings> MeasureCudaCeilings();

// The number of CUDA devices that can run this build; 0 for a build without CUDA.
int CudaDeviceCount();

// On device 0. UNIMPLEMENTED "built without CUDA" from the stub; FAILED_PRECONDITION when there is no device or driver,
// or the device is too old.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options);

}  // namespace cascade::kernels
