// Writes GGUF files, good ones and, on demand, broken ones: every number of the header and of a tensor's entry can be
// overridden. For tests only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.h"

namespace cascade {

class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // innermost first
    uint32_t type = 0;           // as numbered in the file
    std::string data;
    std::optional<uint64_t> offset;  // instead of the right one
  };
  struct Value {
    std::string key;
    uint32_t type = 0;  // as numbered in the file
    std::string bytes;  // as stored behind the type
  };

  // The header; overrides lie.
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  std::optional<uint64_t> num_tensors;
  std::optional<uint64_t> num_values;
  uint64_t alignment = 32;  // of the data; SetUint32("general.alignment") is the caller's business

  std::vector<Value> values;
  std::vector<Tensor> tensors;

  // Each replaces the key where it is, or appends it.
  void SetRaw(std::string_view key, uint32_t type, std::string bytes);
  void SetUint32(std::string_view key, uint32_t value);
  void SetUint64(std::string_view key, uint64_t value);
  void SetInt32(std::string_view key, int32_t value);
  void SetFloat32(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetString(std::string_view key, std::string_view value);
  void SetStrings(std::string_view key, const std::vector<std::string>& values);
  void SetInt32s(std::string_view key, const std::vector<int32_t>& values);
  void Remove(std::string_view key);

  void AddTensor(std::string_view name, std::vector<uint64_t> dims, kernels::DType type, std::string data);
  Tensor& FindTensor(std::string_view name);  // must be there
  void RemoveTensor(std::string_view name);

  // The whole file; `header_size`, where given, gets the bytes before the tensors' data.
  std::string Build(size_t* header_size = nullptr) const;
  void Write(const std::string& path) const;  // aborts when it cannot
};

// The same model in `count` parts by llama.cpp's convention: the keys and the first tensors in the first part, the rest
// of the tensors in equal shares in the others; a count of the tensors that is not positive leaves the first without.
std::vector<GgufWriter> SplitModel(const GgufWriter& model, int count, int first_tensors = 1);
// "BASE-00001-of-00003.gguf" for part 0 of 3.
std::string PartName(const std::string& base, int part, int count);

// A number as the file stores it.
template <class T>
std::string RawBytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
// Length and characters.
std::string RawString(std::string_view text);
// The file's number of a type.
uint32_t GgufTensorType(kernels::DType type);

// Replaces a file; aborts when it cannot.
void WriteFile(const std::string& path, std::string_view bytes);

}  // namespace cascade
