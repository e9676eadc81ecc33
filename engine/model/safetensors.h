// The container of a safetensors file: header, tensor directory. Knows nothing of models.
//
// The file is not trusted. Work and memory are bounded by the file's size whatever its numbers say, nothing recurses,
// and a parsed file has: unique, non-empty names; every tensor inside the file, of a supported type, with exactly the
// bytes that its shape needs; no two that overlap. Data need not be aligned. Everything points into the span given,
// which must outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"

namespace cascade {

struct SafetensorsTensor {
  kernels::DType type = kernels::DType::kF32;  // kF32, kF16, kBF16
  std::vector<int64_t> shape;                  // outermost first; empty: a single number
  std::span<const uint8_t> bytes;              // exactly its elements, dense
};

using SafetensorsFile = std::map<std::string, SafetensorsTensor>;

// `name` begins every error. INVALID_ARGUMENT: not safetensors, or against its rules; DATA_LOSS: something lies beyond
// the file's end; UNIMPLEMENTED: a tensor type that is not known, by name.
absl::StatusOr<SafetensorsFile> ParseSafetensors(std::span<const uint8_t> bytes, const std::string& name);

// "[272, 64]".
std::string ShapeText(std::span<const int64_t> shape);

}  // namespace cascade
