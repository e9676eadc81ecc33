// The container of a GGUF file, versions 2 and 3: header, key-value pairs, tensor directory. Knows nothing of models.
//
// The file is not trusted. Work and memory are bounded by the file's size whatever its numbers say, nothing recurses,
// and a parsed file has: unique, non-empty keys and tensor names; every value and tensor inside the file; tensors
// aligned, without overlap, of a supported type. Everything points into the span given, which must outlive it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"

namespace cascade {

// As numbered in the file.
enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

struct GgufValue {
  GgufType type = GgufType::kUint8;  // of the value, or of an array's elements; never kArray
  bool is_array = false;
  uint64_t count = 1;              // elements
  std::span<const uint8_t> bytes;  // the number, the string's characters, or the array's elements as stored

  // What the value is, for messages: "UINT32", "array of STRING".
  std::string Description() const;
  // nullopt where the value is something else. Integer: of any integer type, if it fits.
  std::optional<int64_t> Integer() const;
  std::optional<float> Float() const;  // FLOAT32 only
  std::optional<bool> Bool() const;
  std::optional<std::string_view> String() const;
  std::optional<std::vector<std::string_view>> Strings() const;
  std::optional<std::vector<int32_t>> Int32s() const;  // of INT32 or UINT32 that fit
};

struct GgufTensor {
  int num_dims = 1;
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // innermost first: columns, rows, ..
  kernels::DType type = kernels::DType::kF32;
  std::span<const uint8_t> bytes;  // exactly its elements

  std::string Shape() const;  // "[576, 49152]", innermost first
};

struct GgufFile {
  uint32_t version = 0;
  std::map<std::string_view, GgufValue> values;
  std::map<std::string_view, GgufTensor> tensors;
  std::vector<std::string_view> tensor_names;  // in the directory's order

  const GgufValue* FindValue(std::string_view key) const;  // null if there is none
};

// `name` begins every error. INVALID_ARGUMENT: not GGUF, or against its rules; DATA_LOSS: something lies beyond the
// file's end; UNIMPLEMENTED: a tensor type that is not known, by name.
absl::StatusOr<GgufFile> ParseGguf(std::span<const uint8_t> bytes, const std::string& name);

// Text from a file made fit for one line of a message: escaped, cut at 80 characters, in single quotes.
std::string Quoted(std::string_view text);

}  // namespace cascade
