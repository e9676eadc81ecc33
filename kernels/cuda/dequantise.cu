#include "kernels/cuda/dequantise.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxGridY = 65535;

// Blocks of 2,048 columns (x) of a row (y; more rows in turns), a thread per eight of them: 16 bytes are written.
template <class T, WeightFormat format>
__global__ void __launch_bounds__(kThreads)
    DequantiseKernel(DeviceWeight weight, int64_t first, int64_t rows, int64_t padded_cols, T* out) {
  WaitForPrevious();
  AllowNext();
  const int64_t column = 8 * (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x);
  if (column >= padded_cols) return;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    float v[8];
    LoadEight<format>(weight, first + row, column, v);
    *reinterpret_cast<uint4*>(out + row * padded_cols + column) =
        make_uint4(Pack<T>(v[0], v[1]), Pack<T>(v[2], v[3]), Pack<T>(v[4], v[5]), Pack<T>(v[6], v[7]));
  }
}

template <class T>
void Expand(Stream& stream, const DeviceWeight& weight, int64_t first, TensorView out) {
  const int64_t vectors = out.cols / 8;
  const dim3 grid(static_cast<unsigned>((vectors + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(out.rows, kMaxGridY)));
  ForFormat(weight.format, [&](auto format) {
    stream.Launch("Dequantise", DequantiseKernel<T, decltype(format)::value>,
                  {.grid = grid, .block = dim3(kThreads), .overlap = true}, weight, first, out.rows, out.cols,
                  static_cast<T*>(out.data));
  });
}

}  // namespace

void Dequantise(Stream& stream, const DeviceWeight& weight, int64_t first, TensorView out) {
  CASCADE_CHECK(weight.data != nullptr && first >= 0 && first + out.rows <= weight.rows);
  CASCADE_CHECK(out.cols == (weight.cols + 7) / 8 * 8 && reinterpret_cast<uintptr_t>(out.data) % 16 == 0);
  CASCADE_CHECK(out.type == DType::kBF16 || out.type == DType::kF16);
  if (out.type == DType::kBF16) return Expand<Bf16>(stream, weight, first, out);
  Expand<Half>(stream, weight, first, out);
}

}  // namespace cascade::kernels::cuda
