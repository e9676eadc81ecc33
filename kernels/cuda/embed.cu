#include "kernels/cuda/embed.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxThreads = 512;

// A block per row, eight columns per thread and turn.
template <WeightFormat format>
__global__ void __launch_bounds__(kMaxThreads) EmbedKernel(DeviceWeight table, const int32_t* ids, float* out) {
  WaitForPrevious();
  AllowNext();
  const int64_t id = ids[blockIdx.x];
  const int64_t row = id >= 0 && id < table.rows ? id : 0;
  float* to = out + static_cast<int64_t>(blockIdx.x) * table.cols;
  const bool whole = table.cols % 8 == 0;
  for (int64_t column = 8 * static_cast<int64_t>(threadIdx.x); column < table.cols; column += 8 * blockDim.x) {
    float values[8];
    LoadEight<format>(table, row, column, values);
    if (whole) {
      *reinterpret_cast<float4*>(to + column) = make_float4(values[0], values[1], values[2], values[3]);
      *reinterpret_cast<float4*>(to + column + 4) = make_float4(values[4], values[5], values[6], values[7]);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (column + i < table.cols) to[column + i] = values[i];
      }
    }
  }
}

}  // namespace

void Embed(Stream& stream, const DeviceWeight& table, const int32_t* ids, TensorView out) {
  CASCADE_CHECK(out.type == DType::kF32 && out.cols == table.cols && table.data != nullptr);
  CASCADE_CHECK(reinterpret_cast<uintptr_t>(out.data) % 16 == 0);
  const int64_t threads = std::clamp<int64_t>((table.cols + 255) / 256 * 32, 32, kMaxThreads);
  ForFormat(table.format, [&](auto format) {
    stream.Launch(
        "Embed", EmbedKernel<decltype(format)::value>,
        {.grid = dim3(static_cast<unsigned>(out.rows)), .block = dim3(static_cast<unsigned>(threads)), .overlap = true},
        table, ids, out.f32());
  });
}

}  // namespace cascade::kernels::cuda
