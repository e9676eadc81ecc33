#pragma once

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"

namespace cascade::kernels {

// Zeroed memory, aligned to a cache line, in huge pages where they help. Large buffers take physical memory only where
// they are touched.
class Buffer {
 public:
  // RESOURCE_EXHAUSTED, naming the bytes wanted, when there is none.
  static absl::StatusOr<Buffer> Create(size_t bytes);

  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer();

  size_t size() const { return bytes_; }
  template <class T>
  T* As() const {
    return static_cast<T*>(data_);
  }

 private:
  Buffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace cascade::kernels
