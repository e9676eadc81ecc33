// Small host arrays on their way to the device, and results on their way back: pinned memory and its device twin, used
// anew for every step.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"

namespace cascade::kernels::cuda {

// One of these serves one step at a time; the owner knows when a step is over. One thread.
class Staging {
 public:
  // RESOURCE_EXHAUSTED when there is no memory.
  static absl::StatusOr<std::unique_ptr<Staging>> Create(size_t bytes);
  ~Staging();

  // Forgets all. Nothing that was enqueued may still use it.
  void Reset() { used_ = 0; }
  // Device copy of `values`, enqueued; valid until the step is over. CHECKs that there is room.
  template <class T>
  const T* Upload(Stream& stream, const char* op, std::span<const T> values) {
    const size_t at = Take(values.size_bytes());
    if (!values.empty()) std::memcpy(host_ + at, values.data(), values.size_bytes());
    stream.CopyToDevice(op, device_ + at, host_ + at, values.size_bytes());
    return reinterpret_cast<const T*>(device_ + at);
  }
  size_t room() const { return bytes_ - used_; }

 private:
  Staging() = default;
  size_t Take(size_t bytes);  // 16-byte aligned

  unsigned char* host_ = nullptr;  // pinned
  unsigned char* device_ = nullptr;
  size_t bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace cascade::kernels::cuda
