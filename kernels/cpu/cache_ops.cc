#include "kernels/cpu/cache_ops.h"

#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cpu/append_kv.h"
#include "kernels/cpu/close_strides.h"

namespace cascade::kernels {
namespace {

absl::Status CheckShape(const CacheShape& shape) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("cache: ", parts...));
  };
  if (shape.kv_type != DType::kF16 && shape.kv_type != DType::kF32) {
    return invalid("the CPU keeps keys and values in F16 or F32, not ", std::string(Name(shape.kv_type)));
  }
  if (shape.num_layers < 1 || shape.num_kv_heads < 1 || shape.group < 1) {
    return invalid("needs at least one layer, KV head and query head, got ", shape.num_layers, ", ", shape.num_kv_heads,
                   " and ", shape.group);
  }
  if (shape.head_dim < 2 || shape.head_dim % 2 != 0 || shape.head_dim > kMaxHeadDim) {
    return invalid("head_dim must be even and at most ", kMaxHeadDim, ", got ", shape.head_dim);
  }
  if (static_cast<int>(shape.rope.frequency.size()) != shape.head_dim / 2) {
    return invalid("needs ", shape.head_dim / 2, " rope frequencies, got ", shape.rope.frequency.size());
  }
  if (shape.num_sinks < 0) return invalid("num_sinks must not be negative, got ", shape.num_sinks);
  if (shape.ring_slots.empty()) return invalid("needs at least one ring");
  int64_t total = shape.num_sinks;
  for (const int slots : shape.ring_slots) {
    if (slots < 1) return invalid("a ring needs at least one slot, got ", slots);
    total += slots;
  }
  if (total > std::numeric_limits<int>::max() / 2) return invalid("has too many slots: ", total);
  if (shape.stride < 1 || shape.stride > shape.ring_slots[0]) {
    return invalid("stride must be 1 to the ", shape.ring_slots[0], " slots of ring 0, got ", shape.stride);
  }
  if (shape.selection_group < 1 || (shape.num_rings() > 1 && shape.selection_group > shape.stride)) {
    return invalid("selection_group must be 1 to the stride of ", shape.stride, ", got ", shape.selection_group);
  }
  if (!(shape.ema_decay > 0 && shape.ema_decay <= 1)) {
    return invalid("ema_decay must be above 0 and at most 1, got ", shape.ema_decay);
  }
  return absl::OkStatus();
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

void CacheOps::ClearSlot(int slot) {
  CASCADE_CHECK(slot >= 0 && slot < num_slots_);
  // Pages of an anonymous mapping read as zero after this; a slot that was never used costs nothing.
  if (madvise(Slot(slot), layout_.slot_bytes(), MADV_DONTNEED) != 0) {
    std::memset(Slot(slot), 0, layout_.slot_bytes());
  }
}

absl::StatusOr<HeadContents> CacheOps::ReadHead(int slot, int layer, int kv_head) {
  const CacheShape& shape = layout_.shape();
  if (slot < 0 || slot >= num_slots_ || layer < 0 || layer >= shape.num_layers || kv_head < 0 ||
      kv_head >= shape.num_kv_heads) {
    return absl::InvalidArgumentError(absl::StrCat("cache: no slot ", slot, ", layer ", layer, ", KV head ", kv_head,
                                                   "; there are ", num_slots_, ", ", shape.num_layers, " and ",
                                                   shape.num_kv_heads));
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
