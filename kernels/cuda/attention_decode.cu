#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_scores.h"
#include "kernels/cuda/attention_decode_warp.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_lanes.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxThreads = 32 * kDecodeMaxWarps;
constexpr int kScoreBatch = 8;
template <int kRow>
constexpr int kStages = DecodeStages(kRow);
template <int kRow>
constexpr size_t kTileBytes = DecodeStageBytes(kRow) / 2;

// By a warp: stores the new key and value in the cache and in shared memory, as they are there.
template <class T>
__device__ void Append(const DecodeArguments& a, const StepSlice& slice, int row, int kv_head, int new_entry,
                       unsigned char* block, DecodeState& state) {
  const CacheLayout& layout = a.pool.layout;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = lane; i < kMaxHeadDim / 8; i += 32) {
    reinterpret_cast<uint4*>(state.new_key)[i] = make_uint4(0, 0, 0, 0);
    reinterpret_cast<uint4*>(state.new_value)[i] = make_uint4(0, 0, 0, 0);
  }
  SyncWarp();
  if (lane < layout.head_dim / kLaneElements) {
    const size_t from = (static_cast<size_t>(row) * layout.num_kv_heads + kv_head) * layout.head_dim;
    const size_t to = static_cast<size_t>(new_entry) * layout.row_elements;
    const float2* turns =
        a.tables.turns +
        (static_cast<size_t>(row) * layout.num_segments + (slice.sinks != 0 ? 0 : 1)) * (layout.head_dim / 2);
    LanePairs key = LoadPairs(static_cast<const T*>(a.k) + from, lane, layout.head_dim, layout.interleaved);
    const LanePairs value = LoadPairs(static_cast<const T*>(a.v) + from, lane, layout.head_dim, /*interleaved=*/true);
    key = Turn(key, LoadTurns(turns, lane));
    Bf16* keys = reinterpret_cast<Bf16*>(block);
    Bf16* values = reinterpret_cast<Bf16*>(block + layout.values_offset);
    StorePairs(key, keys + to, lane, layout.head_dim, layout.interleaved);
    StorePairs(value, values + to, lane, layout.head_dim, /*interleaved=*/true);
    StorePairs(key, reinterpret_cast<Bf16*>(state.new_key), lane, layout.head_dim, layout.interleaved);
    StorePairs(value, reinterpret_cast<Bf16*>(state.new_value), lane, layout.head_dim, /*interleaved=*/true);
  }
  if (lane == 0) {
    reinterpret_cast<uint32_t*>(block + layout.tokens_offset)[new_entry] = slice.first_token;
    reinterpret_cast<float*>(block + layout.distinctness_offset)[new_entry] = 0.0f;
    // The mean of a ring's new entry is written with all others.
    if (layout.max_reduction || slice.sinks != 0) {
      reinterpret_cast<float*>(block + layout.scores_offset)[new_entry] = 0.0f;
    }
  }
  if (layout.max_reduction && slice.sinks != 0) {
    float* sums = reinterpret_cast<float*>(block + layout.sums_offset);
    if (lane < layout.group) sums[static_cast<size_t>(lane) * layout.entries + new_entry] = 0.0f;
  }
  SyncWarp();
}

// Of several splits: what the block leaves to the combine kernel.
template <int kRow>
__device__ void StorePartial(const DecodeArguments& a, const DecodeState& state, const unsigned char* stages,
                             size_t warp_bytes, size_t partial) {
  const CacheLayout& layout = a.pool.layout;
  const int warps = static_cast<int>(blockDim.x) / 32;
  for (int i = static_cast<int>(threadIdx.x); i < layout.group * layout.head_dim; i += static_cast<int>(blockDim.x)) {
    const int head = i / layout.head_dim, d = i % layout.head_dim;
    float total = 0;
    for (int w = 0; w < warps; ++w) {
      total += reinterpret_cast<const float*>(stages + w * warp_bytes)[head * (kRow + 4) + d] * state.factor[w][head];
    }
    a.scratch.outs[partial * layout.group * layout.head_dim + i] = total;
  }
  if (static_cast<int>(threadIdx.x) < layout.group) {
    const int head = static_cast<int>(threadIdx.x);
    a.scratch.sums[partial * layout.group + head] = make_float2(state.softmax.maximum[head], state.total[head]);
  }
}

