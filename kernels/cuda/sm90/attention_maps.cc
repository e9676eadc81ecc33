#include "kernels/cuda/sm90/attention_maps.h"

#include <cuda_runtime.h>

#include <initializer_list>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/sm90/attention_shape.h"

namespace cascade::kernels::cuda::sm90 {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// The driver's function, without linking against the driver: a machine without one can still start the program.
Encode FindEncode() {
  constexpr const char* kName = "cuTensorMapEncodeTiled";
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t result = cudaGetDriverEntryPointByVersion(kName, &function, 12000, cudaEnableDefault, &found);
#else
  const cudaError_t result = cudaGetDriverEntryPoint(kName, &function, cudaEnableDefault, &found);
#endif
  if (result != cudaSuccess || found != cudaDriverEntryPointSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  return reinterpret_cast<Encode>(function);
}

struct Dimension {
  uint64_t size;
  uint64_t stride_bytes;  // of the innermost one: 2
  uint32_t box;
};

bool MakeMap(Encode encode, void* memory, const std::vector<Dimension>& dimensions, CUtensorMap& map) {
  std::vector<cuuint64_t> sizes, strides;
  std::vector<cuuint32_t> box, steps;
  for (const Dimension& dimension : dimensions) {
    sizes.push_back(dimension.size);
    if (sizes.size() > 1) strides.push_back(dimension.stride_bytes);
    box.push_back(dimension.box);
    steps.push_back(1);
  }
  return encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(sizes.size()), memory, sizes.data(),
                strides.data(), box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace

absl::StatusOr<AttentionMaps> MakeAttentionMaps(const CachePool& pool, const AttentionScratch& scratch) {
  const Encode encode = FindEncode();
  if (encode == nullptr) return absl::UnimplementedError("the driver has no tensor copies");
  const CacheLayout& layout = pool.layout;
  const auto step = static_cast<uint64_t>(SampleStep(layout.entries));
  CASCADE_CHECK(layout.entries % step == 0 && layout.group <= kTileQueries && pool.num_slots > 0);
  AttentionMaps maps;
  maps.tile_tokens = kTileQueries / layout.group;
  maps.query_rows = maps.tile_tokens * layout.group;
  maps.sample_step = static_cast<int>(step);
  const auto columns = static_cast<uint64_t>(layout.row_elements), row_bytes = 2 * columns;
  const auto entries = static_cast<uint64_t>(layout.entries);
  const auto blocks = static_cast<uint64_t>(pool.num_slots) * layout.num_layers * layout.num_kv_heads;
  const auto rows = static_cast<uint64_t>(scratch.rows);
  const auto heads = static_cast<uint64_t>(layout.num_segments) * layout.num_kv_heads * layout.group;
  const Dimension panel = {columns, 2, 64}, kinds = {2, layout.values_offset, 1}, all = {blocks, layout.block_bytes, 1};
  const auto box_rows = static_cast<uint32_t>(maps.tile_tokens), group = static_cast<uint32_t>(layout.group);
  const bool made =
      MakeMap(encode, pool.memory, {panel, {entries, row_bytes, kTileKeys}, kinds, all}, maps.cache) &&
      MakeMap(encode, pool.memory,
              {panel, {step, row_bytes, 1}, {entries / step, step * row_bytes, kTileKeys}, kinds, all}, maps.samples) &&
      MakeMap(encode, scratch.queries, {panel, {rows, row_bytes, box_rows}, {heads, rows * row_bytes, group}},
              maps.queries) &&
      MakeMap(encode, scratch.queries, {panel, {rows, row_bytes, kTileQueries}, {heads, rows * row_bytes, 1}},
              maps.rows);
  if (!made) return absl::InternalError("the driver refuses to describe the cache to tensor copies");
  return maps;
}

}  // namespace cascade::kernels::cuda::sm90
