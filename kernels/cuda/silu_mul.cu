#include "kernels/cuda/silu_mul.h"

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Large negative gates: the exponential is infinite, the sigmoid 0, the product -0.
__device__ float Gated(float gate, float up) { return gate / (1.0f + Exp(-gate)) * up; }

__device__ uint4 Gated(uint4 gate, uint4 up, float) {
  return make_uint4(__float_as_uint(Gated(__uint_as_float(gate.x), __uint_as_float(up.x))),
                    __float_as_uint(Gated(__uint_as_float(gate.y), __uint_as_float(up.y))),
                    __float_as_uint(Gated(__uint_as_float(gate.z), __uint_as_float(up.z))),
                    __float_as_uint(Gated(__uint_as_float(gate.w), __uint_as_float(up.w))));
}
template <class T>
__device__ uint32_t GatedPair(uint32_t gate, uint32_t up) {
  const float2 g = Unpack<T>(gate), u = Unpack<T>(up);
  return Pack<T>(Gated(g.x, u.x), Gated(g.y, u.y));
}
template <class T>
__device__ uint4 Gated(uint4 gate, uint4 up, T) {
  return make_uint4(GatedPair<T>(gate.x, up.x), GatedPair<T>(gate.y, up.y), GatedPair<T>(gate.z, up.z),
                    GatedPair<T>(gate.w, up.w));
}

// One dense array: a thread per 16 bytes, and after them one per element of the rest (all, when not aligned).
template <class T>
__global__ void __launch_bounds__(kThreads) SiluMulKernel(T* gate, const T* up, int64_t vectors, int64_t elements) {
  constexpr int kPerVector = 16 / sizeof(T);
  WaitForPrevious();
  AllowNext();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < vectors) {
    uint4* place = reinterpret_cast<uint4*>(gate) + i;
    *place = Gated(*place, reinterpret_cast<const uint4*>(up)[i], T());
    return;
  }
  const int64_t element = kPerVector * vectors + (i - vectors);
  if (element < elements) gate[element] = FromFloat<T>(Gated(ToFloat(gate[element]), ToFloat(up[element])));
}

template <class T>
void Multiply(Stream& stream, TensorView gate, TensorView up) {
  constexpr int kPerVector = 16 / sizeof(T);
  const int64_t elements = gate.rows * gate.cols;
  const bool aligned = (reinterpret_cast<uintptr_t>(gate.data) | reinterpret_cast<uintptr_t>(up.data)) % 16 == 0;
  const int64_t vectors = aligned ? elements / kPerVector : 0;
  const int64_t threads = vectors + (elements - vectors * kPerVector);
  stream.Launch("SiluMul", SiluMulKernel<T>,
                {.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)),
                 .block = dim3(kThreads),
                 .overlap = true},
                static_cast<T*>(gate.data), static_cast<const T*>(up.data), vectors, elements);
}

}  // namespace

void SiluMul(Stream& stream, TensorView gate, TensorView up) {
  CASCADE_CHECK(gate.rows == up.rows && gate.cols == up.cols && gate.type == up.type);
  switch (gate.type) {
    case DType::kF32:
      return Multiply<float>(stream, gate, up);
    case DType::kBF16:
      return Multiply<Bf16>(stream, gate, up);
    case DType::kF16:
      return Multiply<Half>(stream, gate, up);
    default:
      CASCADE_CHECK(false);
  }
}

}  // namespace cascade::kernels::cuda