// Grid: [splits, KV heads, slices]; a block takes one split of the units that the slice's row sees, for all G query
// heads, so that keys and values are read once. Its warps take every n-th unit, each with its own stages, running
// maximum and sums: nothing waits for the whole block until the end. One block fills a multiprocessor's shared memory,
// two in small caches.
template <class T, int kRow, int kTiles>
__global__ void __launch_bounds__(kMaxThreads, 1) DecodeKernel(const __grid_constant__ DecodeArguments a) {
  constexpr int kStages = cuda::kStages<kRow>;
  constexpr size_t kTileBytes = cuda::kTileBytes<kRow>;
  constexpr size_t kWarpBytes = kStages * 2 * kTileBytes;
  static_assert(kWarpBytes >= kTiles * 8 * (kRow + 4) * sizeof(float));  // Finish
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int row = a.first_row + static_cast<int>(blockIdx.z), kv_head = static_cast<int>(blockIdx.y);
  const size_t head_index = static_cast<size_t>(blockIdx.z) * layout.num_kv_heads + kv_head;  // in the scratch
  DecodeState& state = *reinterpret_cast<DecodeState*>(SharedMemory());
  unsigned char* stages = SharedMemory() + kDecodeStateBytes;
  float* near = reinterpret_cast<float*>(stages + warps * kWarpBytes);
  const int near_stride = a.near_keys + 4;  // the 4 heads that a warp stores at once fall into different banks

  // Before WaitForPrevious: the previous kernel makes q, k and v of this layer. It has waited for those before it and
  // then allowed this one, so all of them are done: the step's tables, the layer's entries of older steps, and whatever
  // moved entries since. Nothing but this kernel writes the new entry, and it is not read.
  const StepSlice slice = a.tables.slices[row];
  if (a.tables.live[row] == 0) {
    WaitForPrevious();
    return;
  }
  if (warp == 0) {
    FindPieces(layout, a.tables.segments + static_cast<size_t>(row) * layout.num_segments, state.visible);
  }
  SyncBlock();
  const NewKey fresh = FindNewKey(layout, slice, state.visible);
  const int split = static_cast<int>(blockIdx.x);
  const int begin = state.visible.units * split / a.splits, end = state.visible.units * (split + 1) / a.splits;
  const int steps = (layout.head_dim + 15) / 16, chunks = 2 * steps;
  unsigned char* block = a.pool.Block(slice.slot, a.layer, kv_head);
  const unsigned char* values = block + layout.values_offset;
  unsigned char* own_stages = stages + warp * kWarpBytes;

  UnitWalk walk, walk_ahead;
  Unit ahead = {0, 0, 0};
#pragma unroll
  for (int stage = 0; stage < kStages; ++stage) {
    const int unit = begin + warp + stage * warps;
    unsigned char* tile = own_stages + stage * 2 * kTileBytes;
    const bool there = unit < end;
    const int skip = unit == fresh.unit ? fresh.place : -1;
    if (there) ahead = walk_ahead.At(state.visible, unit);
    if (there) CopyTile<kRow>(tile, block, ahead, chunks, skip);
    CommitCopies();
    if (there) CopyTile<kRow>(tile + kTileBytes, values, ahead, chunks, skip);
    CommitCopies();
  }
  WaitForPrevious();
  AllowNext();
  if (fresh.unit >= begin && fresh.unit < end && (fresh.unit - begin) % warps == warp) {
    Append<T>(a, slice, row, kv_head, fresh.entry, block, state);
  }

  WarpAttention<T, kRow, kTiles> attention;
  const T* q = static_cast<const T*>(a.q) +
               (static_cast<size_t>(row) * layout.num_kv_heads + kv_head) * layout.group * layout.head_dim;
  float* far = a.scratch.logits + head_index * layout.group * a.scratch.key_stride;
  const float scale = 1.44269504088896341f / sqrtf(static_cast<float>(layout.head_dim));
  int segment = -1;
  for (int unit = begin + warp, i = 0; unit < end; unit += warps, ++i) {
    unsigned char* key_tile = own_stages + i % kStages * (2 * kTileBytes);
    unsigned char* value_tile = key_tile + kTileBytes;
    const Unit now = walk.At(state.visible, unit);
    if (now.segment != segment) {
      segment = now.segment;
      attention.TurnQuery(
          layout, q,
          a.tables.turns + (static_cast<size_t>(row) * layout.num_segments + segment) * (layout.head_dim / 2));
    }
    const int next = unit + kStages * warps;
    const bool there = next < end;
    const int skip = next == fresh.unit ? fresh.place : -1;

    WaitCopies<2 * kStages - 1>();
    SyncWarp();
    if (unit == fresh.unit) PlaceNewRow<kRow>(key_tile, state.new_key, fresh.place, chunks);
    float logits[kTiles][4];
    attention.Multiply(key_tile, steps, logits);
    SyncWarp();
    if (there) {
      ahead = walk_ahead.At(state.visible, next);
      CopyTile<kRow>(key_tile, block, ahead, chunks, skip);
    }
    CommitCopies();

    if (slice.sinks == 0) {
      const bool is_near = unit * kUnitKeys < a.near_keys;
      float* to = is_near ? near : far;
      const int stride = is_near ? near_stride : a.scratch.key_stride;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int head = tile * 8 + 2 * (lane % 4) + j % 2;
          const int key = unit * kUnitKeys + lane / 4 + j / 2 * 8;
          logits[tile][j] *= scale;
          if (head < layout.group) to[static_cast<size_t>(head) * stride + key] = logits[tile][j];
        }
      }
    } else {
      for (int tile = 0; tile < kTiles; ++tile) {
        for (float& x : logits[tile]) x *= scale;
      }
    }
    uint32_t weights[kTiles][2];
    attention.Weigh(logits, now.keys, weights);

    WaitCopies<2 * kStages - 1>();
    SyncWarp();
    if (unit == fresh.unit) PlaceNewRow<kRow>(value_tile, state.new_value, fresh.place, chunks);
    attention.Add(value_tile, steps, weights);
    SyncWarp();
    if (there) CopyTile<kRow>(value_tile, values, ahead, chunks, skip);
    CommitCopies();
  }
  attention.Finish(state, reinterpret_cast<float*>(own_stages), layout.group);
  SyncBlock();

  if (thread < layout.group) {
    float largest = -kInfinity, total = 0;
    for (int w = 0; w < warps; ++w) largest = fmaxf(largest, state.maximum[w][thread]);
    for (int w = 0; w < warps; ++w) {
      // A warp without units has -infinity; so has a split without units.
      const float factor = state.sum[w][thread] == 0.0f ? 0.0f : Exp2(state.maximum[w][thread] - largest);
      state.factor[w][thread] = factor;
      total += state.sum[w][thread] * factor;
    }
    state.softmax.maximum[thread] = largest;
    state.softmax.inverse[thread] = 1.0f / total;
    state.total[thread] = total;
  }
  SyncBlock();

  if (a.splits > 1) {
    return StorePartial<kRow>(a, state, stages, kWarpBytes, head_index * a.splits + split);
  }
  T* out = static_cast<T*>(a.out) + (q - static_cast<const T*>(a.q));
  const int pairs = layout.head_dim / 2;
  for (int i = thread; i < layout.group * pairs; i += static_cast<int>(blockDim.x)) {
    const int head = i / pairs, d = 2 * (i % pairs);
    float2 total = make_float2(0, 0);
    for (int w = 0; w < warps; ++w) {
      const float* from = reinterpret_cast<const float*>(stages + w * kWarpBytes) + head * (kRow + 4) + d;
      total.x += from[0] * state.factor[w][head];
      total.y += from[1] * state.factor[w][head];
    }
    const float inverse = state.softmax.inverse[head];
    *reinterpret_cast<uint32_t*>(out + head * layout.head_dim + d) = Pack<T>(total.x * inverse, total.y * inverse);
  }
  if (slice.sinks != 0) return;
  const ScoreTarget target = {layout, block, fresh.entry, slice.open_place == 0, a.tables.weights[row]};
  const LogitRows rows = {near, a.near_keys, near_stride, far, a.scratch.key_stride};
  UnitWalk score_walk;
  for (int unit = 0; unit < end; unit += kScoreBatch * static_cast<int>(blockDim.x) / kUnitKeys) {
    ScoreBatch<kScoreBatch> batch;
    batch.Load(target, state.visible, score_walk, unit, end);
    batch.Add(target, rows, state.softmax);
  }
}

