// A weight in the layout that the linear kernels stream: the same bytes as in its file, in another order.
//
// Strips of 16 output rows (the last one padded with zeros) are stored one after the other, so that one vector holds 16
// outputs and no kernel adds across lanes:
//   floats      [cols][16]
//   quantised   per block of 32 columns: 16 f16 scales, Q4_1: 16 f16 minimums, then quads of columns.
// One quad vector is [16 rows][4 columns] bytes. 4-bit: 4 vectors, vector q holds columns 4q.. in the low nibbles and
// columns 16 + 4q.. in the high ones. Q8_0: 8 vectors of value + 128, as the unsigned operand of dot instructions.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/buffer.h"

namespace cascade::kernels {

inline constexpr int kStripRows = 16;
inline constexpr int kQuantBlock = 32;  // columns that share a scale, in weights and in activations

// Immutable; any thread may read it.
class PackedWeight {
 public:
  // INVALID_ARGUMENT for an empty shape or a row that is not whole blocks, RESOURCE_EXHAUSTED without memory.
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Create(const HostWeight& weight);

  DType type() const { return type_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t strips() const { return (rows_ + kStripRows - 1) / kStripRows; }
  size_t strip_bytes() const { return strip_bytes_; }
  const uint8_t* Strip(int64_t strip) const { return data_.As<uint8_t>() + strip * strip_bytes_; }

  // The float32 values of one row, exact. out: [cols].
  void CopyRow(int64_t row, float* out) const;
  // The same of a weight with a single row, kept for ops that want it dense; null for others.
  const float* dense_row() const { return dense_row_.As<float>(); }

 private:
  PackedWeight(const HostWeight& weight, size_t strip_bytes);
  void PackRow(const uint8_t* source, int64_t row);

  DType type_;
  int64_t rows_;
  int64_t cols_;
  size_t strip_bytes_;
  Buffer data_;
  Buffer dense_row_;
};

}  // namespace cascade::kernels
