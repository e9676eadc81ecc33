// kernels/cuda/linear_blas.h for the emulator, which has no cuBLAS: the same products in a plain loop.
#include "kernels/cuda/linear_blas.h"

#include <utility>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/weight_values.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kThreads = 32;

// A block per row, a thread per 32nd column.
template <WeightFormat format, class T, class Out>
void ProductKernel(const T* x, DeviceWeight weight, Out* out, bool accumulate, const float* bias) {
  const T* row = x + static_cast<int64_t>(blockIdx.x) * weight.cols;
  for (int64_t column = threadIdx.x; column < weight.rows; column += kThreads) {
    double sum = 0;
    for (int64_t k = 0; k < weight.cols; k += 8) {
      float values[8];
      LoadEight<format>(weight, column, k, values);
      for (int64_t i = 0; i < 8 && k + i < weight.cols; ++i) {
        sum += static_cast<double>(ToFloat(row[k + i])) * ToFloat(FromFloat<T>(values[i]));
      }
    }
    if (bias != nullptr) sum += bias[column];
    Out* place = out + static_cast<int64_t>(blockIdx.x) * weight.rows + column;
    if (accumulate) sum += ToFloat(*place);
    *place = FromFloat<Out>(static_cast<float>(sum));
  }
}

template <class T>
void Multiply(Stream& stream, TensorView x, const LinearCall& call) {
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(x.rows)), .block = dim3(kThreads)};
  ForFormat(call.weight->format, [&](auto format) {
    constexpr WeightFormat kFormat = decltype(format)::value;
    const T* rows = static_cast<const T*>(x.data);
    if (call.out.type == DType::kF32) {
      stream.Launch("Linear", ProductKernel<kFormat, T, float>, shape, rows, *call.weight, call.out.f32(),
                    call.accumulate, call.bias);
    } else {
      stream.Launch("Linear", ProductKernel<kFormat, T, T>, shape, rows, *call.weight, static_cast<T*>(call.out.data),
                    call.accumulate, call.bias);
    }
  });
}

}  // namespace

struct LinearBlas::State {
  DType compute;
};

absl::StatusOr<std::unique_ptr<LinearBlas>> LinearBlas::Create(Stream&, DeviceMemory&, DType compute) {
  return std::unique_ptr<LinearBlas>(new LinearBlas(std::make_unique<State>(State{compute})));
}

LinearBlas::LinearBlas(std::unique_ptr<State> state) : state_(std::move(state)) {}
LinearBlas::~LinearBlas() = default;

void LinearBlas::Reserve(const DeviceWeight&) {}

void LinearBlas::Run(Stream& stream, TensorView x, const LinearCall& call) {
  CASCADE_CHECK(x.type == state_->compute && x.cols == call.weight->cols && call.out.rows == x.rows);
  CASCADE_CHECK(call.out.cols == call.weight->rows && call.weight->data != nullptr);
  CASCADE_CHECK(call.out.type == DType::kF32 || (call.out.type == state_->compute && !call.accumulate));
  CASCADE_CHECK(!(call.accumulate && call.bias != nullptr));
  if (x.type == DType::kBF16) return Multiply<Bf16>(stream, x, call);
  Multiply<Half>(stream, x, call);
}

}  // namespace cascade::kernels::cuda
