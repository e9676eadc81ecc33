#include "kernels/cpu/close_strides.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cpu/close_tables.h"
#include "kernels/cpu/selection.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/close_strides.cc"
#include "hwy/foreach_target.h"  // compiles the rest once per instruction set
#include "hwy/highway.h"
#include "kernels/cpu/kv_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cascade::kernels::HWY_NAMESPACE {
namespace {

// Distinctness is kept in steps of 2^-18. Equal keys (equal tokens in layer 0) come back from rotation and un-rotation
// about 1e-7 apart; on this grid they tie, as they do in exact arithmetic, and the later token stays. Without it 1.4 % of
// one head's survivors differed from the float32 reference, with it none of the goldens' heads loses more than 1 %.
constexpr float kDistinctnessSteps = 262144.0f;

// score = beta^S * score + max_h(sum_h), for all entries of the rings; stale ones are never read.
void FoldSums(const CacheLayout& layout, const HeadBlock& block) {
  const CacheShape& shape = layout.shape();
  const float decay = static_cast<float>(std::pow(shape.ema_decay, shape.stride));
  for (int64_t i = layout.first_entry(1); i < layout.entries(); ++i) {
    float most = block.sums[i];
    for (int g = 1; g < shape.group; ++g) most = std::max(most, block.sums[g * layout.entries() + i]);
    block.scores[i] = decay * block.scores[i] + most;
  }
}

// The tile's keys as they were before rotation, [head_dim][16], and 1 / their lengths, 0 for zero keys and for lanes
// that are not of the stride.
template <class T>
HWY_INLINE void UnturnTile(const CacheLayout& layout, const StrideTile& tile, const float* angles, const T* keys,
                           float* HWY_RESTRICT out, float* HWY_RESTRICT inverse_lengths) {
  const FloatTag tag;
  const CacheShape& shape = layout.shape();
  const int half = shape.head_dim / 2;
  const bool interleaved = shape.rope.pairs == RopePairs::kInterleaved;
  const T* stored = keys + tile.entry * shape.head_dim;
  for (int lane = 0; lane < kTile; lane += kLanes) {
    FloatVec squares = hn::Zero(tag);
    for (int i = 0; i < half; ++i) {
      const int first = (interleaved ? 2 * i : i) * kTile + lane;
      const int second = (interleaved ? 2 * i + 1 : i + half) * kTile + lane;
      const FloatVec cosine = hn::LoadU(tag, angles + i * 2 * kTile + lane);
      const FloatVec sine = hn::LoadU(tag, angles + (i * 2 + 1) * kTile + lane);
      const FloatVec x = LoadKv(stored + first);
      const FloatVec y = LoadKv(stored + second);
      const FloatVec u = hn::Add(hn::Mul(x, cosine), hn::Mul(y, sine));
      const FloatVec v = hn::Sub(hn::Mul(y, cosine), hn::Mul(x, sine));
      hn::StoreU(u, tag, out + first);
      hn::StoreU(v, tag, out + second);
      squares = hn::MulAdd(v, v, hn::MulAdd(u, u, squares));
    }
    hn::StoreU(squares, tag, inverse_lengths + lane);
  }
  for (int lane = 0; lane < kTile; ++lane) {
    const bool ours = lane >= tile.begin && lane < tile.end;
    inverse_lengths[lane] = ours && inverse_lengths[lane] > 0 ? 1.0f / std::sqrt(inverse_lengths[lane]) : 0.0f;
  }
}

// Sums run over the stride's tiles lane by lane, then over lanes: one order, whatever the number of threads.
template <class T>
void SetDistinctness(const CacheLayout& layout, const CloseTables& tables, const HeadBlock& block) {
  const FloatTag tag;
  const int head_dim = layout.shape().head_dim;
  const T* keys = static_cast<const T*>(block.keys);
  alignas(64) float tile_keys[kMaxHeadDim * kTile];
  alignas(64) float lane_sums[kMaxHeadDim * kTile] = {};
  alignas(64) float inverse_lengths[kTile];
  for (size_t t = 0; t < tables.tiles.size(); ++t) {
    UnturnTile(layout, tables.tiles[t], tables.angles.data() + t * head_dim * kTile, keys, tile_keys, inverse_lengths);
    for (int i = 0; i < head_dim * kTile; i += kLanes) {
      const FloatVec inverse = hn::LoadU(tag, inverse_lengths + i % kTile);
      hn::StoreU(hn::MulAdd(hn::LoadU(tag, tile_keys + i), inverse, hn::LoadU(tag, lane_sums + i)), tag, lane_sums + i);
    }
  }
  float mean[kMaxHeadDim];  // times S; its length does not matter to a cosine
  float squares = 0;
  for (int d = 0; d < head_dim; ++d) {
    mean[d] = 0;
    for (int lane = 0; lane < kTile; ++lane) mean[d] += lane_sums[d * kTile + lane];
    squares += mean[d] * mean[d];
  }
  const float inverse_mean = squares > 0 ? 1.0f / std::sqrt(squares) : 0.0f;
  for (size_t t = 0; t < tables.tiles.size(); ++t) {
    const StrideTile& tile = tables.tiles[t];
    UnturnTile(layout, tile, tables.angles.data() + t * head_dim * kTile, keys, tile_keys, inverse_lengths);
    float products[kTile] = {};
    for (int d = 0; d < head_dim; ++d) {
      for (int lane = 0; lane < kTile; ++lane) products[lane] += tile_keys[d * kTile + lane] * mean[d];
    }
    for (int lane = tile.begin; lane < tile.end; ++lane) {
      const float distinctness = 1.0f - products[lane] * inverse_lengths[lane] * inverse_mean;
      block.distinctness[tile.entry + lane] = std::nearbyint(distinctness * kDistinctnessSteps) / kDistinctnessSteps;
    }
  }
}

template <class T>
void MoveEntry(const CacheLayout& layout, const HeadBlock& block, int64_t from, int64_t to, const float* turn) {
  const CacheShape& shape = layout.shape();
  T* keys = static_cast<T*>(block.keys);
  T* values = static_cast<T*>(block.values);
  alignas(64) T narrow[kMaxHeadDim] = {};
  alignas(64) float key[kMaxHeadDim];
  alignas(64) float turned[kMaxHeadDim];
  LoadKey(keys, from, shape.head_dim, narrow, key);
  TurnHead(key, turn, shape.rope.pairs, shape.head_dim, 1.0f, turned);
  StoreKey(turned, to, shape.head_dim, narrow, keys);
  std::copy_n(values + from * layout.value_stride(), layout.value_stride(), values + to * layout.value_stride());
  block.scores[to] = block.scores[from];
  block.distinctness[to] = block.distinctness[from];
  block.tokens[to] = block.tokens[from];
}

template <class T>
void MoveEntries(const CacheLayout& layout, const CloseMove& move, const CloseTables& tables, int64_t first_turn,
                 const HeadBlock& block) {
  const CacheShape& shape = layout.shape();
  if (!move.select) {
    for (int i = 0; i < move.count; ++i) {
      MoveEntry<T>(layout, block, layout.RingEntry(move.from_ring, move.from_index + i),
                   layout.RingEntry(move.to_ring, move.to_index + i), tables.turns.Row(first_turn));
    }
    return;
  }
  const int candidates = 2 * shape.selection_group;
  std::vector<float> scores(candidates), distinctness(candidates);
  std::vector<int> kept;
  int moved = 0;
  for (int begin = 0; begin < move.count; begin += candidates) {
    for (int i = 0; i < candidates; ++i) {
      const int64_t entry = layout.RingEntry(move.from_ring, move.from_index + begin + i);
      scores[i] = block.scores[entry];
      distinctness[i] = block.distinctness[entry];
    }
    SelectHalf(scores, distinctness, shape.selection, kept);
    for (const int i : kept) {
      const int lost = begin + i - moved;
      MoveEntry<T>(layout, block, layout.RingEntry(move.from_ring, move.from_index + begin + i),
                   layout.RingEntry(move.to_ring, move.to_index + moved), tables.turns.Row(first_turn + lost));
      ++moved;
    }
  }
}

template <class T>
void CloseOf(const CacheLayout& layout, const Close& close, const CloseTables& tables, const HeadBlock& block) {
  if (block.sums != nullptr) FoldSums(layout, block);
  SetDistinctness<T>(layout, tables, block);
  for (size_t i = 0; i < close.moves.size(); ++i) {
    MoveEntries<T>(layout, close.moves[i], tables, tables.first_turn[i], block);
  }
}

void CloseHead(const CacheLayout& layout, const Close& close, const CloseTables& tables, const HeadBlock& block) {
  if (layout.shape().kv_type == DType::kF32) return CloseOf<float>(layout, close, tables, block);
  CloseOf<hwy::float16_t>(layout, close, tables, block);
}

}  // namespace
}  // namespace cascade::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cascade::kernels {
namespace {

HWY_EXPORT(CloseHead);

void CheckClose(const CacheLayout& layout, int num_slots, const Close& close) {
  const CacheShape& shape = layout.shape();
  CASCADE_CHECK(close.slot >= 0 && close.slot < num_slots && close.stride_index >= 0);
  for (const CloseMove& move : close.moves) {
    CASCADE_CHECK(move.from_ring >= 0 && move.from_ring < move.to_ring && move.to_ring < shape.num_rings());
    CASCADE_CHECK(move.from_index >= 0 && move.to_index >= 0 && move.count >= 0);
    CASCADE_CHECK(!move.select || move.count % (2 * shape.selection_group) == 0);
  }
}

}  // namespace

void CloseStrides(const CacheLayout& layout, std::byte* pool_memory, int num_slots, std::span<const Close> closes,
                  ThreadPool& pool) {
  const CacheShape& shape = layout.shape();
  std::vector<CloseTables> tables(closes.size());
  for (size_t i = 0; i < closes.size(); ++i) {
    CheckClose(layout, num_slots, closes[i]);
    tables[i].Make(layout, closes[i], pool);
  }
  const int64_t heads = int64_t{shape.num_layers} * shape.num_kv_heads;
  pool.ParallelFor(static_cast<int64_t>(closes.size()) * heads, [&](int64_t task, int worker) {
    const Close& close = closes[task / heads];
    const int layer = static_cast<int>(task % heads / shape.num_kv_heads);
    const int kv_head = static_cast<int>(task % shape.num_kv_heads);
    const HeadBlock block = layout.Block(pool_memory + close.slot * layout.slot_bytes(), layer, kv_head);
    HWY_DYNAMIC_DISPATCH(CloseHead)(layout, close, tables[task / heads], block);
  });
}

}  // namespace cascade::kernels
#endif  // HWY_ONCE
