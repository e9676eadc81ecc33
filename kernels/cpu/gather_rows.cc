#include <cstring>

#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

namespace cascade::kernels {

void CopyRows(TensorView x, std::span<const int32_t> rows, TensorView out, ThreadPool& pool) {
  CASCADE_CHECK(x.type == DType::kF32 && out.type == DType::kF32 && out.cols == x.cols);
  CASCADE_CHECK(out.rows == static_cast<int64_t>(rows.size()));
  ForRows(pool, out.rows, out.cols, [&](int64_t row) {
    CASCADE_CHECK(rows[row] >= 0 && rows[row] < x.rows);
    std::memcpy(out.f32() + row * out.cols, x.f32() + rows[row] * x.cols, out.cols * sizeof(float));
  });
}

}  // namespace cascade::kernels
