#include "server/device_config.h"

#include "absl/strings/str_cat.h"
#include "server/exit_code.h"

namespace cascade {
namespace {

constexpr int kCpuSeqs = 16, kCpuBatchedTokens = 64;
// A step that reads a prompt keeps the device's arithmetic busy, and others wait for it no longer than a moment.
constexpr int kCudaSeqs = 64, kCudaBatchedTokens = 2048;

absl::Status SetCpuTypes(const ServerConfig& config, DeviceConfig& result) {
  result.dtype = config.dtype == "auto" ? "int16" : config.dtype;
  if (result.dtype == "int8") {
    result.activations = kernels::Activations::kInt8;
  } else if (result.dtype == "int16") {
    result.activations = kernels::Activations::kInt16;
  } else if (result.dtype == "float32") {
    result.activations = kernels::Activations::kFloat32;
  } else {
    return FlagError("dtype", absl::StrCat(result.dtype, " is for CUDA; the CPU has int16 (auto), int8 and float32"));
  }
  if (config.kv_cache_dtype == "bfloat16") {
    return FlagError("kv-cache-dtype", "bfloat16 is for CUDA; the CPU has float16 and float32");
  }
  const bool wide =
      config.kv_cache_dtype == "float32" || (config.kv_cache_dtype == "auto" && result.dtype == "float32");
  result.kv_type = wide ? kernels::DType::kF32 : kernels::DType::kF16;
  return absl::OkStatus();
}

absl::Status SetCudaTypes(const ServerConfig& config, DeviceConfig& result) {
  result.dtype = config.dtype == "auto" ? "bfloat16" : config.dtype;
  if (result.dtype == "bfloat16") {
    result.compute = kernels::DType::kBF16;
  } else if (result.dtype == "float16") {
    result.compute = kernels::DType::kF16;
  } else {
    return FlagError("dtype", absl::StrCat(result.dtype, " is for the CPU; CUDA has bfloat16 (auto) and float16"));
  }
  if (config.kv_cache_dtype != "auto" && config.kv_cache_dtype != "bfloat16") {
    return FlagError("kv-cache-dtype", absl::StrCat(config.kv_cache_dtype, " is for the CPU; CUDA has bfloat16"));
  }
  result.kv_type = kernels::DType::kBF16;
  return absl::OkStatus();
}

}  // namespace

std::string DeviceConfig::kv_cache_dtype() const {
  if (kv_type == kernels::DType::kBF16) return "bfloat16";
  return kv_type == kernels::DType::kF32 ? "float32" : "float16";
}

absl::StatusOr<DeviceConfig> ConfigureDevice(const ServerConfig& config, Device device) {
  const bool cuda = device == Device::kCuda;
  DeviceConfig result;
  result.device = device;
  if (absl::Status status = cuda ? SetCudaTypes(config, result) : SetCpuTypes(config, result); !status.ok()) {
    return status;
  }
  // With --device auto the same flags may serve machines with and without a device.
  if (config.device == "cpu" && config.gpu_memory_utilization_given) {
    return FlagError("gpu-memory-utilization", "is for CUDA; on the CPU --cache-memory-bytes bounds the caches");
  }
  if (config.device == "cpu" && config.score_certificate_limit_given) {
    return FlagError("score-certificate-limit", "is for CUDA; on the CPU scores are exact");
  }
  if (!cuda && config.score_kernel == "fast") {
    return FlagError("score-kernel", "fast is for CUDA; on the CPU scores are exact");
  }
  const auto choose = [](int64_t given, int otherwise) { return given > 0 ? static_cast<int>(given) : otherwise; };
  result.max_num_seqs = choose(config.max_num_seqs, cuda ? kCudaSeqs : kCpuSeqs);
  result.max_num_batched_tokens = choose(config.max_num_batched_tokens,
                                         std::max(cuda ? kCudaBatchedTokens : kCpuBatchedTokens, result.max_num_seqs));
  if (result.max_num_batched_tokens < result.max_num_seqs) {
    return FlagError("max-num-batched-tokens",
                     absl::StrCat(result.max_num_batched_tokens, " is less than --max-num-seqs (", result.max_num_seqs,
                                  "): a step could not serve every turn"));
  }
  return result;
}

}  // namespace cascade
