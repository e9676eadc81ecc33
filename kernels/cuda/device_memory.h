// Device memory: allocated at start, freed at the end, never in between.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/statusor.h"

namespace cascade::kernels::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // 256-byte aligned; 16 bytes beyond its end may be read. RESOURCE_EXHAUSTED: "WHAT: no device memory for N bytes, M
  // are free".
  absl::StatusOr<void*> Allocate(const char* what, size_t bytes);
  template <class T>
  absl::StatusOr<T*> AllocateArray(const char* what, size_t count) {
    absl::StatusOr<void*> memory = Allocate(what, count * sizeof(T));
    if (!memory.ok()) return memory.status();
    return static_cast<T*>(*memory);
  }
  size_t bytes() const { return bytes_; }

 private:
  std::vector<void*> blocks_;
  size_t bytes_ = 0;
};

}  // namespace cascade::kernels::cuda
