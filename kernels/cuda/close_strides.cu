#include "kernels/cuda/close_strides.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/close_tables.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_lanes.h"
#include "kernels/cuda/selection.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;
// Distinctness is kept in steps of 2^-18, so that keys which differ only by the rounding of their rotation and
// un-rotation tie, as they do in exact arithmetic (kernels/cpu/close_strides.cc).
constexpr float kDistinctnessSteps = 262144.0f;
// Tokens whose unit keys one block sums, at least; and how many such sums a head has at most, since each block of
// DistinctnessKernel adds them up. Both depend on the layout alone: so does the order of the sums.
constexpr int kSumChunk = 128;
constexpr int kMostChunks = 32;
// Candidates of a block of MoveKernel, unless a group has more.
constexpr int kMoveChunk = 128;
constexpr size_t kMostScratch = 64 << 20;  // unless one close takes more

// Of all kernels here: the layers and KV heads are blockIdx.y, the closes blockIdx.z.
struct ClosingHead {
  StrideClose close;
  unsigned char* block;
  bool live;
};

__device__ ClosingHead HeadOfBlock(const CachePool& pool, const CloseTables& tables, const int32_t* live) {
  const StrideClose close = tables.closes[blockIdx.z];
  const int kv_heads = pool.layout.num_kv_heads;
  const int head = static_cast<int>(blockIdx.y);
  return {close, pool.Block(close.slot, head / kv_heads, head % kv_heads), close.slice < 0 || live[close.slice] != 0};
}

// slot: below twice the ring's slots.
__device__ int RingEntry(const CacheLayout& layout, int ring, int slot) {
  const int slots = layout.segment_slots[ring + 1];
  return layout.first_entry[ring + 1] + (slot < slots ? slot : slot - slots);
}

// Grid: [entries of the rings / kThreads, heads, closes], a thread per entry. score = beta^S * score + max_g(sums_g);
// stale entries are never read.
__global__ void __launch_bounds__(kThreads) FoldKernel(CachePool pool, CloseTables tables, const int32_t* live) {
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = pool.layout;
  const ClosingHead head = HeadOfBlock(pool, tables, live);
  const int entry = layout.first_entry[1] + static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (!head.live || entry >= layout.entries) return;
  const float* sums = reinterpret_cast<const float*>(head.block + layout.sums_offset) + entry;
  float* score = reinterpret_cast<float*>(head.block + layout.scores_offset) + entry;
  float most = sums[0];
  for (int g = 1; g < layout.group; ++g) most = fmaxf(most, sums[static_cast<size_t>(g) * layout.entries]);
  *score = layout.stride_decay * *score + most;
}

// The lane's part of the key of the stride's token `place` as it was before rotation; zeros when !valid.
template <int kLanes>
__device__ LanePairs UnturnedKey(const CachePool& pool, const CloseTables& tables, const ClosingHead& head, int place,
                                 bool valid) {
  const CacheLayout& layout = pool.layout;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  if (!valid || lane >= layout.head_dim / kLaneElements) return {};
  const int entry = RingEntry(layout, 0, head.close.open_slot + place);
  const Bf16* key = reinterpret_cast<const Bf16*>(head.block) + static_cast<size_t>(entry) * layout.row_elements;
  const float2* turns = tables.turns + static_cast<int64_t>(head.close.first_turn + place) * (layout.head_dim / 2);
  return TurnBack(LoadPairs(key, lane, layout.head_dim, layout.interleaved), LoadTurns(turns, lane));
}

