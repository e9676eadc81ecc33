#include "kernels/cpu/buffer.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cascade::kernels {
namespace {

constexpr std::align_val_t kAlignment{64};
// From here on the kernel's zero pages; below, the heap, where AddressSanitizer sees overruns.
constexpr size_t kMapFrom = size_t{2} << 20;

}  // namespace

absl::StatusOr<Buffer> Buffer::Create(size_t bytes) {
  if (bytes == 0) return Buffer();
  void* data = nullptr;
  if (bytes < kMapFrom) {
    data = ::operator new(bytes, kAlignment, std::nothrow);
    if (data != nullptr) std::memset(data, 0, bytes);
  } else {
    data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) data = nullptr;
#ifdef MADV_HUGEPAGE
    if (data != nullptr) madvise(data, bytes, MADV_HUGEPAGE);  // a hint; its failure changes nothing but speed
#endif
  }
  if (data == nullptr) return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
  return Buffer(data, bytes);
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (bytes_ < kMapFrom) {
    ::operator delete(data_, kAlignment);
  } else {
    munmap(data_, bytes_);
  }
}

}  // namespace cascade::kernels
