#include "kernels/cuda/cache_layout.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cache_checks.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kEntryMultiple = 16;
constexpr size_t kPartMultiple = 128;
constexpr int kHeadDimMultiple = 8;  // elements of 16 bytes

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Row sizes that kernels are compiled for.
int RowElements(int head_dim) { return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256; }

}  // namespace

absl::Status CheckDeviceCacheShape(const CacheShape& shape) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("cache: ", parts...));
  };
  if (shape.kv_type != DType::kBF16) {
    return invalid("CUDA keeps keys and values in BF16, not ", std::string(Name(shape.kv_type)));
  }
  if (shape.group > kMaxGroup) {
    return invalid("CUDA has at most ", kMaxGroup, " query heads per KV head, got ", shape.group);
  }
  if (shape.head_dim < kHeadDimMultiple || shape.head_dim % kHeadDimMultiple != 0 || shape.head_dim > kMaxHeadDim) {
    return invalid("head_dim must be a multiple of ", kHeadDimMultiple, " and at most ", kMaxHeadDim, " on CUDA, got ",
                   shape.head_dim);
  }
  if (shape.num_rings() > kMaxRings) return invalid("CUDA has at most ", kMaxRings, " rings, got ", shape.num_rings());
  if (shape.num_rings() > 1 && shape.selection_group > kMaxSelectionGroup) {
    return invalid("selection_group must be at most ", kMaxSelectionGroup, " on CUDA, got ", shape.selection_group);
  }
  return CheckCacheShape(shape);
}

CacheLayout MakeCacheLayout(const CacheShape& shape) {
  CASCADE_CHECK(CheckDeviceCacheShape(shape).ok());
  CacheLayout layout = {};
  layout.num_layers = shape.num_layers;
  layout.num_kv_heads = shape.num_kv_heads;
  layout.group = shape.group;
  layout.head_dim = shape.head_dim;
  layout.row_elements = RowElements(shape.head_dim);
  layout.num_segments = shape.num_rings() + 1;
  for (int segment = 0; segment < layout.num_segments; ++segment) {
    const int slots = segment == 0 ? shape.num_sinks : shape.ring_slots[segment - 1];
    layout.segment_slots[segment] = slots;
    layout.first_entry[segment] = layout.entries;
    layout.entries += static_cast<int>(RoundUp(slots, kEntryMultiple));
  }
  layout.stride = shape.stride;
  layout.selection_group = shape.selection_group;
  layout.selection = static_cast<int>(shape.selection);
  layout.max_reduction = shape.reduction == ScoreReduction::kMax;
  layout.interleaved = shape.rope.pairs == RopePairs::kInterleaved;
  layout.stride_decay = static_cast<float>(std::pow(shape.ema_decay, shape.stride));
  layout.ema_decay = shape.ema_decay;

  const size_t entries = static_cast<size_t>(layout.entries);
  const size_t rows = RoundUp(entries * layout.row_elements * sizeof(uint16_t), kPartMultiple);
  const size_t column = RoundUp(entries * sizeof(float), kPartMultiple);
  layout.values_offset = rows;
  layout.scores_offset = 2 * rows;
  layout.distinctness_offset = layout.scores_offset + column;
  layout.tokens_offset = layout.distinctness_offset + column;
  layout.sums_offset = layout.tokens_offset + column;
  const size_t sums = layout.max_reduction ? layout.group * entries * sizeof(float) : 0;
  layout.block_bytes = layout.sums_offset + RoundUp(sums, kPartMultiple);
  layout.slot_bytes = layout.block_bytes * layout.num_layers * layout.num_kv_heads;
  return layout;
}

}  // namespace cascade::kernels::cuda