// Over the lanes that share a key; the same bits in all of them.
template <int kLanes>
__device__ float LanesSum(float value) {
  for (int mask = kLanes / 2; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}

// 1 / the key's length, 0 for a zero key.
template <int kLanes>
__device__ float InverseLength(const LanePairs& key) {
  float squares = 0;
  for (int i = 0; i < kLanePairs; ++i) squares += key.first[i] * key.first[i] + key.second[i] * key.second[i];
  squares = LanesSum<kLanes>(squares);
  return squares > 0 ? 1.0f / sqrtf(squares) : 0.0f;
}

// Grid: [chunks of the stride, heads, closes]; kLanes neighbouring threads take a key. Sums of unit keys, per chunk, in
// the order of the threads' elements: first by the threads over their keys, then over the threads that share elements.
template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    UnitSumsKernel(CachePool pool, CloseTables tables, const int32_t* live, int chunk, float* unit_sums) {
  constexpr int kKeys = kThreads / kLanes;  // at once
  constexpr int kRow = kLanes * kLaneElements;
  __shared__ float partial[kKeys * kRow];
  WaitForPrevious();
  AllowNext();
  const ClosingHead head = HeadOfBlock(pool, tables, live);
  if (!head.live) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int begin = static_cast<int>(blockIdx.x) * chunk;
  const int end = begin + chunk < pool.layout.stride ? begin + chunk : pool.layout.stride;
  LanePairs sums = {};
  for (int first = begin; first < end; first += kKeys) {
    const int place = first + thread / kLanes;
    const LanePairs key = UnturnedKey<kLanes>(pool, tables, head, place, place < end);
    const float inverse = InverseLength<kLanes>(key);
    for (int i = 0; i < kLanePairs; ++i) {
      sums.first[i] += key.first[i] * inverse;
      sums.second[i] += key.second[i] * inverse;
    }
  }
  for (int i = 0; i < kLanePairs; ++i) {
    partial[thread * kLaneElements + 2 * i] = sums.first[i];
    partial[thread * kLaneElements + 2 * i + 1] = sums.second[i];
  }
  SyncBlock();
  if (thread >= kRow) return;
  float sum = 0;
  for (int key = 0; key < kKeys; ++key) sum += partial[key * kRow + thread];
  const size_t row = (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  unit_sums[row * kRow + thread] = sum;
}

// Grid as of UnitSumsKernel, whose sums each block adds up: the direction of the stride's mean unit key. Then
// distinctness = 1 - cosine with it.
template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    DistinctnessKernel(CachePool pool, CloseTables tables, const int32_t* live, int chunk, const float* unit_sums) {
  constexpr int kKeys = kThreads / kLanes;
  constexpr int kRow = kLanes * kLaneElements;
  __shared__ float mean[kRow];  // times S; its length does not matter to a cosine
  __shared__ float inverse_mean;
  WaitForPrevious();
  AllowNext();
  const ClosingHead head = HeadOfBlock(pool, tables, live);
  if (!head.live) return;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kRow) {
    const size_t row = (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x;
    float sum = 0;
    for (unsigned c = 0; c < gridDim.x; ++c) sum += unit_sums[(row + c) * kRow + thread];
    mean[thread] = sum;
  }
  SyncBlock();
  if (thread < 32) {
    float squares = 0;
    for (int d = thread; d < kRow; d += 32) squares += mean[d] * mean[d];
    squares = WarpSum(squares);
    if (thread == 0) inverse_mean = squares > 0 ? 1.0f / sqrtf(squares) : 0.0f;
  }
  SyncBlock();
  const int lane = thread % kLanes;
  const int begin = static_cast<int>(blockIdx.x) * chunk;
  const int end = begin + chunk < pool.layout.stride ? begin + chunk : pool.layout.stride;
  float* distinctness = reinterpret_cast<float*>(head.block + pool.layout.distinctness_offset);
  for (int first = begin; first < end; first += kKeys) {
    const int place = first + thread / kLanes;
    const LanePairs key = UnturnedKey<kLanes>(pool, tables, head, place, place < end);
    const float inverse = InverseLength<kLanes>(key);
    float product = 0;
    for (int i = 0; i < kLanePairs; ++i) {
      product += key.first[i] * mean[lane * kLaneElements + 2 * i];
      product += key.second[i] * mean[lane * kLaneElements + 2 * i + 1];
    }
    product = LanesSum<kLanes>(product);
    if (lane != 0 || place >= end) continue;
    const float value = 1.0f - product * inverse * inverse_mean;
    distinctness[RingEntry(pool.layout, 0, head.close.open_slot + place)] =
        rintf(value * kDistinctnessSteps) / kDistinctnessSteps;
  }
}

// By the kLanes threads that share an entry.
template <int kLanes>
__device__ void MoveEntry(const CacheLayout& layout, unsigned char* block, int from, int to, const float2* turns) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  if (lane < layout.head_dim / kLaneElements) {
    const size_t from_row = static_cast<size_t>(from) * layout.row_elements;
    const size_t to_row = static_cast<size_t>(to) * layout.row_elements;
    Bf16* keys = reinterpret_cast<Bf16*>(block);
    Bf16* values = reinterpret_cast<Bf16*>(block + layout.values_offset);
    const LanePairs key = LoadPairs(keys + from_row, lane, layout.head_dim, layout.interleaved);
    const uint4 value = *reinterpret_cast<const uint4*>(values + from_row + lane * kLaneElements);
    const LanePairs turned = Turn(key, LoadTurns(turns, lane));
    StorePairs(turned, keys + to_row, lane, layout.head_dim, layout.interleaved);
    *reinterpret_cast<uint4*>(values + to_row + lane * kLaneElements) = value;
  }
  if (lane == 0) {
    float* scores = reinterpret_cast<float*>(block + layout.scores_offset);
    float* distinctness = reinterpret_cast<float*>(block + layout.distinctness_offset);
    uint32_t* tokens = reinterpret_cast<uint32_t*>(block + layout.tokens_offset);
    scores[to] = scores[from];
    distinctness[to] = distinctness[from];
    tokens[to] = tokens[from];
  }
}

// Grid: [chunks of candidates, heads, closes]; one launch for the closes' first moves, one for their second ones, ..,
// since a move overwrites what the one before it read. A chunk is whole groups; kLanes neighbouring threads take an
// entry. Within a move the rings differ, so chunks are independent.
template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    MoveKernel(CachePool pool, CloseTables tables, const int32_t* live, int order, int chunk) {
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = pool.layout;
  const ClosingHead head = HeadOfBlock(pool, tables, live);
  if (!head.live || order >= head.close.num_moves) return;
  const StrideMove move = tables.moves[head.close.first_move + order];
  const int begin = static_cast<int>(blockIdx.x) * chunk;
  const int count = begin + chunk < move.count ? chunk : move.count - begin;
  if (count <= 0) return;
  const int thread = static_cast<int>(threadIdx.x);
  const float2* turns = tables.turns + static_cast<int64_t>(move.first_turn) * (layout.head_dim / 2);
  if (move.select == 0) {
    for (int i = begin + thread / kLanes; i < begin + count; i += kThreads / kLanes) {
      MoveEntry<kLanes>(layout, head.block, RingEntry(layout, move.from_ring, move.from_slot + i),
                        RingEntry(layout, move.to_ring, move.to_slot + i), turns);
    }
    return;
  }
  float* measures = reinterpret_cast<float*>(SharedMemory());
  for (int i = thread; i < count; i += kThreads) {
    const int entry = RingEntry(layout, move.from_ring, move.from_slot + begin + i);
    measures[i] = reinterpret_cast<const float*>(head.block + layout.scores_offset)[entry];
    measures[count + i] = reinterpret_cast<const float*>(head.block + layout.distinctness_offset)[entry];
  }
  const int* kept = SelectHalves<kThreads>(count, 2 * layout.selection_group, layout.selection, SharedMemory());
  for (int i = thread / kLanes; i < count / 2; i += kThreads / kLanes) {
    const int from = begin + kept[i];
    const int to = begin / 2 + i;
    MoveEntry<kLanes>(layout, head.block, RingEntry(layout, move.from_ring, move.from_slot + from),
                      RingEntry(layout, move.to_ring, move.to_slot + to),
                      turns + static_cast<int64_t>(from - to) * (layout.head_dim / 2));
  }
}

int DivideUp(int value, int divisor) { return (value + divisor - 1) / divisor; }

int RoundUp(int value, int multiple) { return DivideUp(value, multiple) * multiple; }

}  // namespace

