#include "kernels/cuda/attention_scores.h"

#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = 64;  // of a tile of queries, all of one head
constexpr int kNever = 0x7FFFFFFF;
constexpr float kInfinity = __builtin_huge_valf();

// Of a block, by row_elements. Keys stay in registers as left operands; with 256 elements only 16 of a warp fit.
template <int kDim>
struct Tiling {
  static constexpr int kWarpTiles = kDim <= 128 ? 2 : 1;
  static constexpr int kWarpKeys = kWarpTiles * 16;
  static constexpr int kKeys = kWarps * kWarpKeys;
  static constexpr int kQueryTileBytes = kRows * kDim * 2;
  static constexpr int kTileBytes = 2 * kQueryTileBytes;  // two buffers; they hold the keys first
  static_assert(kKeys * kDim * 2 <= kTileBytes);
};

// Attention that 8 rows give to 16 keys, as MultiplyAdd leaves it (lane: keys lane / 4 and + 8, rows 2 (lane % 4) and
// + 1), added to totals row by row. A lane holds the total of key lane / 4, odd ones of + 8.
__device__ inline float AddRows(float total, const float (&p)[4], const float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool odd = lane % 2 != 0, late = lane % 4 >= 2;
  // Between neighbours: four rows of one's own key. Then between pairs: all eight.
  const float other0 = ShuffleXor(odd ? p[0] : p[2], 1), other1 = ShuffleXor(odd ? p[1] : p[3], 1);
  const float own[4] = {odd ? other0 : p[0], odd ? other1 : p[1], odd ? p[2] : other0, odd ? p[3] : other1};
  float other[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) other[i] = ShuffleXor(own[i], 2);
  const float4 early_weights = *reinterpret_cast<const float4*>(weights);
  const float4 late_weights = *reinterpret_cast<const float4*>(weights + 4);
  total = fmaf(early_weights.x, late ? other[0] : own[0], total);
  total = fmaf(early_weights.y, late ? other[1] : own[1], total);
  total = fmaf(early_weights.z, late ? other[2] : own[2], total);
  total = fmaf(early_weights.w, late ? other[3] : own[3], total);
  total = fmaf(late_weights.x, late ? own[0] : other[0], total);
  total = fmaf(late_weights.y, late ? own[1] : other[1], total);
  total = fmaf(late_weights.z, late ? own[2] : other[2], total);
  return fmaf(late_weights.w, late ? own[3] : other[3], total);
}

// Grid [key tiles of all rings, KV heads, slices], 4 warps: keys are stationary, so that nothing is added across
// blocks. Key tiles come first in the grid: blocks that run together read the same queries.
template <int kDim, bool kMax>
__global__ void __launch_bounds__(kThreads)
    ScoresKernel(const CachePool pool, const StepTables tables, const AttentionPart part,
                 const AttentionScratch scratch, const int layer) {
  using Shape = Tiling<kDim>;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = pool.layout;
  const int group = layout.group, heads = layout.num_kv_heads * group;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = tables.slices[slice_index];
  const int row_end = min(part.row_end, slice.num_rows);
  if (tables.live[slice_index] == 0 || slice.sinks != 0 || row_end <= part.row_begin) return;
  int first_slot = static_cast<int>(blockIdx.x) * Shape::kKeys, segment = 1;
  for (; segment < layout.num_segments; ++segment) {
    const int slots = (layout.segment_slots[segment] + Shape::kKeys - 1) / Shape::kKeys * Shape::kKeys;
    if (first_slot < slots) break;
    first_slot -= slots;
  }
  const SeenSegment seen = MakeSeenSegment(layout, tables, slice_index, segment);

  // Of each key: the first row that sees it.
  __shared__ int key_rows[Shape::kKeys];
  __shared__ float lse[2][kRows];
  __shared__ __align__(16) float weights[2][kRows];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  if (thread < Shape::kKeys) {
    const int place = seen.Place(first_slot + thread);
    key_rows[thread] = place < seen.Limit(row_end - 1) ? seen.FirstRow(place) : kNever;
  }
  SyncBlock();
  int first_row = kNever, last_row = 0;  // that is the first one to see a key
  for (int i = lane; i < Shape::kKeys; i += 32) {
    first_row = min(first_row, key_rows[i]);
    if (key_rows[i] != kNever) last_row = max(last_row, key_rows[i]);
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    first_row = min(first_row, ShuffleXor(first_row, mask));
    last_row = max(last_row, ShuffleXor(last_row, mask));
  }
  if (first_row == kNever) return;
  const int begin = max(first_row, part.row_begin);

  unsigned char* tiles = SharedMemory();
  float* sums = reinterpret_cast<float*>(tiles + Shape::kTileBytes);  // max: [G][kKeys]
  unsigned char* block = pool.Block(slice.slot, layer, kv_head);
  const int entry = seen.first_entry + first_slot;
  const int warp_key = thread / 32 * Shape::kWarpKeys;
  uint32_t keys[Shape::kWarpTiles][kDim / 16][4];
  CopyTile<kDim, Shape::kKeys, kThreads>(tiles, block + static_cast<size_t>(entry) * (kDim * 2),
                                         seen.slots - first_slot);
  CommitCopies();
  WaitCopies<0>();
  SyncBlock();
#pragma unroll
  for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) LoadLeft<kDim>(keys[m][step], tiles, warp_key + m * 16, step);
  }
  SyncBlock();

  // The key of a lane's total, and the rows that see the keys of its products.
  int total_keys[Shape::kWarpTiles], seen_from[Shape::kWarpTiles][2];
  float totals[Shape::kWarpTiles];
  const bool opens = slice.open_place == 0 && part.row_begin == 0;
  float* scores = reinterpret_cast<float*>(block + layout.scores_offset) + entry;
  float* open_sums = reinterpret_cast<float*>(block + layout.sums_offset) + entry;
