#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/dequantize.h"

namespace cascade::kernels {
namespace {

constexpr int kQuadBytes = 4;
constexpr uint32_t kSigns = 0x80808080u;  // flips int8 to value + 128

// Copies the two-byte headers and the quads of one block between its file order and lane `lane` of a packed block.
// `flip` is applied to the quads.
struct BlockShape {
  int headers;  // f16 values before the quants: 1 or 2
  int quads;    // 4-byte groups of quants: 4 or 8
  uint32_t flip;
};

BlockShape ShapeOf(DType type) {
  return {type == DType::kQ4_1 ? 2 : 1, type == DType::kQ8_0 ? 8 : 4, type == DType::kQ8_0 ? kSigns : 0};
}

void PackBlock(const BlockShape& shape, const uint8_t* block, int lane, uint8_t* packed) {
  for (int h = 0; h < shape.headers; ++h) std::memcpy(packed + 2 * (h * kStripRows + lane), block + 2 * h, 2);
  packed += 2 * shape.headers * kStripRows;
  block += 2 * shape.headers;
  for (int q = 0; q < shape.quads; ++q) {
    uint32_t quad;
    std::memcpy(&quad, block + kQuadBytes * q, kQuadBytes);
    quad ^= shape.flip;
    std::memcpy(packed + kQuadBytes * (q * kStripRows + lane), &quad, kQuadBytes);
  }
}

void UnpackBlock(const BlockShape& shape, const uint8_t* packed, int lane, uint8_t* block) {
  for (int h = 0; h < shape.headers; ++h) std::memcpy(block + 2 * h, packed + 2 * (h * kStripRows + lane), 2);
  packed += 2 * shape.headers * kStripRows;
  block += 2 * shape.headers;
  for (int q = 0; q < shape.quads; ++q) {
    uint32_t quad;
    std::memcpy(&quad, packed + kQuadBytes * (q * kStripRows + lane), kQuadBytes);
    quad ^= shape.flip;
    std::memcpy(block + kQuadBytes * q, &quad, kQuadBytes);
  }
}

}  // namespace

PackedWeight::PackedWeight(const HostWeight& weight, size_t strip_bytes)
    : type_(weight.type), rows_(weight.rows), cols_(weight.cols), strip_bytes_(strip_bytes) {}

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Create(const HostWeight& weight) {
  constexpr int64_t kMaxDimension = int64_t{1} << 30;  // keeps every byte count below 2^64
  if (weight.data == nullptr || weight.rows <= 0 || weight.cols <= 0 || weight.rows >= kMaxDimension ||
      weight.cols >= kMaxDimension || weight.cols % BlockElements(weight.type) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a weight of ", std::string(Name(weight.type)),
                                                   " can not have the shape [", weight.rows, ", ", weight.cols, "]"));
  }
  const size_t row_bytes = RowBytes(weight.type, weight.cols);
  std::unique_ptr<PackedWeight> packed(new PackedWeight(weight, row_bytes * kStripRows));
  absl::StatusOr<Buffer> data = Buffer::Create(packed->strips() * packed->strip_bytes_);
  if (!data.ok()) return data.status();
  packed->data_ = *std::move(data);
  const uint8_t* source = static_cast<const uint8_t*>(weight.data);
  for (int64_t row = 0; row < weight.rows; ++row) packed->PackRow(source + row * row_bytes, row);
  if (weight.rows == 1) {
    absl::StatusOr<Buffer> dense = Buffer::Create(weight.cols * sizeof(float));
    if (!dense.ok()) return dense.status();
    packed->dense_row_ = *std::move(dense);
    DequantizeRow(weight.type, weight.data, packed->dense_row_.As<float>(), weight.cols);
  }
  return packed;
}

void PackedWeight::PackRow(const uint8_t* source, int64_t row) {
  const int lane = row % kStripRows;
  uint8_t* strip = data_.As<uint8_t>() + row / kStripRows * strip_bytes_;
  const int bytes = BlockBytes(type_);
  if (!IsQuantized(type_)) {
    for (int64_t k = 0; k < cols_; ++k) std::memcpy(strip + (k * kStripRows + lane) * bytes, source + k * bytes, bytes);
    return;
  }
  const BlockShape shape = ShapeOf(type_);
  for (int64_t block = 0; block < cols_ / kQuantBlock; ++block) {
    PackBlock(shape, source + block * bytes, lane, strip + block * bytes * kStripRows);
  }
}

void PackedWeight::CopyRow(int64_t row, float* out) const {
  CASCADE_CHECK(row >= 0 && row < rows_);
  const int lane = row % kStripRows;
  const uint8_t* strip = Strip(row / kStripRows);
  const int bytes = BlockBytes(type_);
  uint8_t block[kQuantBlock * sizeof(float)];
  if (!IsQuantized(type_)) {
    for (int64_t k = 0; k < cols_; k += kQuantBlock) {
      const int64_t count = std::min<int64_t>(kQuantBlock, cols_ - k);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(block + i * bytes, strip + ((k + i) * kStripRows + lane) * bytes, bytes);
      }
      DequantizeRow(type_, block, out + k, count);
    }
    return;
  }
  const BlockShape shape = ShapeOf(type_);
  for (int64_t b = 0; b < cols_ / kQuantBlock; ++b) {
    UnpackBlock(shape, strip + b * bytes * kStripRows, lane, block);
    DequantizeRow(type_, block, out + b * kQuantBlock, kQuantBlock);
  }
}

}  // namespace cascade::kernels