absl::StatusOr<std::unique_ptr<StrideCloser>> StrideCloser::Create(Stream& stream, DeviceMemory& memory,
                                                                   const CacheLayout& layout, int max_closes_at_once) {
  CASCADE_CHECK(max_closes_at_once >= 1);
  auto closer = std::unique_ptr<StrideCloser>(new StrideCloser(layout));
  closer->sum_chunk_ = std::max(kSumChunk, RoundUp(DivideUp(layout.stride, kMostChunks), 32));
  closer->num_chunks_ = DivideUp(layout.stride, closer->sum_chunk_);
  // Turns of a close: those of its stride, of moves that select (S / 2 + S / 4 + .., and one each), and one of every
  // other move: while rings fill, at most one from each ring into each.
  const size_t rows = 2 * static_cast<size_t>(layout.stride) + kMaxSegments * kMaxSegments;
  const size_t turns = rows * static_cast<size_t>(layout.head_dim / 2);
  const size_t sums =
      static_cast<size_t>(layout.num_layers) * layout.num_kv_heads * closer->num_chunks_ * layout.row_elements;
  const size_t most = std::max<size_t>(1, kMostScratch / (turns * sizeof(float2) + sums * sizeof(float)));
  const size_t batch = std::min(most, static_cast<size_t>(max_closes_at_once));
  closer->max_batch_ = static_cast<int>(batch);
  closer->turn_rows_ = static_cast<int64_t>(batch * rows);
  absl::StatusOr<float2*> turn_memory = memory.AllocateArray<float2>("closing strides", batch * turns);
  if (!turn_memory.ok()) return turn_memory.status();
  closer->turns_ = *turn_memory;
  absl::StatusOr<float*> sum_memory = memory.AllocateArray<float>("closing strides", batch * sums);
  if (!sum_memory.ok()) return sum_memory.status();
  closer->unit_sums_ = *sum_memory;
  return closer;
}

