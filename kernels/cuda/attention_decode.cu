#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_decode_merge.h"
#include "kernels/cuda/attention_decode_plan.h"
#include "kernels/cuda/attention_decode_scores.h"
#include "kernels/cuda/attention_decode_warp.h"
#include "kernels/cuda/attention_pieces.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_lanes.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kScoreBatch = 8;
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

// By a warp: a unit's logits as WarpAttention::Multiply leaves them.
template <int kTiles>
__device__ void StoreLogits(const float (&logits)[kTiles][4], float* to, int stride, int heads_left) {
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (tile * 8 + j >= heads_left) continue;
      to[(tile * 8 + j) * stride] = logits[tile][j];
      to[(tile * 8 + j) * stride + 8] = logits[tile][j + 2];
    }
  }
}

// Grid: [splits, KV heads, slices]; a block takes one split of the units that the slice's row sees, for all G query
// heads, so that keys and values are read once. Its warps take every n-th unit, each with its own stages, running
// maximum and sums: nothing waits for the whole block until the end. The splits are a cluster, whose blocks make the
// outputs and add the scores of their own keys; or they leave their parts, and the last of them makes the outputs.
template <class T, int kRow, int kTiles>
__global__ void __launch_bounds__(32 * TuneDecode(kRow, kTiles).warps, 1)
    DecodeKernel(const __grid_constant__ DecodeArguments a) {
  constexpr int kStages = TuneDecode(kRow, kTiles).stages;
  constexpr size_t kTileBytes = cuda::kTileBytes<kRow>;
  constexpr size_t kWarpBytes = kStages * 2 * kTileBytes;
  static_assert(kWarpBytes >= kTiles * 8 * (kRow + 4) * sizeof(float));  // Finish
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const int row = a.first_row + static_cast<int>(blockIdx.z), kv_head = static_cast<int>(blockIdx.y);
  const size_t head_index = static_cast<size_t>(blockIdx.z) * layout.num_kv_heads + kv_head;  // in the scratch
  DecodeState& state = *reinterpret_cast<DecodeState*>(SharedMemory());
  float2* turns = reinterpret_cast<float2*>(SharedMemory() + kDecodeStateBytes);
  float2* block_out = reinterpret_cast<float2*>(SharedMemory() + kDecodeStateBytes + DecodeTurnBytes(layout));
  T* queries = reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(block_out) + DecodeOutBytes(layout));
  unsigned char* stages = SharedMemory() + DecodeBytesBeforeStages(layout);
  float* near = reinterpret_cast<float*>(stages + warps * kWarpBytes);
  const int near_stride = a.near_keys + 4;  // the 4 heads that a warp stores at once fall into different banks

  // Before WaitForPrevious: the previous kernel makes q, k and v of this layer, or serves other sessions. It has waited
  // for those before it and then allowed this one, so all of them are done: the step's tables, the layer's entries of
  // older steps, and whatever moved entries since. Nothing but this kernel writes the new entry, and it is not read.
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
  const int begin_key = begin * kUnitKeys;  // near logits are numbered from here on
  const int chunks = (layout.head_dim + 15) / 16 * 2;
  unsigned char* block = a.pool.Block(slice.slot, a.layer, kv_head);
  const unsigned char* values = block + layout.values_offset;
  unsigned char* own_stages = stages + warp * kWarpBytes;
  ZeroPadding<kRow>(own_stages, kStages * 2 * kUnitKeys, chunks);

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
  const int row_turns = layout.num_segments * (layout.head_dim / 2);
  for (int i = thread; i < row_turns; i += static_cast<int>(blockDim.x)) {
    turns[i] = a.tables.turns[static_cast<size_t>(row) * row_turns + i];
  }
  WaitForPrevious();
  AllowNext();
  const T* q = static_cast<const T*>(a.q) +
               (static_cast<size_t>(row) * layout.num_kv_heads + kv_head) * layout.group * layout.head_dim;
  for (int i = thread; i < layout.group * layout.head_dim / kLaneElements; i += static_cast<int>(blockDim.x)) {
    reinterpret_cast<uint4*>(queries)[i] = reinterpret_cast<const uint4*>(q)[i];
  }
  if (fresh.unit >= begin && fresh.unit < end && (fresh.unit - begin) % warps == warp) {
    Append<T>(a, slice, row, kv_head, fresh.entry, block, state);
  }
  SyncBlock();

  WarpAttention<T, kRow, kTiles> attention;
  const size_t pending_index =
      static_cast<size_t>(a.pending) * gridDim.z * layout.num_kv_heads + head_index;  // in what waits for scores
  float* far = a.scratch.logits + pending_index * layout.group * a.scratch.key_stride;
  // Where the lane's first logit goes, of unit 0, and how many query heads there are from its first one on.
  const int first_head = 2 * (lane % 4), heads_left = layout.group - first_head;
  float* near_own = near + first_head * near_stride + lane / 4;
  float* far_own = far + first_head * a.scratch.key_stride + lane / 4;
  const float scale = 1.44269504088896341f / sqrtf(static_cast<float>(layout.head_dim));
  int segment = -1;
  for (int unit = begin + warp, i = 0; unit < end; unit += warps, ++i) {
    unsigned char* key_tile = own_stages + i % kStages * (2 * kTileBytes);
    unsigned char* value_tile = key_tile + kTileBytes;
    const Unit now = walk.At(state.visible, unit);
    if (now.segment != segment) {
      segment = now.segment;
      attention.TurnQuery(layout, queries, turns + segment * (layout.head_dim / 2));
    }
    const int next = unit + kStages * warps;
    const bool there = next < end;
    const int skip = next == fresh.unit ? fresh.place : -1;

    WaitCopies<2 * kStages - 1>();
    SyncWarp();
    if (unit == fresh.unit) PlaceNewRow<kRow>(key_tile, state.new_key, fresh.place, chunks);
    float logits[kTiles][4];
    attention.Multiply(key_tile, logits);
    SyncWarp();
    if (there) {
      ahead = walk_ahead.At(state.visible, next);
      CopyTile<kRow>(key_tile, block, ahead, chunks, skip);
    }
    CommitCopies();

#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      for (float& x : logits[tile]) x *= scale;
    }
    if (slice.sinks == 0) {
      if (unit * kUnitKeys - begin_key < a.near_keys) {
        StoreLogits<kTiles>(logits, near_own + unit * kUnitKeys - begin_key, near_stride, heads_left);
      } else {
        StoreLogits<kTiles>(logits, far_own + unit * kUnitKeys, a.scratch.key_stride, heads_left);
      }
    }
    uint32_t weights[kTiles][2];
    attention.Weigh(logits, now.keys, weights);

    WaitCopies<2 * kStages - 1>();
    SyncWarp();
    if (unit == fresh.unit) PlaceNewRow<kRow>(value_tile, state.new_value, fresh.place, chunks);
    attention.Add(value_tile, weights);
    SyncWarp();
    if (there) CopyTile<kRow>(value_tile, values, ahead, chunks, skip);
    CommitCopies();
  }
  attention.Finish(state, reinterpret_cast<float*>(own_stages), layout.group);
  SyncBlock();
  MergeWarps(layout, state);

  T* out = static_cast<T*>(a.out) + (q - static_cast<const T*>(a.q));
  if (a.splits > 1 && !a.clusters) {
    StorePartial<kRow>(a, state, stages, kWarpBytes, head_index * a.splits + split);
    if (!IsLastSplit(a, head_index, state)) return;
    float* factors = reinterpret_cast<float*>(stages);  // nobody reads them any more: IsLastSplit has a barrier
    return MergeSplits(a, head_index, out, a.scratch.softmax + pending_index * layout.group, factors);
  }
  if (a.splits > 1) {
    MergeCluster<T, kRow>(layout, state, stages, kWarpBytes, a.splits, block_out, out);
  } else {
    const int pairs = layout.head_dim / 2;
    for (int i = thread; i < layout.group * pairs; i += static_cast<int>(blockDim.x)) {
      const float2 total = BlockOut<kRow>(state, stages, kWarpBytes, i / pairs, i % pairs * 2);
      const float inverse = state.softmax.inverse[i / pairs];
      *reinterpret_cast<uint32_t*>(out + 2 * i) = Pack<T>(total.x * inverse, total.y * inverse);
    }
  }
  if (slice.sinks == 0) {
    const ScoreTarget target = {layout, block, fresh.entry, slice.open_place == 0, a.tables.weights[row]};
    const LogitRows rows = {near, a.near_keys, near_stride, far + begin_key, a.scratch.key_stride};
    UnitWalk score_walk;
    for (int unit = begin; unit < end; unit += kScoreBatch * static_cast<int>(blockDim.x) / kUnitKeys) {
      ScoreBatch<kScoreBatch, 1> batch;
      batch.Load(target, state.visible, score_walk, unit, end, begin);
      batch.Add(target, rows, state.softmax);
    }
  }
  if (a.splits > 1) SyncCluster();  // others may still read this block's outputs
}

template <class T, int kRow, int kTiles>
void Launch(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices) {
  const LaunchShape shape = {.grid = dim3(plan.splits, arguments.pool.layout.num_kv_heads, num_slices),
                             .block = dim3(32 * plan.warps),
                             .shared_bytes = plan.shared_bytes,
                             .overlap = true,
                             .cluster_blocks = static_cast<unsigned>(plan.clusters ? plan.splits : 1)};
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

size_t DecodeStateBytes(const CacheLayout& layout) { return DecodeBytesBeforeStages(layout); }

void LaunchDecode(Stream& stream, const DecodeArguments& arguments, const DecodePlan& plan, int num_slices,
                  DType type) {
  if (type == DType::kBF16) return LaunchType<Bf16>(stream, arguments, plan, num_slices);
  LaunchType<Half>(stream, arguments, plan, num_slices);
}

}  // namespace cascade::kernels::cuda
