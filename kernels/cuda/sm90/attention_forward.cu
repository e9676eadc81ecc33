#include "kernels/cuda/sm90/attention_forward.h"

#include "kernels/base/check.h"
#include "kernels/cuda/sm90/attention_multiplier.h"
#include "kernels/cuda/sm90/attention_producers.h"

namespace cascade::kernels::cuda::sm90 {
namespace forward {
namespace {

// Grid [row tiles, KV heads, slices]; a producing warpgroup and two that multiply. A tile holds tile_tokens rows of the
// slice, each with all queries of the KV head's group, so that keys and values are read once for the group. Row tiles
// come first in the grid: blocks that run together read the same keys.
template <class T, int kDim, bool kPredict>
__global__ void __launch_bounds__(kThreads, 1)
    ForwardKernel(const __grid_constant__ ForwardArguments a, const bool only_broken) {
  using S = Shape<kDim>;
  __shared__ Control<S::kStages> control;
  __shared__ Block block;
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = a.pool.layout;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int slice_index = a.part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = a.tables.slices[slice_index];
  const int first_row = a.part.row_begin + static_cast<int>(blockIdx.x) * a.maps.tile_tokens;
  const int num_rows = min(a.maps.tile_tokens, min(a.part.row_end, slice.num_rows) - first_row);
  if (num_rows <= 0 || a.tables.live[slice_index] == 0) return;
  const size_t tile_index = TileIndex(blockIdx.z, blockIdx.x, gridDim.x, kv_head, layout.num_kv_heads);
  if (only_broken && a.certificates[tile_index] < kInfinity) return;
  const int place = static_cast<int>(blockIdx.z) * (a.part.row_end - a.part.row_begin) + first_row - a.part.row_begin;
  const int cache_block = (slice.slot * layout.num_layers + a.layer) * layout.num_kv_heads + kv_head;

  unsigned char* shared = SharedMemory();
  shared += (1024 - SharedAddress(shared) % 1024) % 1024;
  if (thread < layout.num_segments) {
    block.segments[thread] = MakeSeenSegment(layout, a.tables, slice_index, thread);
    block.least[thread] = block.segments[thread].Limit(first_row);
    block.most[thread] = block.segments[thread].Limit(first_row + num_rows - 1);
  }
  if (thread == 0) {
    block.partial = num_rows < a.maps.tile_tokens;
    for (int i = 0; i < 2; ++i) {
      control.query_full[i].Init(1);
      control.query_empty[i].Init(kWarps);
    }
    for (int i = 0; i < S::kStages; ++i) {
      control.key_full[i].Init(1);
      control.key_empty[i].Init(kWarps);
      control.value_full[i].Init(1);
      control.value_empty[i].Init(kWarps);
    }
    for (int i = 0; i < kSumStages; ++i) {
      control.sums_full[i].Init(kWarps);
      control.sums_empty[i].Init(1);
    }
    FenceBarriers();
  }
  // Rows of queries that no copy fills are multiplied too.
  for (int i = thread; i < 2 * S::kTileBytes / 16; i += kThreads) {
    if (i * 16 % kPanelBytes >= a.maps.query_rows * 128) {
      reinterpret_cast<uint4*>(shared)[i] = make_uint4(0, 0, 0, 0);
    }
  }
  FenceSharedWrites();
  SyncBlock();

  if (warp < 4) {
    GiveRegisters<40>();
    if (thread == 0) {
      KeyProducer<kDim, kPredict>(a, block, control, shared, place, kv_head, cache_block).Run();
    } else if (thread == 32) {
      BringValues<kDim>(a, block, control, shared, cache_block);
    } else if (kPredict && warp == 2) {
      AddColumnSums<kDim>(block, control, shared, a.column_sums + tile_index * layout.entries);
    }
  } else {
    TakeRegisters<232>();
    Multiplier<T, kDim, kPredict>(a, block, control, shared, slice, first_row, num_rows, place, kv_head).Run();
  }
}

template <class T, int kDim, bool kPredict>
void LaunchKernel(Stream& stream, const ForwardArguments& arguments, bool only_broken) {
  const AttentionPart& part = arguments.part;
  const int tiles = RowTiles(part, arguments.maps.tile_tokens);
  const LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(arguments.pool.layout.num_kv_heads),
                   static_cast<unsigned>(part.num_slices)),
      .block = dim3(kThreads),
      .shared_bytes = Shape<kDim>::kSharedBytes,
      .overlap = true};
  stream.Launch("attention", ForwardKernel<T, kDim, kPredict>, shape, arguments, only_broken);
}

template <class T, int kDim>
void LaunchMode(Stream& stream, const ForwardArguments& arguments, ForwardMode mode) {
  if (mode == ForwardMode::kPredict) return LaunchKernel<T, kDim, true>(stream, arguments, false);
  LaunchKernel<T, kDim, false>(stream, arguments, mode == ForwardMode::kMend);
}

template <class T>
void LaunchType(Stream& stream, const ForwardArguments& arguments, ForwardMode mode) {
  if (arguments.pool.layout.row_elements == 64) return LaunchMode<T, 64>(stream, arguments, mode);
  CASCADE_CHECK(arguments.pool.layout.row_elements == 128);
  LaunchMode<T, 128>(stream, arguments, mode);
}

}  // namespace
}  // namespace forward

void LaunchForward(Stream& stream, const ForwardArguments& arguments, DType type, ForwardMode mode) {
  CASCADE_CHECK(type == DType::kBF16 || type == DType::kF16);
  if (type == DType::kBF16) return forward::LaunchType<Bf16>(stream, arguments, mode);
  forward::LaunchType<Half>(stream, arguments, mode);
}

}  // namespace cascade::kernels::cuda::sm90
