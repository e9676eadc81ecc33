#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace cascade::kernels {

struct CpuOptions {
  int num_threads = 0;           // 0: one per hardware thread
  bool int8_activations = true;  // quantised weights meet 8-bit activations (blocks of 32); false: float32
};

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options);

}  // namespace cascade::kernels
