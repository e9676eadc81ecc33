#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/linear_kernels.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cpu_backend.h"
#include "kernels/tensor_view.h"

namespace cascade::kernels {

// Memory that Linear works in; grows to the largest input seen.
class LinearScratch {
 public:
  // RESOURCE_EXHAUSTED without memory.
  absl::Status ReserveQuantized(int64_t rows, int64_t cols, bool wide, bool halves);
  absl::Status ReservePanels(int threads, int64_t cols);

  QuantizedRows Quantized(int64_t cols, bool wide, bool halves) const;
  // [cols][16], of one worker.
  float* Panel(int worker) const { return panels_.As<float>() + worker * panel_floats_; }

 private:
  Buffer quants_;
  Buffer lows_;
  Buffer blocks_;
  Buffer halves_;
  Buffer panels_;
  int64_t panel_floats_ = 0;
};

// One of several layers over the same input: out (+)= x * weight^T (+ bias).
struct LinearLayer {
  const PackedWeight* weight = nullptr;
  LinearOutput out;
};

// x: float32 [rows, cols], equal to every weight's cols. `activations`: what quantised weights meet. Fails only for
// want of scratch memory, and then writes nothing.
absl::Status Linear(TensorView x, std::span<const LinearLayer> layers, Activations activations, LinearScratch& scratch,
                    ThreadPool& pool);

}  // namespace cascade::kernels
