#include "kernels/cuda/rms_norm.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kMaxWarps = kMaxThreads / 32;

// The same sum for all threads: partial sums of warps, added in their order.
__device__ float BlockSum(float value) {
  __shared__ float sums[kMaxWarps];
  value = WarpSum(value);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  SyncBlock();
  float sum = 0;
  for (int warp = 0; warp < static_cast<int>(blockDim.x / 32); ++warp) sum += sums[warp];
  return sum;
}

__device__ float Scale(float squares, int64_t cols, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
}

__device__ void Store4(float* out, float4 v) { *reinterpret_cast<float4*>(out) = v; }
template <class T>
__device__ void Store4(T* out, float4 v) {
  *reinterpret_cast<uint2*>(out) = make_uint2(Pack<T>(v.x, v.y), Pack<T>(v.z, v.w));
}

// A block per row, which stays in registers: kVectors of four columns per thread, a block's width apart. The gains are
// on their way while the kernel before this one ends.
template <class Out, int kVectors>
__global__ void __launch_bounds__(kMaxThreads)
    RmsNormKernel(const float* x, const float* gain, float eps, int cols, Out* out) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * cols;
  float4 g[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = 4 * static_cast<int>(threadIdx.x + i * blockDim.x);
    g[i] = column < cols ? *reinterpret_cast<const float4*>(gain + column) : make_float4(0, 0, 0, 0);
  }
  WaitForPrevious();
  AllowNext();
  float4 v[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = 4 * static_cast<int>(threadIdx.x + i * blockDim.x);
    v[i] = column < cols ? *reinterpret_cast<const float4*>(x + begin + column) : make_float4(0, 0, 0, 0);
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    squares += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
  }
  const float scale = Scale(BlockSum(squares), cols, eps);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = 4 * static_cast<int>(threadIdx.x + i * blockDim.x);
    if (column >= cols) continue;
    Store4(out + begin + column, make_float4(v[i].x * scale * g[i].x, v[i].y * scale * g[i].y, v[i].z * scale * g[i].z,
                                             v[i].w * scale * g[i].w));
  }
}

// A block per row, read twice: for rows that are not whole vectors, or longer than registers hold.
template <class Out>
__global__ void __launch_bounds__(kMaxThreads)
    RmsNormAnyKernel(const float* x, const float* gain, float eps, int64_t cols, Out* out) {
  WaitForPrevious();
  AllowNext();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * cols;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) squares += x[begin + i] * x[begin + i];
  const float scale = Scale(BlockSum(squares), cols, eps);
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) {
    out[begin + i] = FromFloat<Out>(x[begin + i] * scale * gain[i]);
  }
}

bool Aligned(const void* address, size_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

template <class Out>
void Normalise(Stream& stream, TensorView x, const float* gain, float eps, Out* out) {
  const dim3 grid(static_cast<unsigned>(x.rows));
  const int64_t vectors = x.cols / 4;
  const int threads = static_cast<int>(std::clamp<int64_t>((vectors + 31) / 32 * 32, 32, kMaxThreads));
  const LaunchShape shape = {.grid = grid, .block = dim3(static_cast<unsigned>(threads)), .overlap = true};
  const bool whole = x.cols % 4 == 0 && Aligned(x.data, 16) && Aligned(gain, 16) && Aligned(out, 4 * sizeof(Out));
  if (!whole || vectors > 8 * kMaxThreads) {
    stream.Launch("RmsNorm", RmsNormAnyKernel<Out>, shape, x.f32(), gain, eps, x.cols, out);
    return;
  }
  const auto kernel = vectors <= threads       ? RmsNormKernel<Out, 1>
                      : vectors <= 2 * threads ? RmsNormKernel<Out, 2>
                      : vectors <= 4 * threads ? RmsNormKernel<Out, 4>
                                               : RmsNormKernel<Out, 8>;
  stream.Launch("RmsNorm", kernel, shape, x.f32(), gain, eps, static_cast<int>(x.cols), out);
}

}  // namespace

void RmsNorm(Stream& stream, TensorView x, const float* gain, float eps, TensorView out) {
  CASCADE_CHECK(x.type == DType::kF32 && out.rows == x.rows && out.cols == x.cols);
  switch (out.type) {
    case DType::kF32:
      return Normalise(stream, x, gain, eps, out.f32());
    case DType::kBF16:
      return Normalise(stream, x, gain, eps, static_cast<Bf16*>(out.data));
    case DType::kF16:
      return Normalise(stream, x, gain, eps, static_cast<Half*>(out.data));
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace cascade::kernels::cuda
