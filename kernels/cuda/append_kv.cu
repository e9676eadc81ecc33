#include "kernels/cuda/append_kv.h"

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/head_lanes.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 128;

// Grid: [rows * KV heads / heads of a block]; kLanes neighbouring threads take one head of one row, so that a warp
// reads and writes whole lines.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads)
    AppendKernel(CachePool pool, StepTables tables, int first_row, int num_heads, int layer, const T* k, const T* v) {
  WaitForPrevious();
  AllowNext();
  const CacheLayout& layout = pool.layout;
  const int index = static_cast<int>(blockIdx.x) * (kThreads / kLanes) + static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  if (index >= num_heads) return;
  const int row = first_row + index / layout.num_kv_heads;
  const int kv_head = index % layout.num_kv_heads;
  const int slice_index = tables.row_slices[row];
  const StepSlice slice = tables.slices[slice_index];
  if (tables.live[slice_index] == 0) return;

  const int segment = slice.sinks != 0 ? 0 : 1;
  const int place = static_cast<int>(slice.write_slot) + row - slice.first_row;  // below twice the slots
  const int slots = layout.segment_slots[segment];
  const int entry = layout.first_entry[segment] + (place < slots ? place : place - slots);
  unsigned char* block = pool.Block(slice.slot, layer, kv_head);
  if (lane < layout.head_dim / kLaneElements) {
    const size_t from = (static_cast<size_t>(row) * layout.num_kv_heads + kv_head) * layout.head_dim;
    const size_t to = static_cast<size_t>(entry) * layout.row_elements;
    const float2* turns =
        tables.turns + (static_cast<size_t>(row) * layout.num_segments + segment) * (layout.head_dim / 2);
    const LanePairs key = LoadPairs(k + from, lane, layout.head_dim, layout.interleaved);
    const LanePairs value = LoadPairs(v + from, lane, layout.head_dim, /*interleaved=*/true);
    Bf16* keys = reinterpret_cast<Bf16*>(block);
    Bf16* values = reinterpret_cast<Bf16*>(block + layout.values_offset);
    StorePairs(Turn(key, LoadTurns(turns, lane)), keys + to, lane, layout.head_dim, layout.interleaved);
    StorePairs(value, values + to, lane, layout.head_dim, /*interleaved=*/true);
  }
  if (lane == 0) {
    reinterpret_cast<float*>(block + layout.scores_offset)[entry] = 0.0f;
    reinterpret_cast<float*>(block + layout.distinctness_offset)[entry] = 0.0f;
    reinterpret_cast<uint32_t*>(block + layout.tokens_offset)[entry] =
        slice.first_token + static_cast<uint32_t>(row - slice.first_row);
  }
  if (layout.max_reduction) {
    float* sums = reinterpret_cast<float*>(block + layout.sums_offset);
    for (int g = lane; g < layout.group; g += kLanes) sums[static_cast<size_t>(g) * layout.entries + entry] = 0.0f;
  }
}

template <class T, int kLanes>
void Launch(Stream& stream, const CachePool& pool, const StepTables& tables, int first_row, int num_rows, int layer,
            TensorView k, TensorView v) {
  const int num_heads = num_rows * pool.layout.num_kv_heads;
  constexpr int kHeads = kThreads / kLanes;
  const LaunchShape shape = {.grid = dim3((num_heads + kHeads - 1) / kHeads), .block = dim3(kThreads), .overlap = true};
  stream.Launch("AppendKv", AppendKernel<T, kLanes>, shape, pool, tables, first_row, num_heads, layer,
                static_cast<const T*>(k.data), static_cast<const T*>(v.data));
}

template <class T>
void LaunchOf(Stream& stream, const CachePool& pool, const StepTables& tables, int first_row, int num_rows, int layer,
              TensorView k, TensorView v) {
  switch (pool.layout.row_elements) {
    case 64:
      return Launch<T, 8>(stream, pool, tables, first_row, num_rows, layer, k, v);
    case 128:
      return Launch<T, 16>(stream, pool, tables, first_row, num_rows, layer, k, v);
    default:
      return Launch<T, 32>(stream, pool, tables, first_row, num_rows, layer, k, v);
  }
}

}  // namespace

void AppendKv(Stream& stream, const CachePool& pool, const StepTables& tables, int first_slice, int num_slices,
              int first_row, int num_rows, int layer, TensorView k, TensorView v) {
  const int64_t width = int64_t{pool.layout.num_kv_heads} * pool.layout.head_dim;
  CASCADE_CHECK(layer >= 0 && layer < pool.layout.num_layers);
  CASCADE_CHECK(first_slice >= 0 && first_row >= 0 && num_slices <= num_rows);  // a slice has a row at least
  CASCADE_CHECK(k.type == v.type && k.cols == width && v.cols == width);
  CASCADE_CHECK(first_row + num_rows <= k.rows && first_row + num_rows <= v.rows);
  if (k.type == DType::kBF16) return LaunchOf<Bf16>(stream, pool, tables, first_row, num_rows, layer, k, v);
  CASCADE_CHECK(k.type == DType::kF16);
  LaunchOf<Half>(stream, pool, tables, first_row, num_rows, layer, k, v);
}

}  // namespace cascade::kernels::cuda
