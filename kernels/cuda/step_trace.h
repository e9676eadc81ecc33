// When the device worked on steps and when it had none: for benchmarks.
#pragma once

#include <array>

#include "kernels/cuda/stream.h"
#include "kernels/cuda_backend.h"

namespace cascade::kernels::cuda {

// Two events around each step's work on the stream. A step that was put there while the one before was under way begins
// when that ends; else the time between them is the device's idle time. Steps are waited for in their order. Does
// nothing without a trace to add to.
class StepTrace {
 public:
  // At most `steps_in_flight` steps are begun and not collected.
  StepTrace(DeviceTrace* trace, int steps_in_flight);
  ~StepTrace();
  StepTrace(const StepTrace&) = delete;
  StepTrace& operator=(const StepTrace&) = delete;

  // Before a step's first work, after its last, and when it has been waited for.
  void Begin(Stream& stream);
  void End(Stream& stream);
  void Collect(Stream& stream);

 private:
  struct Events {
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
  };
  static constexpr int kMost = 8;

  DeviceTrace* const trace_;
  const int size_;
  std::array<Events, kMost> events_ = {};
  int begun_ = 0;  // steps, all counted from the first
  int collected_ = 0;
};

}  // namespace cascade::kernels::cuda
