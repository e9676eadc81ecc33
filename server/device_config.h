// What the flags mean on the device that was found.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cpu_backend.h"
#include "kernels/dtype.h"
#include "server/config.h"

namespace cascade {

enum class Device : uint8_t { kCpu, kCuda };

struct DeviceConfig {
  Device device = Device::kCpu;
  std::string dtype;                                                // "int16", "bfloat16": never "auto"
  kernels::Activations activations = kernels::Activations::kInt16;  // CPU
  kernels::DType compute = kernels::DType::kBF16;                   // CUDA
  kernels::DType kv_type = kernels::DType::kF16;
  int max_num_seqs = 0;
  int max_num_batched_tokens = 0;

  std::string kv_cache_dtype() const;  // "float16"
};

// Fills in the device's defaults. An ExitError (kConfig) for what the device has not; it names the flag and what would
// be right.
absl::StatusOr<DeviceConfig> ConfigureDevice(const ServerConfig& config, Device device);

}  // namespace cascade
