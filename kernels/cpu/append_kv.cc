#include "kernels/cpu/append_kv.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/append_kv.cc"
#include "hwy/foreach_target.h"  // compiles the rest once per instruction set
#include "hwy/highway.h"
#include "kernels/cpu/kv_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace {

template <class T>
void StoreRows(const CacheLayout& layout, const CacheStep& step, const StepSlice& slice, int begin, int end,
               const HeadBlock& block, int kv_head, const TensorView& k, const TensorView& v) {
  const CacheShape& shape = layout.shape();
  const int head_dim = shape.head_dim;
  const int segment = slice.sinks ? 0 : 1;
  const uint32_t slots = layout.segment_slots(segment);
  alignas(64) float turned[kMaxHeadDim];
  alignas(64) T narrow[kMaxHeadDim];
  for (int row = begin; row < end; ++row) {
    const int64_t entry = layout.first_entry(segment) + (slice.write_slot + row) % slots;
    const int64_t source = int64_t{slice.first_row + row} * k.cols + int64_t{kv_head} * head_dim;
    TurnHead(k.f32() + source, step.Turn(slice, row, segment), shape.rope.pairs, head_dim, 1.0f, turned);
    StoreKey(turned, entry, head_dim, narrow, static_cast<T*>(block.keys));
    NarrowRow(v.f32() + source, head_dim, static_cast<T*>(block.values) + entry * layout.value_stride());
    block.scores[entry] = 0;
    block.distinctness[entry] = 0;
    block.tokens[entry] = slice.first_token + static_cast<uint32_t>(row);
    if (block.sums != nullptr) {
      for (int g = 0; g < shape.group; ++g) block.sums[g * layout.entries() + entry] = 0;
    }
  }
}

void AppendRows(const CacheLayout& layout, const CacheStep& step, const StepSlice& slice, int begin, int end,
                const HeadBlock& block, int kv_head, const TensorView& k, const TensorView& v) {
  if (layout.shape().kv_type == DType::kF32) {
    StoreRows<float>(layout, step, slice, begin, end, block, kv_head, k, v);
  } else {
    StoreRows<hwy::float16_t>(layout, step, slice, begin, end, block, kv_head, k, v);
  }
}

}  // namespace
}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
namespace {

HWY_EXPORT(AppendRows);

// Calls function(begin, end) for the entries of a ring that are in `segment`: one or two pieces.
template <class Function>
void ForEntries(const CacheLayout& layout, int index, const Segment& segment, const Function& function) {
  const int64_t first = layout.first_entry(index);
  const int64_t slots = layout.segment_slots(index);
  const int64_t end = int64_t{segment.first_slot} + segment.count;
  if (segment.count == 0) return;
  function(first + segment.first_slot, first + std::min(end, slots));
  if (end > slots) function(first, first + end - slots);
}

void OpenStride(const CacheLayout& layout, const StepSlice& slice, const HeadBlock& block) {
  const CacheShape& shape = layout.shape();
  const float decay = static_cast<float>(std::pow(shape.ema_decay, shape.stride));
  for (int s = 1; s < layout.num_segments(); ++s) {
    ForEntries(layout, s, slice.segments[s], [&](int64_t begin, int64_t end) {
      if (block.sums == nullptr) {
        for (int64_t i = begin; i < end; ++i) block.scores[i] *= decay;
        return;
      }
      for (int g = 0; g < shape.group; ++g) {
        std::fill(block.sums + g * layout.entries() + begin, block.sums + g * layout.entries() + end, 0.0f);
      }
    });
  }
}

}  // namespace

void AppendKv(const CacheLayout& layout, const CacheStep& step, int layer, TensorView k, TensorView v,
              ThreadPool& pool) {
  const CacheShape& shape = layout.shape();
  const int64_t width = int64_t{shape.num_kv_heads} * shape.head_dim;
  CASCADE_CHECK(layer >= 0 && layer < shape.num_layers);
  CASCADE_CHECK(k.type == DType::kF32 && v.type == DType::kF32 && k.cols == width && v.cols == width);
  for (const StepSlice& slice : step.slices) {
    CASCADE_CHECK(slice.first_row + slice.num_rows <= std::min(k.rows, v.rows));
  }
  const auto store = [&](const StepSlice& slice, int kv_head) {
    const HeadBlock block = layout.Block(slice.memory, layer, kv_head);
    if (!slice.sinks && slice.open_place == 0) OpenStride(layout, slice, block);
    HWY_DYNAMIC_DISPATCH(AppendRows)(layout, step, slice, 0, slice.num_rows, block, kv_head, k, v);
  };
  // A row and head take about 0.1 us: few of them are not worth waking a thread.
  constexpr int64_t kAlone = 16;
  const int64_t num_slices = static_cast<int64_t>(step.slices.size());
  const int64_t pieces = step.total_rows * shape.num_kv_heads <= kAlone ? 1 : num_slices * shape.num_kv_heads;
  pool.ParallelFor(pieces, [&](int64_t piece, int worker) {
    if (pieces > 1) return store(step.slices[piece / shape.num_kv_heads], static_cast<int>(piece % shape.num_kv_heads));
    for (const StepSlice& slice : step.slices) {
      for (int h = 0; h < shape.num_kv_heads; ++h) store(slice, h);
    }
  });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
