#include "kernels/base/check.h"
#include "kernels/cpu/ops.h"

namespace cascade::kernels {

void EmbedRows(const PackedWeight& table, std::span<const int32_t> ids, TensorView out, ThreadPool& pool) {
  CASCADE_CHECK(out.type == DType::kF32 && out.cols == table.cols());
  const int64_t rows = static_cast<int64_t>(ids.size());
  CASCADE_CHECK(out.rows >= rows);
  ForRows(pool, rows, out.cols, [&](int64_t row) { table.CopyRow(ids[row], out.f32() + row * out.cols); });
}

}  // namespace cascade::kernels
