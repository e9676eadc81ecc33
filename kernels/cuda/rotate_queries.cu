#include "kernels/cuda/rotate_queries.h"

#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kElements = 4;  // of a thread at a time: head_dim is a multiple of 8, so halves of a head are of 4

template <class T>
__device__ float4 LoadFour(const T* from) {
  const uint2 raw = *reinterpret_cast<const uint2*>(from);
  const float2 low = Unpack<T>(raw.x), high = Unpack<T>(raw.y);
  return make_float4(low.x, low.y, high.x, high.y);
}

// Grid [rows of the part, segments, slices]: a row and segment's turns are read once for all heads.
template <class T>
__global__ void __launch_bounds__(kThreads)
    RotateKernel(const CacheLayout layout, const StepTables tables, const AttentionPart part, const T* q,
                 const AttentionScratch scratch, const float scale) {
  WaitForPrevious();
  AllowNext();
  const int slice_index = part.first_slice + static_cast<int>(blockIdx.z);
  const StepSlice slice = tables.slices[slice_index];
  const int row = part.row_begin + static_cast<int>(blockIdx.x);
  if (row >= slice.num_rows || tables.live[slice_index] == 0) return;
  const int segment = static_cast<int>(blockIdx.y);
  const bool seen = MakeSeenSegment(layout, tables, slice_index, segment).Limit(row) > 0;

  const int head_dim = layout.head_dim, half = head_dim / 2;
  const int heads = layout.num_kv_heads * layout.group;
  const int log_pieces = layout.row_elements == 64 ? 4 : layout.row_elements == 128 ? 5 : 6;
  const int64_t step_row = slice.first_row + row;
  const float2* turns = tables.turns + (step_row * layout.num_segments + segment) * half;
  const int64_t place = static_cast<int64_t>(blockIdx.z) * (part.row_end - part.row_begin) + blockIdx.x;
  uint16_t* out = static_cast<uint16_t*>(scratch.queries) +
                  (static_cast<int64_t>(segment) * heads * scratch.rows + place) * layout.row_elements;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < heads << log_pieces; i += kThreads) {
    const int head = i >> log_pieces, first = (i & ((1 << log_pieces) - 1)) * kElements;
    float4 turned = make_float4(0, 0, 0, 0);
    if (seen && first < head_dim) {
      const T* from = q + (step_row * heads + head) * head_dim;
      const float4 x = LoadFour(from + first);
      if (layout.interleaved) {
        const float2 a = turns[first / 2], b = turns[first / 2 + 1];
        turned =
            make_float4(x.x * a.x - x.y * a.y, x.x * a.y + x.y * a.x, x.z * b.x - x.w * b.y, x.z * b.y + x.w * b.x);
      } else {
        const bool low = first < half;
        const float4 y = LoadFour(from + (low ? first + half : first - half));
        const float2* turn = turns + (low ? first : first - half);
        const float sign = low ? -1.0f : 1.0f;
        turned = make_float4(x.x * turn[0].x + sign * y.x * turn[0].y, x.y * turn[1].x + sign * y.y * turn[1].y,
                             x.z * turn[2].x + sign * y.z * turn[2].y, x.w * turn[3].x + sign * y.w * turn[3].y);
      }
    }
    uint2 packed;
    packed.x = Pack<Bf16>(turned.x * scale, turned.y * scale);
    packed.y = Pack<Bf16>(turned.z * scale, turned.w * scale);
    *reinterpret_cast<uint2*>(out + static_cast<int64_t>(head) * scratch.rows * layout.row_elements + first) = packed;
  }
}

}  // namespace

void RotateQueries(Stream& stream, const CacheLayout& layout, const StepTables& tables, const AttentionPart& part,
                   TensorView q, const AttentionScratch& scratch) {
  const float scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(layout.head_dim)));
  const LaunchShape shape = {
      .grid = dim3(static_cast<unsigned>(part.row_end - part.row_begin), static_cast<unsigned>(layout.num_segments),
                   static_cast<unsigned>(part.num_slices)),
      .block = dim3(kThreads),
      .overlap = true};
  if (q.type == DType::kBF16) {
    stream.Launch("attention", RotateKernel<Bf16>, shape, layout, tables, part, static_cast<const Bf16*>(q.data),
                  scratch, scale);
  } else {
    CASCADE_CHECK(q.type == DType::kF16);
    stream.Launch("attention", RotateKernel<Half>, shape, layout, tables, part, static_cast<const Half*>(q.data),
                  scratch, scale);
  }
}

}  // namespace cascade::kernels::cuda
