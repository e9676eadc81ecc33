#include "kernels/cuda/attention_prefill.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/attention_scores.h"
#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/rotate_queries.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr float kInfinity = __builtin_huge_valf();

// Of a block, by row_elements: a row's query of one head is a tile row. Two tiles of 16 rows a warp halve what is read
// of keys and values per product; with 256 elements their sums would not fit the registers.
template <int kDim>
struct Tiling {
  static constexpr int kWarpTiles = kDim <= 128 ? 2 : 1;
  static constexpr int kWarpRows = kWarpTiles * 16;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeys = kDim <= 128 ? 64 : 32;
  static constexpr int kKeyTileBytes = kKeys * kDim * 2;
  static constexpr int kQueryBytes = kRows * kDim * 2;
  static constexpr int kSharedBytes = kQueryBytes + 4 * kKeyTileBytes;  // two buffers of keys and values
};
int TileRows(const CacheLayout& layout) { return layout.row_elements <= 128 ? Tiling<128>::kRows : Tiling<256>::kRows; }

// A row of a block's tile: the query of one row and head.
struct Query {
  int row;       // of the slice
  int step_row;  // of the step; -1: the tile's padding
  int place;     // in the scratch
  int head;
};

// Grid [row tiles, KV heads, slices], 4 warps. A tile holds whole rows, each with the queries of the KV head's group
// one after the other, so that keys and values are read once for the group. Row tiles come first in the grid: blocks
// that run together read the same keys.
template <class T, int kDim>
__global__ void __launch_bounds__(kThreads)
    PrefillKernel(const CachePool pool, const StepTables tables, const AttentionPart part,
                  const AttentionScratch scratch, const int layer, T* out) {
  using Shape = Tiling<kDim>;
  constexpr int kKeyTiles = Shape::kKeys / 8, kValueTiles = kDim / 8;
  constexpr int kBufferBytes = 2 * Shape::kKeyTileBytes;  // a power of two
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = pool.layout;
  const int group = layout.group, heads = layout.num_kv_heads * group;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = tables.slices[slice_index];
  const int tile_rows = Shape::kRows / group;
  const int first_row = part.row_begin + static_cast<int>(blockIdx.x) * tile_rows;
  const int num_rows = min(tile_rows, min(part.row_end, slice.num_rows) - first_row);
  if (num_rows <= 0 || tables.live[slice_index] == 0) return;
  const int num_queries = num_rows * group;

  unsigned char* queries = SharedMemory();
  unsigned char* buffers = queries + Shape::kQueryBytes;
  // Here because registers are scarce. least, most: the limits of the tile's first and last row.
  __shared__ SeenSegment segments[kMaxSegments];
  __shared__ int least[kMaxSegments], most[kMaxSegments];
  __shared__ Query rows[Shape::kRows];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  if (thread < layout.num_segments) {
    segments[thread] = MakeSeenSegment(layout, tables, slice_index, thread);
    least[thread] = segments[thread].Limit(first_row);
    most[thread] = segments[thread].Limit(first_row + num_rows - 1);
  }
  for (int i = thread; i < Shape::kRows; i += kThreads) {
    const int row = first_row + i / group;
    rows[i] = {.row = row,
               .step_row = i < num_queries ? slice.first_row + row : -1,
               .place = static_cast<int>(blockIdx.z) * (part.row_end - part.row_begin) + row - part.row_begin,
               .head = kv_head * group + i % group};
  }
  SyncBlock();

  const unsigned char* block = pool.Block(slice.slot, layer, kv_head);
  const auto load_keys = [&](int segment, int tile, int buffer) {
    const int slot = tile * Shape::kKeys;
    const size_t offset = static_cast<size_t>(segments[segment].first_entry + slot) * (kDim * 2);
    const int rows = segments[segment].slots - slot;
    unsigned char* to = buffers + buffer;
    CopyTile<kDim, Shape::kKeys, kThreads>(to, block + offset, rows);
    CopyTile<kDim, Shape::kKeys, kThreads>(to + Shape::kKeyTileBytes, block + layout.values_offset + offset, rows);
  };
  const auto load_queries = [&](int segment) {
    constexpr int kChunks = kDim / 8;
    const unsigned char* from = static_cast<const unsigned char*>(scratch.queries);
#pragma unroll 1
    for (int i = thread; i < Shape::kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const Query& query = rows[row];
      const int64_t at = (static_cast<int64_t>(segment) * heads + query.head) * scratch.rows + query.place;
      CopyAsync16(queries + TileOffset<kDim>(row, chunk), from + at * (kDim * 2) + chunk * 16, query.step_row >= 0);
    }
  };
  // Moves to the next tile that any of the block's rows sees something of; segment num_segments: there is none.
  const auto advance = [&](int& segment, int& tile) {
    for (++tile; segment < layout.num_segments; ++segment, tile = 0) {
      tile = segments[segment].NextTile(Shape::kKeys, tile, most[segment]);
      if (tile >= 0) return;
    }
  };

  // A warp's rows; a lane has rows lane / 4 and + 8 of each tile of 16.
  const int warp_row = thread / 32 * Shape::kWarpRows;
  const bool warp_works = warp_row < num_queries;
  float maxima[Shape::kWarpTiles][2], sums[Shape::kWarpTiles][2];
  float result[Shape::kWarpTiles][kValueTiles][4];
#pragma unroll
  for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      maxima[m][half] = -kInfinity;
      sums[m][half] = 0;
    }
