#include "kernels/cpu/cache_ops.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cache_checks.h"
#include "kernels/cpu/append_kv.h"
#include "kernels/cpu/close_strides.h"
#include "kernels/cpu/slot_copies.h"

namespace cascade::kernels {
namespace {

absl::Status CheckShape(const CacheShape& shape) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("cache: ", parts...));
  };
  if (shape.kv_type != DType::kF16 && shape.kv_type != DType::kF32) {
    return invalid("the CPU keeps keys and values in F16 or F32, not ", std::string(Name(shape.kv_type)));
  }
  if (shape.head_dim < 2 || shape.head_dim % 2 != 0 || shape.head_dim > kMaxHeadDim) {
    return invalid("head_dim must be even and at most ", kMaxHeadDim, ", got ", shape.head_dim);
  }
  return CheckCacheShape(shape);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CacheOps>> CacheOps::Create(const CacheShape& shape, int num_slots, int max_rows,
                                                           ThreadPool& pool) {
  if (absl::Status status = CheckShape(shape); !status.ok()) return status;
  if (num_slots < 1 || max_rows < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("cache: needs at least one slot and one row, got ", num_slots, " and ", max_rows));
  }
  const size_t slot_bytes = BytesPerSlot(shape);
  size_t bytes = 0;
  void* memory = MAP_FAILED;
  if (!__builtin_mul_overflow(slot_bytes, static_cast<size_t>(num_slots), &bytes)) {
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cache: no memory for ", num_slots, " slots of ", slot_bytes, " bytes"));
  }
  return std::unique_ptr<CacheOps>(new CacheOps(shape, num_slots, max_rows, pool, static_cast<std::byte*>(memory)));
}

CacheOps::CacheOps(const CacheShape& shape, int num_slots, int max_rows, ThreadPool& pool, std::byte* memory)
    : layout_(shape), num_slots_(num_slots), max_rows_(max_rows), pool_(pool), memory_(memory) {}

CacheOps::~CacheOps() { munmap(memory_, layout_.slot_bytes() * num_slots_); }

size_t CacheOps::BytesPerSlot(const CacheShape& shape) { return CacheLayout(shape).slot_bytes(); }

std::byte* CacheOps::Slot(int slot) const {
  CASCADE_CHECK(slot >= 0 && slot < num_slots_);
  return memory_ + slot * layout_.slot_bytes();
}

void CacheOps::ClearSlot(int slot) {
  // Pages of an anonymous mapping read as zero after this; a slot that was never used costs nothing.
  if (madvise(Slot(slot), layout_.slot_bytes(), MADV_DONTNEED) != 0) {
    std::memset(Slot(slot), 0, layout_.slot_bytes());
  }
}

void CacheOps::CopySlot(int from, int to) {
  CASCADE_CHECK(from != to);
  // By pieces: the threads share the memory's speed.
  const std::span<const std::byte> source(Slot(from), layout_.slot_bytes());
  std::byte* target = Slot(to);
  pool_.ParallelFor(NumPieces(source.size()), [&](int64_t piece, int) { CopyPiece(source, target, piece); });
}

absl::StatusOr<HeadContents> CacheOps::ReadHead(int slot, int layer, int kv_head) {
  const CacheShape& shape = layout_.shape();
  if (absl::Status status = CheckHead(num_slots_, shape.num_layers, shape.num_kv_heads, slot, layer, kv_head);
      !status.ok()) {
    return status;
  }
  const HeadBlock block = layout_.Block(Slot(slot), layer, kv_head);
  HeadContents contents;
  for (int s = 0; s < layout_.num_segments(); ++s) {
    const int64_t begin = layout_.first_entry(s);
    const int64_t end = begin + layout_.segment_slots(s);
    contents.tokens.emplace_back(block.tokens + begin, block.tokens + end);
    contents.scores.emplace_back(block.scores + begin, block.scores + end);
    contents.distinctness.emplace_back(block.distinctness + begin, block.distinctness + end);
  }
  return contents;
}

void CacheOps::BeginStep(std::span<const Slice> slices) {
  step_.Begin(layout_, memory_, num_slots_, max_rows_, slices, pool_);
  plan_.Make(layout_, step_, pool_.num_threads());
  scratch_.Reserve(plan_, pool_.num_threads());
}

void CacheOps::AppendKv(int layer, TensorView k, TensorView v) {
  kernels::AppendKv(layout_, step_, layer, k, v, pool_);
}

void CacheOps::Attend(int layer, TensorView q, TensorView out) {
  kernels::Attend(layout_, step_, plan_, layer, q, out, scratch_, pool_);
}

void CacheOps::CloseStrides(std::span<const Close> closes) {
  kernels::CloseStrides(layout_, memory_, num_slots_, closes, pool_);
}

}  // namespace cascade::kernels
