// A weight in the layout that the linear kernels stream: the numbers of its file in another order.
//
// Strips of 16 output rows (the last one padded with zeros) are stored one after the other, so that one vector holds 16
// outputs and no kernel adds across lanes:
//   floats      [cols][16]
//   quantised   per block of 32 columns, or of 256 (the K types; 6-bit scales are widened to 8 bits):
//               [16] f16 scales, [16] f16 minimums where there are, K types: [sub-blocks][16] int8 scales and
//               [sub-blocks][16] int8 minimums, then for every unit of 32 columns its planes of bits.
// A plane is vectors of [16 rows] 32-bit words, whose four bytes are a quad of columns (4q .. 4q + 3 of the unit):
//   8 bits      8 vectors, one per quad
//   4 bits      4 vectors, vector q: quad q in the low nibbles, quad 4 + q in the high ones
//   2 bits      2 vectors, vector v: quad 4v + j in the bits 2j, 2j + 1 of its bytes
//   1 bit       1 vector: quad q in bit q of its bytes
// A quant's low bits are in the first plane, those above in the second one (QuantFormat). Q8_0 is stored as value +
// 128, the unsigned operand of dot instructions.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/buffer.h"
#include "kernels/cpu/packed_layout.h"
#include "kernels/base/thread_pool.h"

namespace cascade::kernels {

// Immutable; any thread may read it.
class PackedWeight {
 public:
  // Packs on all threads of the pool. INVALID_ARGUMENT for an empty shape or a row that is not whole blocks,
  // RESOURCE_EXHAUSTED without memory.
  static absl::StatusOr<std::unique_ptr<PackedWeight>> Create(const HostWeight& weight, ThreadPool& pool);

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

  DType type_;
  int64_t rows_;
  int64_t cols_;
  size_t strip_bytes_;
  Buffer data_;
  Buffer dense_row_;
};

}  // namespace cascade::kernels
