// Element types of tensors, with the sizes of their storage blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cascade::kernels {

enum class DType : uint8_t { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ8_0 };

// Elements that share one storage block: 1 for floats, 32 for the quantised types.
int BlockElements(DType type);
// Bytes of one block: Q4_0 is {f16 d; 16 bytes of nibbles}, Q4_1 {f16 d; f16 m; 16}, Q8_0 {f16 d; 32 x int8}.
int BlockBytes(DType type);
// Bytes of a row of `elements`, which is a multiple of BlockElements.
size_t RowBytes(DType type, int64_t elements);
bool IsQuantized(DType type);
std::string_view Name(DType type);  // "F32", "Q4_1", ..

}  // namespace cascade::kernels