void StrideCloser::Close(Stream& stream, Staging& staging, const CachePool& pool, const StepTables& tables,
                         std::span<const kernels::Close> closes, std::span<const int32_t> slice_of_close) {
  CASCADE_CHECK(closes.size() == slice_of_close.size());
  for (size_t first = 0; first < closes.size();) {
    size_t count = 0;
    int64_t rows = 0;
    for (; count < static_cast<size_t>(max_batch_) && first + count < closes.size(); ++count) {
      rows += CloseTurnRows(layout_, closes[first + count]);
      if (rows > turn_rows_) break;
    }
    CASCADE_CHECK(count > 0);
    const auto batch = closes.subspan(first, count);
    const auto slices = slice_of_close.subspan(first, count);
    switch (layout_.row_elements) {
      case 64:
        CloseBatch<8>(stream, staging, pool, tables.live, batch, slices);
        break;
      case 128:
        CloseBatch<16>(stream, staging, pool, tables.live, batch, slices);
        break;
      default:
        CloseBatch<32>(stream, staging, pool, tables.live, batch, slices);
        break;
    }
    first += count;
  }
}

template <int kLanes>
void StrideCloser::CloseBatch(Stream& stream, Staging& staging, const CachePool& pool, const int32_t* live,
                              std::span<const kernels::Close> closes, std::span<const int32_t> slice_of_close) {
  constexpr const char* kOp = "CloseStrides";
  const CloseTables tables = MakeCloseTables(stream, staging, pool, closes, slice_of_close, turns_);
  const auto shape = [&](int blocks, size_t shared_bytes) {
    return LaunchShape{
        .grid = dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(layout_.num_layers * layout_.num_kv_heads),
                     static_cast<unsigned>(closes.size())),
        .block = dim3(kThreads),
        .shared_bytes = shared_bytes,
        .overlap = true};
  };
  if (layout_.max_reduction) {
    const int entries = layout_.entries - layout_.first_entry[1];
    stream.Launch(kOp, FoldKernel, shape(DivideUp(entries, kThreads), 0), pool, tables, live);
  }
  stream.Launch(kOp, UnitSumsKernel<kLanes>, shape(num_chunks_, 0), pool, tables, live, sum_chunk_, unit_sums_);
  stream.Launch(kOp, DistinctnessKernel<kLanes>, shape(num_chunks_, 0), pool, tables, live, sum_chunk_, unit_sums_);

  const int group = 2 * layout_.selection_group;
  const int chunk = std::max(1, kMoveChunk / group) * group;
  for (size_t order = 0;; ++order) {
    int most = 0;
    bool selects = false;
    for (const kernels::Close& close : closes) {
      if (order >= close.moves.size()) continue;
      most = std::max(most, close.moves[order].count);
      selects |= close.moves[order].select;
    }
    const bool more = std::any_of(closes.begin(), closes.end(),
                                  [order](const kernels::Close& close) { return order < close.moves.size(); });
    if (!more) return;
    stream.Launch(kOp, MoveKernel<kLanes>, shape(DivideUp(most, chunk), selects ? chunk * kSelectionBytes : 0), pool,
                  tables, live, static_cast<int>(order), chunk);
  }
}

}  // namespace cascade::kernels::cuda