#pragma unroll
    for (int n = 0; n < kValueTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) result[m][n][i] = 0;
    }
  }

  int segment = 0, tile = -1, loaded_segment = -1;
  advance(segment, tile);
  if (segment < layout.num_segments) load_keys(segment, tile, 0);
  CommitCopies();
  for (int buffer = 0; segment < layout.num_segments; buffer ^= kBufferBytes) {
    WaitCopies<0>();
    SyncBlock();  // the tile is there, and all are done with the one before
    if (segment != loaded_segment) {
      load_queries(segment);
      CommitCopies();
      WaitCopies<0>();
      SyncBlock();
      loaded_segment = segment;
    }
    const SeenSegment& seen = segments[segment];
    const int first_slot = tile * Shape::kKeys;
    const bool masked = !seen.AllBelow(first_slot, first_slot + Shape::kKeys, least[segment]);
    advance(segment, tile);
    if (segment < layout.num_segments) load_keys(segment, tile, buffer ^ kBufferBytes);
    CommitCopies();
    if (!warp_works) continue;

    const unsigned char* keys = buffers + buffer;
    const unsigned char* values = keys + Shape::kKeyTileBytes;
    float logits[Shape::kWarpTiles][kKeyTiles][4] = {};
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t a[Shape::kWarpTiles][4];
#pragma unroll
      for (int m = 0; m < Shape::kWarpTiles; ++m) LoadLeft<kDim>(a[m], queries, warp_row + m * 16, step);
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        LoadRight<kDim>(b, keys, n * 8, step);
#pragma unroll
        for (int m = 0; m < Shape::kWarpTiles; ++m) {
          MultiplyAdd<Bf16>(logits[m][n], a[m], {b[0], b[1]});
          MultiplyAdd<Bf16>(logits[m][n + 1], a[m], {b[2], b[3]});
        }
      }
    }
    if (masked) {
#pragma unroll
      for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int limit = seen.Limit(rows[warp_row + m * 16 + half * 8 + lane / 4].row);
#pragma unroll
          for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const int key = seen.Place(first_slot + n * 8 + lane % 4 * 2 + i);
              if (key >= limit) logits[m][n][half * 2 + i] = -kInfinity;
            }
          }
        }
      }
    }

    // Softmax so far. What a row does not see leaves it as it is: its maximum stays, so its factor is exactly 1.
    float factors[Shape::kWarpTiles][2];
    uint32_t p[Shape::kWarpTiles][kKeyTiles][2];
    bool rescale = false;
#pragma unroll
    for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float maximum = maxima[m][half];
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
          maximum = fmaxf(maximum, fmaxf(logits[m][n][half * 2], logits[m][n][half * 2 + 1]));
        }
        maximum = fmaxf(maximum, ShuffleXor(maximum, 1));
        maximum = fmaxf(maximum, ShuffleXor(maximum, 2));
        const float reference = maximum == -kInfinity ? 0.0f : maximum;
        factors[m][half] = Exp2(maxima[m][half] - reference);
        rescale |= maxima[m][half] != maximum;
        maxima[m][half] = maximum;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
          const float p0 = Exp2(logits[m][n][half * 2] - reference), p1 = Exp2(logits[m][n][half * 2 + 1] - reference);
          sum += p0 + p1;
          p[m][n][half] = Pack<Bf16>(p0, p1);
        }
        sums[m][half] = fmaf(sums[m][half], factors[m][half], sum);
      }
    }
    if (Ballot(rescale) != 0) {
#pragma unroll
      for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kValueTiles; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) result[m][n][i] *= factors[m][i / 2];
        }
      }
    }
