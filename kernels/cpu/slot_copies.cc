#include "kernels/cpu/slot_copies.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace cascade::kernels {
namespace {

constexpr size_t kPiece = size_t{1} << 16;

class MappedMemory final : public HostMemory {
 public:
  MappedMemory(void* data, size_t size) : data_(data), size_(size) {}
  ~MappedMemory() override { munmap(data_, size_); }
  std::span<std::byte> bytes() override { return {static_cast<std::byte*>(data_), size_}; }

 private:
  void* const data_;
  const size_t size_;
};

// The scores of all heads, one after the other, and all sums after those.
template <class Copy>
void ForEachColumn(const CacheLayout& layout, std::byte* slot, Copy copy) {
  const size_t column = static_cast<size_t>(layout.entries()) * sizeof(float);
  const CacheShape& shape = layout.shape();
  size_t at = 0;
  for (int layer = 0; layer < shape.num_layers; ++layer) {
    for (int head = 0; head < shape.num_kv_heads; ++head) {
      const HeadBlock block = layout.Block(slot, layer, head);
      copy(block.scores, at, column);
      at += column;
      if (block.sums == nullptr) continue;
      copy(block.sums, at, column * static_cast<size_t>(shape.group));
      at += column * static_cast<size_t>(shape.group);
    }
  }
}

class ReadCopy final : public SlotCopy {
 public:
  ReadCopy(const CacheLayout& layout, std::byte* slot, SlotPart part, std::span<std::byte> host)
      : layout_(layout), slot_(slot), part_(part), host_(host) {}
  absl::Status Wait() override {
    if (part_ == SlotPart::kAll) {
      const std::span<const std::byte> source(slot_, host_.size());
      for (int64_t i = 0; i < NumPieces(host_.size()); ++i) CopyPiece(source, host_.data(), i);
    } else {
      ForEachColumn(layout_, slot_, [this](const float* column, size_t at, size_t bytes) {
        std::memcpy(host_.data() + at, column, bytes);
      });
    }
    return absl::OkStatus();
  }

 private:
  const CacheLayout& layout_;
  std::byte* const slot_;
  const SlotPart part_;
  const std::span<std::byte> host_;
};

class WriteCopy final : public SlotCopy {
 public:
  WriteCopy(const CacheLayout& layout, std::byte* slot, SlotPart part, std::span<const std::byte> host)
      : layout_(layout), slot_(slot), part_(part), host_(host) {}
  absl::Status Wait() override {
    if (part_ == SlotPart::kAll) {
      for (int64_t i = 0; i < NumPieces(host_.size()); ++i) CopyPiece(host_, slot_, i);
    } else {
      ForEachColumn(layout_, slot_, [this](float* column, size_t at, size_t bytes) {
        std::memcpy(column, host_.data() + at, bytes);
      });
    }
    return absl::OkStatus();
  }

 private:
  const CacheLayout& layout_;
  std::byte* const slot_;
  const SlotPart part_;
  const std::span<const std::byte> host_;
};

}  // namespace

int64_t NumPieces(size_t bytes) { return static_cast<int64_t>((bytes + kPiece - 1) / kPiece); }

void CopyPiece(std::span<const std::byte> source, std::byte* target, int64_t piece) {
  const size_t begin = static_cast<size_t>(piece) * kPiece, count = std::min(kPiece, source.size() - begin);
  const std::byte* from = source.data() + begin;
  const bool zero = from[0] == std::byte{0} && std::memcmp(from, from + 1, count - 1) == 0;
  if (!zero || madvise(target + begin, count, MADV_DONTNEED) != 0) std::memcpy(target + begin, from, count);
}

size_t SlotPartBytes(const CacheLayout& layout, SlotPart part) {
  if (part == SlotPart::kAll) return layout.slot_bytes();
  const CacheShape& shape = layout.shape();
  const size_t columns = 1 + (shape.reduction == ScoreReduction::kMax ? static_cast<size_t>(shape.group) : 0);
  return static_cast<size_t>(layout.entries()) * sizeof(float) * columns * static_cast<size_t>(shape.num_layers) *
         static_cast<size_t>(shape.num_kv_heads);
}

std::unique_ptr<SlotCopy> StartReadSlot(const CacheLayout& layout, std::byte* slot, SlotPart part,
                                        std::span<std::byte> host) {
  CASCADE_CHECK(host.size() == SlotPartBytes(layout, part));
  return std::make_unique<ReadCopy>(layout, slot, part, host);
}

std::unique_ptr<SlotCopy> StartWriteSlot(const CacheLayout& layout, std::byte* slot, SlotPart part,
                                         std::span<const std::byte> host) {
  CASCADE_CHECK(host.size() == SlotPartBytes(layout, part));
  return std::make_unique<WriteCopy>(layout, slot, part, host);
}

absl::StatusOr<std::unique_ptr<HostMemory>> AllocateMapped(size_t bytes) {
  void* const data = bytes == 0 ? MAP_FAILED
                                : mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
  return std::make_unique<MappedMemory>(data, bytes);
}

}  // namespace cascade::kernels