template <class T, int kRow, int kTiles>
void Launch(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices) {
  const LaunchShape shape = {.grid = dim3(plan.splits, arguments.pool.layout.num_kv_heads, num_slices),
                             .block = dim3(32 * plan.warps),
                             .shared_bytes = plan.shared_bytes,
                             .overlap = true};
  stream.Launch("AppendAndAttend", DecodeKernel<T, kRow, kTiles>, shape, arguments);
}

template <class T, int kRow>
void LaunchRow(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices) {
  if (arguments.pool.layout.group <= 8) return Launch<T, kRow, 1>(stream, arguments, plan, num_slices);
  Launch<T, kRow, 2>(stream, arguments, plan, num_slices);
}

template <class T>
void LaunchType(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices) {
  switch (arguments.pool.layout.row_elements) {
    case 64:
      return LaunchRow<T, 64>(stream, arguments, plan, num_slices);
    case 128:
      return LaunchRow<T, 128>(stream, arguments, plan, num_slices);
    default:
      CASCADE_CHECK(arguments.pool.layout.row_elements == 256);
      return LaunchRow<T, 256>(stream, arguments, plan, num_slices);
  }
}

}  // namespace

size_t DecodeStateBytes() { return kDecodeStateBytes; }

void LaunchDecode(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices,
                  DType type) {
  if (type == DType::kBF16) return LaunchType<Bf16>(stream, arguments, plan, num_slices);
  LaunchType<Half>(stream, arguments, plan, num_slices);
}

}  // namespace cascade::kernels::cuda
