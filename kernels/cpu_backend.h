#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace cascade::kernels {

// What quantised weights are multiplied with. Fixed-point activations have one scale per row and block of 32 columns.
enum class Activations : uint8_t {
  kInt8,     // fastest; loss within 0.006 nats of float32
  kInt16,    // two 8-bit halves: twice the arithmetic of kInt8, as good as float32
  kFloat32,  // weights are dequantised; slow
};

struct CpuOptions {
  int num_threads = 0;  // 0: one per hardware thread
  Activations activations = Activations::kInt16;
};

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options);

}  // namespace cascade::kernels
