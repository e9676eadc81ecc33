#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

namespace cascade::kernels {

void EmbedRows(const PackedWeight& table, std::span<const int32_t> ids, TensorView out, ThreadPool& pool) {
  CASCADE_CHECK(out.type == DType::kF32 && out.cols == table.cols());
  CASCADE_CHECK(out.rows == static_cast<int64_t>(ids.size()));
  ForRows(pool, out.rows, out.cols, [&](int64_t row) { table.CopyRow(ids[row], out.f32() + row * out.cols); });
}

}  // namespace cascade::kernels