#pragma unroll
  for (int m = 0; m < Shape::kWarpTiles; ++m) {
    const int key = warp_key + m * 16 + lane / 4;
    seen_from[m][0] = key_rows[key];
    seen_from[m][1] = key_rows[key + 8];
    total_keys[m] = key + lane % 2 * 8;
    const bool stored = key_rows[total_keys[m]] != kNever;
    if (kMax) {
      for (int g = lane % 4 / 2; g < group; g += 2) {  // two lanes share a key
        sums[g * Shape::kKeys + total_keys[m]] =
            stored && !opens ? open_sums[static_cast<int64_t>(g) * layout.entries + total_keys[m]] : 0.0f;
      }
      totals[m] = 0;
    } else {
      totals[m] = stored ? scores[total_keys[m]] : 0.0f;
      if (opens) totals[m] *= layout.stride_decay;
    }
  }

  // Tiles of rows, and of each the heads of the group in their order.
  const float share = kMax ? 1.0f : 1.0f / static_cast<float>(group);
  const int64_t slice_place = static_cast<int64_t>(blockIdx.z) * (part.row_end - part.row_begin) - part.row_begin;
  const unsigned char* queries = static_cast<const unsigned char*>(scratch.queries) +
                                 (static_cast<int64_t>(segment) * heads + kv_head * group) * scratch.rows * (kDim * 2);
  const float* all_lse = scratch.lse + static_cast<int64_t>(kv_head) * group * scratch.rows;
  const auto load_queries = [&](int row, int g, int buffer) {
    const int64_t place = static_cast<int64_t>(g) * scratch.rows + slice_place + row;
    CopyTile<kDim, kRows, kThreads>(tiles + buffer * Shape::kQueryTileBytes, queries + place * (kDim * 2),
                                    row_end - row);
  };
  const auto lse_of = [&](int row, int g) {  // rows beyond the end give nothing
    return row < row_end ? all_lse[static_cast<int64_t>(g) * scratch.rows + slice_place + row] : kInfinity;
  };
  const auto weight_of = [&](int row) { return row < row_end ? tables.weights[slice.first_row + row] * share : 0.0f; };

  float group_sums[Shape::kWarpTiles][kRows / 8][4] = {};
  load_queries(begin, 0, 0);
  CommitCopies();
  if (thread < kRows) {
    lse[0][thread] = lse_of(begin + thread, 0);
    weights[0][thread] = weight_of(begin + thread);
  }
  for (int row = begin, g = 0, buffer = 0; row < row_end; buffer ^= 1) {
    WaitCopies<0>();
    SyncBlock();  // the tile is there, and all are done with the one before
    const bool last_head = g + 1 == group;
    const int next_row = last_head ? row + kRows : row, next_g = last_head ? 0 : g + 1;
    float next_lse = 0, next_weight = 0;
    if (next_row < row_end) {
      load_queries(next_row, next_g, buffer ^ 1);
      if (thread < kRows) {
        next_lse = lse_of(next_row + thread, next_g);
        next_weight = weight_of(next_row + thread);
      }
    }
    CommitCopies();

    const unsigned char* tile = tiles + buffer * Shape::kQueryTileBytes;
    const bool masked = row < last_row;
    if (kMax) {
#pragma unroll
      for (int m = 0; m < Shape::kWarpTiles; ++m) totals[m] = sums[g * Shape::kKeys + total_keys[m]];
    }
    constexpr int kOctets = 4;  // at a time
#pragma unroll
    for (int first = 0; first < kRows / 8; first += kOctets) {
      if (row + first * 8 >= row_end) break;
      float p[Shape::kWarpTiles][kOctets][4] = {};
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
        for (int n = 0; n < kOctets; n += 2) {
          uint32_t b[4];
          LoadRight<kDim>(b, tile, (first + n) * 8, step);
#pragma unroll
          for (int m = 0; m < Shape::kWarpTiles; ++m) {
            MultiplyAdd<Bf16>(p[m][n], keys[m][step], {b[0], b[1]});
            MultiplyAdd<Bf16>(p[m][n + 1], keys[m][step], {b[2], b[3]});
          }
        }
      }
#pragma unroll
      for (int n = 0; n < kOctets; ++n) {
        const int tile_row = (first + n) * 8 + lane % 4 * 2;
        const float2 row_lse = *reinterpret_cast<const float2*>(&lse[buffer][tile_row]);
#pragma unroll
        for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            p[m][n][i] = Exp2(p[m][n][i] - (i % 2 == 0 ? row_lse.x : row_lse.y));
            if (masked && row + tile_row + i % 2 < seen_from[m][i / 2]) p[m][n][i] = 0;
            if (!kMax) group_sums[m][first + n][i] += p[m][n][i];
          }
          if (kMax) totals[m] = AddRows(totals[m], p[m][n], &weights[buffer][(first + n) * 8]);
        }
      }
    }
    if (kMax) {
#pragma unroll
      for (int m = 0; m < Shape::kWarpTiles; ++m) sums[g * Shape::kKeys + total_keys[m]] = totals[m];
    } else if (last_head) {
#pragma unroll
      for (int n = 0; n < kRows / 8; ++n) {
        if (row + n / kOctets * kOctets * 8 >= row_end) break;
#pragma unroll
        for (int m = 0; m < Shape::kWarpTiles; ++m) {
          totals[m] = AddRows(totals[m], group_sums[m][n], &weights[buffer][n * 8]);
#pragma unroll
          for (int i = 0; i < 4; ++i) group_sums[m][n][i] = 0;
        }
      }
    }
    if (thread < kRows) {
      lse[buffer ^ 1][thread] = next_lse;
      weights[buffer ^ 1][thread] = next_weight;
    }
    row = next_row;
    g = next_g;
  }

  SyncWarp();
