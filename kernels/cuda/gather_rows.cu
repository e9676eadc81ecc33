#include "kernels/cuda/gather_rows.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/device.h"

namespace cascade::kernels::cuda {
namespace {

constexpr int kMaxThreads = 256;

// A block per row, copied in the largest units that fit all rows. units: of a row.
template <class Unit>
__global__ void __launch_bounds__(kMaxThreads)
    GatherRowsKernel(const Unit* x, const int32_t* rows, int64_t units, Unit* out) {
  WaitForPrevious();
  AllowNext();
  const Unit* from = x + static_cast<int64_t>(rows[blockIdx.x]) * units;
  Unit* to = out + static_cast<int64_t>(blockIdx.x) * units;
  for (int64_t i = threadIdx.x; i < units; i += blockDim.x) to[i] = from[i];
}

template <class Unit>
void Copy(Stream& stream, TensorView x, const int32_t* rows, TensorView out) {
  const int64_t units = static_cast<int64_t>(RowBytes(x.type, x.cols) / sizeof(Unit));
  const int64_t threads = std::clamp<int64_t>((units + 31) / 32 * 32, 32, kMaxThreads);
  stream.Launch(
      "GatherRows", GatherRowsKernel<Unit>,
      {.grid = dim3(static_cast<unsigned>(out.rows)), .block = dim3(static_cast<unsigned>(threads)), .overlap = true},
      static_cast<const Unit*>(x.data), rows, units, static_cast<Unit*>(out.data));
}

}  // namespace

void GatherRows(Stream& stream, TensorView x, const int32_t* rows, TensorView out) {
  CASCADE_CHECK(x.type == out.type && x.cols == out.cols && !IsQuantized(x.type));
  const uintptr_t places =
      reinterpret_cast<uintptr_t>(x.data) | reinterpret_cast<uintptr_t>(out.data) | RowBytes(x.type, x.cols);
  if (places % sizeof(uint4) == 0) return Copy<uint4>(stream, x, rows, out);
  if (places % sizeof(uint32_t) == 0) return Copy<uint32_t>(stream, x, rows, out);
  Copy<uint16_t>(stream, x, rows, out);
}

}  // namespace cascade::kernels::cuda
