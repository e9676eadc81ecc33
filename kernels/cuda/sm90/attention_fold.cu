#include "kernels/cuda/sm90/attention_scores.h"
#include "kernels/cuda/sm90/attention_tiles.h"

namespace cascade::kernels::cuda::sm90 {
namespace {

constexpr int kFoldThreads = 256;
constexpr float kInfinity = __builtin_huge_valf();
// Masses beyond: bfloat16 or float32 may have overflowed on the way.
constexpr float kLargestMass = 0x1p40f;

// By a block of 128 threads, in a fixed order; the same in all of them.
__device__ float BlockSum(float value, float* shared) {
  value = WarpSum(value);
  SyncBlock();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  SyncBlock();
  return (shared[0] + shared[1]) + (shared[2] + shared[3]);
}

// Grid [row tiles, KV heads, slices], a thread for each of the tile's queries.
__global__ void __launch_bounds__(kTileQueries) CertifyKernel(const __grid_constant__ FoldArguments arguments) {
  const ForwardArguments& a = arguments.forward;
  __shared__ float shared[4];
  WaitForPrevious();
  AllowNext();
  const int group = a.pool.layout.group, kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = a.part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = a.tables.slices[slice_index];
  const int token = static_cast<int>(threadIdx.x) % a.maps.tile_tokens;
  const int head = static_cast<int>(threadIdx.x) / a.maps.tile_tokens;
  const int row = a.part.row_begin + static_cast<int>(blockIdx.x) * a.maps.tile_tokens + token;
  const bool valid = head < group && row < min(a.part.row_end, slice.num_rows) && a.tables.live[slice_index] != 0;
  const float weight = WeightOf(a.tables, slice, row, valid);
  float mass = 0;
  bool broken = false;
  if (valid) {
    const int place = static_cast<int>(blockIdx.z) * (a.part.row_end - a.part.row_begin) + row - a.part.row_begin;
    mass = a.masses[static_cast<int64_t>(kv_head * group + head) * a.scratch.rows + place];
    broken = !(mass > 1 / kLargestMass && mass < kLargestMass);
    if (broken) mass = 0;
  }
  const float weights = BlockSum(weight, shared), masses = BlockSum(mass, shared);
  const float scale = masses > 0 ? weights / masses : 0.0f;
  const float off = BlockSum(fabsf(fmaf(mass, scale, -weight)), shared);
  const bool any_broken = BlockSum(broken ? 1.0f : 0.0f, shared) > 0;
  if (threadIdx.x != 0) return;
  const size_t tile = TileIndex(blockIdx.z, blockIdx.x, gridDim.x, kv_head, a.pool.layout.num_kv_heads);
  arguments.scales[tile] = scale / static_cast<float>(group);
  arguments.weights[tile] = weights;
  a.certificates[tile] = any_broken ? kInfinity : off;
}

// By one thread of those of a head.
__device__ inline void Count(ScoreCertificates& totals, float certificate, bool within) {
  using Counter = unsigned long long;
  atomicAdd(reinterpret_cast<Counter*>(&totals.heads), Counter{1});
  if (!within) {
    atomicAdd(reinterpret_cast<Counter*>(&totals.rejected), Counter{1});
  } else {
    atomicMax(reinterpret_cast<int*>(&totals.worst), __float_as_int(certificate));  // not negative: ordered as integers
  }
}

// Grid [entries / kFoldThreads, KV heads, slices], a thread per key.
__global__ void __launch_bounds__(kFoldThreads)
    FoldKernel(const __grid_constant__ FoldArguments arguments, const int tiles) {
  const ForwardArguments& a = arguments.forward;
  __shared__ bool within;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = a.pool.layout;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = a.part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = a.tables.slices[slice_index];
  const int row_end = min(a.part.row_end, slice.num_rows);
  if (a.tables.live[slice_index] == 0 || slice.sinks != 0 || row_end <= a.part.row_begin) return;
  const int used = (row_end - a.part.row_begin + a.maps.tile_tokens - 1) / a.maps.tile_tokens;
  if (threadIdx.x < 32) {
    const float certificate =
        HeadCertificate(a.certificates, arguments.weights, blockIdx.z, tiles, kv_head, layout.num_kv_heads);
    if (threadIdx.x == 0) {
      within = IsWithin(certificate, arguments.limit);
      if (blockIdx.x == 0) Count(*arguments.totals, certificate, within);
    }
  }
  SyncBlock();
  const int entry = static_cast<int>(blockIdx.x * kFoldThreads + threadIdx.x);
  if (!within || entry >= layout.entries) return;
  int segment = layout.num_segments - 1;
  while (segment > 0 && entry < layout.first_entry[segment]) --segment;
  if (segment == 0) return;
  const SeenSegment seen = MakeSeenSegment(layout, a.tables, slice_index, segment);
  const int place = seen.Place(entry - layout.first_entry[segment]);
  if (place >= seen.Limit(row_end - 1)) return;
  // Tiles before the first one that sees the key have left nothing.
  const int first = max(seen.FirstRow(place) - a.part.row_begin, 0) / a.maps.tile_tokens;
  const size_t step = static_cast<size_t>(layout.num_kv_heads) * layout.entries;
  const size_t first_tile = TileIndex(blockIdx.z, 0, tiles, kv_head, layout.num_kv_heads);
  const float* sums = a.column_sums + first_tile * layout.entries + entry;
  const float* scales = arguments.scales + first_tile;
  float total = 0;
#pragma unroll 8
  for (int tile = first; tile < used; ++tile)
    total = fmaf(sums[tile * step], scales[tile * layout.num_kv_heads], total);
  float* score = reinterpret_cast<float*>(a.pool.Block(slice.slot, a.layer, kv_head) + layout.scores_offset) + entry;
  const bool opens = slice.open_place == 0 && a.part.row_begin == 0;
  *score = fmaf(*score, opens ? layout.stride_decay : 1.0f, total);
}

}  // namespace

void LaunchCertify(Stream& stream, const FoldArguments& arguments) {
  const AttentionPart& part = arguments.forward.part;
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(RowTiles(part, arguments.forward.maps.tile_tokens)),
                                          static_cast<unsigned>(arguments.forward.pool.layout.num_kv_heads),
                                          static_cast<unsigned>(part.num_slices)),
                             .block = dim3(kTileQueries),
                             .overlap = true};
  stream.Launch("scores", CertifyKernel, shape, arguments);
}

void LaunchFold(Stream& stream, const FoldArguments& arguments) {
  const AttentionPart& part = arguments.forward.part;
  const CacheLayout& layout = arguments.forward.pool.layout;
  const LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>((layout.entries + kFoldThreads - 1) / kFoldThreads),
                   static_cast<unsigned>(layout.num_kv_heads), static_cast<unsigned>(part.num_slices)),
      .block = dim3(kFoldThreads),
      .overlap = true};
  stream.Launch("scores", FoldKernel, shape, arguments, RowTiles(part, arguments.forward.maps.tile_tokens));
}

}  // namespace cascade::kernels::cuda::sm90
