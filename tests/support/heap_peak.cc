// Every form of new and delete: were one left out, a sanitizer's own would meet ours and call it a mismatch.
#include "tests/support/heap_peak.h"

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

// Signed: what one thread allocates another may free.
thread_local ptrdiff_t live_bytes = 0;
thread_local ptrdiff_t peak_bytes = 0;

void* Counted(void* memory) {
  if (memory == nullptr) std::abort();  // a request beyond the machine is just what must not happen
  live_bytes += static_cast<ptrdiff_t>(malloc_usable_size(memory));
  peak_bytes = std::max(peak_bytes, live_bytes);
  return memory;
}
void* Allocate(size_t size) { return Counted(std::malloc(std::max<size_t>(size, 1))); }
void* Allocate(size_t size, std::align_val_t align) {
  const size_t unit = static_cast<size_t>(align);
  return Counted(std::aligned_alloc(unit, (std::max<size_t>(size, 1) + unit - 1) / unit * unit));
}

void Free(void* memory) {
  if (memory != nullptr) live_bytes -= static_cast<ptrdiff_t>(malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return Allocate(size); }
void* operator new[](size_t size) { return Allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return Allocate(size); }
void* operator new(size_t size, std::align_val_t align) { return Allocate(size, align); }
void* operator new[](size_t size, std::align_val_t align) { return Allocate(size, align); }
void* operator new(size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
  return Allocate(size, align);
}
void* operator new[](size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
  return Allocate(size, align);
}
void operator delete(void* memory) noexcept { Free(memory); }
void operator delete[](void* memory) noexcept { Free(memory); }
void operator delete(void* memory, size_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t) noexcept { Free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { Free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { Free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { Free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { Free(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept { Free(memory); }

namespace cascade::test {

HeapPeak::HeapPeak() : before_(live_bytes) { peak_bytes = live_bytes; }

size_t HeapPeak::bytes() const { return static_cast<size_t>(peak_bytes - before_); }

}  // namespace cascade::test
