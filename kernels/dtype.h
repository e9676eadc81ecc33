// Element types of tensors, with the sizes of their storage blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cascade::kernels {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kIQ4_NL,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
inline constexpr int kNumDTypes = static_cast<int>(DType::kQ6_K) + 1;

// Elements that share one storage block: 1 for floats, 32 for the plain quantised types, 256 for the K types.
int BlockElements(DType type);
// Bytes of one block; kernels/quant_block.cc knows what is in them.
int BlockBytes(DType type);
// Bytes of a row of `elements`, which is a multiple of BlockElements.
size_t RowBytes(DType type, int64_t elements);
bool IsQuantized(DType type);
std::string_view Name(DType type);  // "F32", "Q4_1", ..

}  // namespace cascade::kernels
