#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/cpu/pack_strip.h"
#include "kernels/dequantize.h"

namespace cascade::kernels {

PackedWeight::PackedWeight(const HostWeight& weight, size_t strip_bytes)
    : type_(weight.type), rows_(weight.rows), cols_(weight.cols), strip_bytes_(strip_bytes) {}

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Create(const HostWeight& weight, ThreadPool& pool) {
  constexpr int64_t kMaxDimension = int64_t{1} << 30;  // keeps every byte count below 2^64
  constexpr int64_t kTaskBytes = 128 << 10;            // some ten microseconds
  if (weight.data == nullptr || weight.rows <= 0 || weight.cols <= 0 || weight.rows >= kMaxDimension ||
      weight.cols >= kMaxDimension || weight.cols % BlockElements(weight.type) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a weight of ", std::string(Name(weight.type)),
                                                   " can not have the shape [", weight.rows, ", ", weight.cols, "]"));
  }
  const int64_t strip_bytes = PackedStripBytes(weight.type, weight.cols);
  std::unique_ptr<PackedWeight> packed(new PackedWeight(weight, strip_bytes));
  absl::StatusOr<Buffer> data = Buffer::Create(packed->strips() * strip_bytes);
  if (!data.ok()) return data.status();
  packed->data_ = *std::move(data);

  const int64_t row_bytes = RowBytes(weight.type, weight.cols);
  const std::vector<uint8_t> no_row(weight.rows % kStripRows == 0 ? 0 : row_bytes);
  const int64_t per_task = std::max<int64_t>(1, kTaskBytes / strip_bytes);
  pool.ParallelFor((packed->strips() + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t end = std::min(packed->strips(), (task + 1) * per_task);
    for (int64_t strip = task * per_task; strip < end; ++strip) {
      const uint8_t* rows[kStripRows];
      for (int lane = 0; lane < kStripRows; ++lane) {
        const int64_t row = strip * kStripRows + lane;
        rows[lane] = row < weight.rows ? static_cast<const uint8_t*>(weight.data) + row * row_bytes : no_row.data();
      }
      PackStrip(weight.type, rows, weight.cols, packed->data_.As<uint8_t>() + strip * strip_bytes);
    }
  });
  if (weight.rows == 1) {
    absl::StatusOr<Buffer> dense = Buffer::Create(weight.cols * sizeof(float));
    if (!dense.ok()) return dense.status();
    packed->dense_row_ = *std::move(dense);
    DequantizeRow(weight.type, weight.data, packed->dense_row_.As<float>(), weight.cols);
  }
  return packed;
}

void PackedWeight::CopyRow(int64_t row, float* out) const {
  CASCADE_CHECK(row >= 0 && row < rows_);
  UnpackStripRow(type_, Strip(row / kStripRows), cols_, row % kStripRows, out);
}

}  // namespace cascade::kernels