#pragma unroll
    for (int step = 0; step < Shape::kKeys / 16; ++step) {
#pragma unroll
      for (int n = 0; n < kValueTiles; n += 2) {
        uint32_t b[4];
        LoadRightTransposed<kDim>(b, values, step * 16, n / 2);
#pragma unroll
        for (int m = 0; m < Shape::kWarpTiles; ++m) {
          const uint32_t a[4] = {p[m][step * 2][0], p[m][step * 2][1], p[m][step * 2 + 1][0], p[m][step * 2 + 1][1]};
          MultiplyAdd<Bf16>(result[m][n], a, {b[0], b[1]});
          MultiplyAdd<Bf16>(result[m][n + 1], a, {b[2], b[3]});
        }
      }
    }
  }

#pragma unroll
  for (int m = 0; m < Shape::kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = sums[m][half];
      sum += ShuffleXor(sum, 1);
      sum += ShuffleXor(sum, 2);
      const Query query = rows[warp_row + m * 16 + half * 8 + lane / 4];
      if (query.step_row < 0) continue;
      if (lane % 4 == 0) {
        // A row that sees nothing, which no slice has, would give nothing to any key.
        scratch.lse[static_cast<int64_t>(query.head) * scratch.rows + query.place] =
            sum == 0 ? kInfinity : maxima[m][half] + log2f(sum);
      }
      const float inverse = sum == 0 ? 0.0f : 1.0f / sum;
      T* to = out + (static_cast<int64_t>(query.step_row) * heads + query.head) * layout.head_dim;
#pragma unroll
      for (int n = 0; n < kValueTiles; ++n) {
        if (n * 8 >= layout.head_dim) break;
        // Plus zero: a sum of products with zero may be +0 where it was -0.
        *reinterpret_cast<uint32_t*>(to + n * 8 + lane % 4 * 2) =
            Pack<T>(fmaf(result[m][n][half * 2], inverse, 0.0f), fmaf(result[m][n][half * 2 + 1], inverse, 0.0f));
      }
    }
  }
}

template <class T, int kDim>
void Launch(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part,
            const AttentionScratch& scratch, int layer, void* out) {
  using Shape = Tiling<kDim>;
  const int tile_rows = Shape::kRows / pool.layout.group;
  const int tiles = (part.row_end - part.row_begin + tile_rows - 1) / tile_rows;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(pool.layout.num_kv_heads),
                                          static_cast<unsigned>(part.num_slices)),
                             .block = dim3(kThreads),
                             .shared_bytes = Shape::kSharedBytes,
                             .overlap = true};
  stream.Launch("attention", PrefillKernel<T, kDim>, shape, pool, tables, part, scratch, layer, static_cast<T*>(out));
}