#pragma unroll
  for (int m = 0; m < Shape::kWarpTiles; ++m) {
    if (key_rows[total_keys[m]] == kNever) continue;
    if (kMax) {
      for (int g = lane % 4 / 2; g < group; g += 2) {
        open_sums[static_cast<int64_t>(g) * layout.entries + total_keys[m]] = sums[g * Shape::kKeys + total_keys[m]];
      }
    } else if (lane % 4 < 2) {
      scores[total_keys[m]] = totals[m];
    }
  }
}

template <int kDim>
void Launch(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part,
            const AttentionScratch& scratch, int layer) {
  using Shape = Tiling<kDim>;
  const CacheLayout& layout = pool.layout;
  int tiles = 0;
  for (int s = 1; s < layout.num_segments; ++s) tiles += (layout.segment_slots[s] + Shape::kKeys - 1) / Shape::kKeys;
  LaunchShape shape = {.grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(layout.num_kv_heads),
                                    static_cast<unsigned>(part.num_slices)),
                       .block = dim3(kThreads),
                       .shared_bytes = Shape::kTileBytes,
                       .overlap = true};
  if (layout.max_reduction) {
    shape.shared_bytes += sizeof(float) * static_cast<size_t>(layout.group) * Shape::kKeys;
    stream.Launch("scores", ScoresKernel<kDim, true>, shape, pool, tables, part, scratch, layer);
  } else {
    stream.Launch("scores", ScoresKernel<kDim, false>, shape, pool, tables, part, scratch, layer);
  }
}

}  // namespace

void AddScores(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part,
               const AttentionScratch& scratch, int layer) {
  switch (pool.layout.row_elements) {
    case 64:
      return Launch<64>(stream, pool, tables, part, scratch, layer);
    case 128:
      return Launch<128>(stream, pool, tables, part, scratch, layer);
    default:
      return Launch<256>(stream, pool, tables, part, scratch, layer);
  }
}

}  // namespace cascade::kernels::cuda