template <class T>
void LaunchOfType(Stream& stream, const CachePool& pool, const StepTables& tables, const AttentionPart& part,
                  const AttentionScratch& scratch, int layer, void* out) {
  switch (pool.layout.row_elements) {
    case 64:
      return Launch<T, 64>(stream, pool, tables, part, scratch, layer, out);
    case 128:
      return Launch<T, 128>(stream, pool, tables, part, scratch, layer, out);
    default:
      return Launch<T, 256>(stream, pool, tables, part, scratch, layer, out);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrefillAttention>> PrefillAttention::Create(Stream& stream, DeviceMemory& memory,
                                                                           const CacheLayout& layout,
                                                                           const CudaOptions& options, int max_rows) {
  CASCADE_CHECK(layout.row_elements == 64 || layout.row_elements == 128 || layout.row_elements == 256);
  CASCADE_CHECK(layout.group <= kMaxGroup && layout.head_dim % 8 == 0 && layout.num_segments <= kMaxSegments);
  CASCADE_CHECK(options.compute == DType::kBF16 || options.compute == DType::kF16);
  // 4,096 rows of 32 heads of 128 elements and 5 segments take 160 MiB, or 432 with what predicted scores of 69,632
  // keys need; 2,048 fill 132 multiprocessors four times.
  constexpr int64_t kScratchBytes = int64_t{512} << 20;
  constexpr int64_t kFewestRows = 64;
  const int64_t heads = int64_t{layout.num_kv_heads} * layout.group;
  const int64_t query_bytes = heads * layout.num_segments * layout.row_elements * 2;
  const auto rows_with = [&](const CudaOptions& with) {
    const int64_t row_bytes = query_bytes + StrideAttentionRowBytes(stream.traits(), layout, with);
    return std::min<int64_t>(max_rows, std::max(kScratchBytes / row_bytes, kFewestRows));
  };
  // Over caches so large that predictions would leave room for few rows at once, exact scores are quicker.
  constexpr int64_t kRowsWorthPredicting = 1024;
  CudaOptions chosen = options;
  if (options.score_kernel == ScoreKernel::kAuto &&
      rows_with(options) < std::min<int64_t>(max_rows, kRowsWorthPredicting)) {
    chosen.score_kernel = ScoreKernel::kExact;
  }
  const int64_t rows = rows_with(chosen);
  auto attention = std::unique_ptr<PrefillAttention>(new PrefillAttention(layout, options.compute));
  absl::StatusOr<void*> queries = memory.Allocate("rotated queries", static_cast<size_t>(rows * query_bytes));
  if (!queries.ok()) return queries.status();
  absl::StatusOr<float*> lse = memory.AllocateArray<float>("attention sums", static_cast<size_t>(rows * heads));
  if (!lse.ok()) return lse.status();
  attention->scratch_ = {.queries = *queries, .lse = *lse, .rows = static_cast<int>(rows)};
  // Tensor copies bring rows that nobody wrote.
  stream.Fill("rotated queries", *queries, 0, static_cast<size_t>(rows * query_bytes));
  absl::StatusOr<std::unique_ptr<StrideAttention>> stride =
      MakeStrideAttention(stream, memory, layout, chosen, static_cast<int>(rows));
  if (!stride.ok()) return stride.status();
  attention->stride_ = *std::move(stride);
  attention->required_ = options.score_kernel == ScoreKernel::kFast;
  return attention;
}

absl::Status PrefillAttention::Attach(const CachePool& pool) {
  if (stride_ == nullptr) return absl::OkStatus();
  absl::Status status = stride_->Attach(pool, scratch_);
  if (!absl::IsUnimplemented(status) || required_) return status;
  stride_ = nullptr;  // an old driver
  return absl::OkStatus();
}

void PrefillAttention::Attend(Stream& stream, const CachePool& pool, const StepTables& tables, int first_slice,
                              std::span<const StepSlice> host_slices, int layer, TensorView q, TensorView out) {
  const int64_t width = int64_t{layout_.num_kv_heads} * layout_.group * layout_.head_dim;
  CASCADE_CHECK(layer >= 0 && layer < layout_.num_layers);
  CASCADE_CHECK(q.type == compute_ && out.type == compute_ && q.cols == width && out.cols == width);
  const int tile_rows = stride_ != nullptr ? RowsOfTile(layout_) : TileRows(layout_) / layout_.group;
  const auto tiles = [tile_rows](int rows) { return (rows + tile_rows - 1) / tile_rows; };
  const bool predicts = stride_ != nullptr && stride_->predicts();
  for (size_t i = 0; i < host_slices.size();) {
    AttentionPart part = {};
    part.first_slice = first_slice + static_cast<int>(i);
    part.num_slices = 1;
    const int rows = host_slices[i].num_rows;
    if (rows > scratch_.rows) {
      const int num_parts = (rows + scratch_.rows - 1) / scratch_.rows;
      const int part_rows = std::min(tiles((rows + num_parts - 1) / num_parts) * tile_rows, scratch_.rows);
      for (part.row_begin = 0; part.row_begin < rows; part.row_begin = part.row_end) {
        part.row_end = std::min(part.row_begin + part_rows, rows);
        AttendPart(stream, pool, tables, part, layer, q, out);
      }
      ++i;
      continue;
    }
    // Slices with as many tiles of rows share their launches.
    part.row_end = rows;
    for (++i; i < host_slices.size() && tiles(host_slices[i].num_rows) == tiles(rows); ++i) {
      const int most = std::max(part.row_end, host_slices[i].num_rows);
      if (int64_t{part.num_slices + 1} * most > scratch_.rows) break;
      // Predictions keep sums per tile.
      if (predicts && (part.num_slices + 1) * tiles(rows) > tiles(scratch_.rows)) break;
      part.row_end = most;
      ++part.num_slices;
    }
    AttendPart(stream, pool, tables, part, layer, q, out);
  }
}

void PrefillAttention::AttendPart(Stream& stream, const CachePool& pool, const StepTables& tables,
                                  const AttentionPart& part, int layer, TensorView q, TensorView out) {
  RotateQueries(stream, layout_, tables, part, q, scratch_);
  if (stride_ != nullptr) return stride_->Attend(stream, tables, part, layer, out.data);
  if (compute_ == DType::kBF16) {
    LaunchOfType<Bf16>(stream, pool, tables, part, scratch_, layer, out.data);
  } else {
    LaunchOfType<Half>(stream, pool, tables, part, scratch_, layer, out.data);
  }
  AddScores(stream, pool, tables, part, scratch_, layer);
}

}  // namespace cascade::kernels::cuda
